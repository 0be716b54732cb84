"""What was run, in plain language, made from the facts of the record."""

from string import Template
from typing import Any

from ..core.units import pretty_count
from ..record.history import History
from .figures import (
    capital,
    discloses,
    fleet_size,
    listed,
    measured,
    method,
    number,
    part,
    recipe,
    sample,
)

OF_AN_OLDER_RECORD = (
    "In each round $devices did the work that the method gave them, and the server combined the "
    "answers.",
)


def title(run: History) -> str:
    """The method and what it learnt, for a headline."""
    name = str(method(run).get("title", recipe(run)))
    data = part(run.about, "data").get("name")
    return f"{name} on {data}" if data else name


def story(run: History) -> list[str]:
    """One paragraph, sentence by sentence: who had which data, what a round did, how quality was
    found."""
    planned = (
        [] if run.rounds else ["No round has finished; this is what the run was set up to do."]
    )
    return [*planned, _who(run), *_rounds(run), *_tested(run)]


def _who(run: History) -> str:
    devices = pretty_count(fleet_size(run), "device" if measured(run) else "simulated device")
    pooled = discloses(run) == "everything"
    if measured(run):
        what = "sent them to the server, once" if pooled else "kept them"
        return f"{capital(devices)} of a real fleet had data of their own and {what}."
    data = part(run.about, "data")
    samples = _samples(number(data, "train"), f"training {sample(run)}") + _long(run)
    split = f", split by {data['partition']}" if data.get("partition") else ""
    if pooled:
        return f"{capital(devices)} held {samples}{split}, and sent all of it to the server, once."
    name = data.get("name", "the data set")
    return (
        f"{capital(samples)} of {name} were spread over {devices}{split}; each device kept its "
        "part."
    )


def _long(run: History) -> str:
    """How much text a window is."""
    shape = listed(part(run.about, "data"), "shape")
    return (
        f" of {pretty_count(shape[0], 'token')}"
        if sample(run) == "window" and len(shape) == 1
        else ""
    )


def _rounds(run: History) -> list[str]:
    """What the method says of its rounds."""
    sentences = listed(method(run), "story") or OF_AN_OLDER_RECORD
    settings = part(run.about, "settings")
    took_part = _some(settings.get("per_round", settings.get("per-round")), fleet_size(run))
    return [Template(str(one)).safe_substitute(devices=took_part) for one in sentences]


def _tested(run: History) -> list[str]:
    test = number(part(run.about, "data"), "test")
    if not test:
        return []
    return [
        f"Quality was measured on {pretty_count(test, f'held-out {sample(run)}')} that no device "
        "had seen."
    ]


def _some(asked: Any, devices: int) -> str:
    if isinstance(asked, int) and 0 < asked < devices:
        return f"{asked} of them"
    return "every device"


def _samples(count: float | None, noun: str) -> str:
    """How many samples there were; without a count only the noun."""
    return f"{noun}s" if count is None else pretty_count(count, noun)
