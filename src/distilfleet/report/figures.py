"""What a history says in numbers: final, best and total values, and series over rounds."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.protocols import SMASHED
from ..core.units import pretty_bytes, pretty_j, pretty_s
from ..record.history import History

Value = float | None
"""A number, or None where the record does not have it."""


def number(facts: Mapping[str, Any], field: str) -> Value:
    """A finite number, or None for anything else."""
    value = facts.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def part(facts: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """A table inside a table; empty if there is none."""
    value = facts.get(field)
    return value if isinstance(value, Mapping) else {}


def listed(facts: Mapping[str, Any], field: str) -> Sequence[Any]:
    """A list inside a table; empty if there is none."""
    value = facts.get(field)
    return value if isinstance(value, list | tuple) else ()


def series(run: History, field: str) -> list[Value]:
    """The field in each round."""
    return [number(row, field) for row in run.rounds]


def round_numbers(run: History) -> list[int]:
    """The number of each round; its place where the record does not say."""
    return [int(number(row, "round") or place) for place, row in enumerate(run.rounds, 1)]


def has(run: History, field: str) -> bool:
    """Whether any round has the field."""
    return any(value is not None for value in series(run, field))


def last(run: History, field: str) -> Value:
    """The latest round that has the field."""
    return next((value for value in reversed(series(run, field)) if value is not None), None)


def best(run: History, field: str) -> tuple[float, int] | None:
    """The best value of a quality field and its round: the lowest loss, the highest of anything
    else."""
    found = [
        (v, r) for v, r in zip(series(run, field), round_numbers(run), strict=True) if v is not None
    ]
    if not found:
        return None
    sign = -1 if field.endswith("loss") else 1
    return max(found, key=lambda pair: (sign * pair[0], -pair[1]))


def total(run: History, *fields: str) -> Value:
    """Sum over rounds and fields; None if no round has any of them."""
    found = [value for field in fields for value in series(run, field) if value is not None]
    return sum(found) if found else None


def per_round(run: History, *fields: str) -> list[Value]:
    """Sum over fields in each round."""
    return [_sum([number(row, field) for field in fields]) for row in run.rounds]


def cumulative(values: Sequence[Value]) -> list[float]:
    """Running sum; a missing value adds nothing."""
    sums: list[float] = []
    for value in values:
        sums.append((sums[-1] if sums else 0.0) + (value or 0.0))
    return sums


def asked(run: History) -> int:
    """Rounds that were asked for."""
    return int(number(run.about, "rounds") or len(run.rounds))


def fleet_size(run: History) -> int:
    """How many devices the fleet has."""
    return int(number(run.fleet, "total") or len(listed(run.fleet, "shown")))


def per_device(run: History, *fields: str) -> Value:
    """A total over the run, as a mean over the fleet."""
    amount = total(run, *fields)
    devices = fleet_size(run)
    return amount / devices if amount is not None and devices else None


def savings(run: History, field: str) -> tuple[float, float] | None:
    """Least and most that a small model saves against the large one, as shares."""
    if runs_large(run):
        return None
    found = [
        v for v in (number(row, field) for row in tables(run.about, "savings")) if v is not None
    ]
    return (min(found), max(found)) if found else None


def runs_large(run: History) -> bool:
    """Whether the large model itself was trained, by the devices or on their pooled data, so that
    nothing is saved."""
    return part(run.about, "settings").get("who") == "large"


def silent(run: History) -> list[Value]:
    """Devices of each round that were asked and never answered. Older records count jobs
    instead."""
    rows = zip(series(run, "asked"), series(run, "devices"), series(run, "missed"), strict=True)
    return [
        missed if asked is None else asked - (devices or 0.0) for asked, devices, missed in rows
    ]


def jobs(run: History) -> Value:
    """All jobs of the run, answered or not."""
    return total(run, "jobs") if has(run, "jobs") else total(run, "devices", "missed")


def tables(facts: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    """A list of tables; entries of another type are passed over."""
    return [entry for entry in listed(facts, field) if isinstance(entry, Mapping)]


def quality(run: History) -> str:
    """Which kind of quality the run measured: `accuracy` or `loss`."""
    losses = has(run, "large_loss") or has(run, "small_loss")
    return (
        "loss"
        if losses and not (has(run, "large_accuracy") or has(run, "small_accuracy"))
        else "accuracy"
    )


def frozen_teacher(run: History) -> bool:
    """Whether the large model is a teacher that stays as it is, and the small one its only
    student."""
    return bool(method(run).get("frozen_teacher"))


def teacher(run: History) -> Value:
    """The quality of a teacher that stays as it is; None if the large model learns."""
    return last(run, f"large_{quality(run)}") if frozen_teacher(run) else None


def who(run: History, size: str) -> str:
    """What a large or small model is called in this run."""
    if frozen_teacher(run):
        return "teacher" if size == "large" else "student"
    return "large model" if size == "large" else "small models"


def sample(run: History) -> str:
    """What one sample is called: a window where text is cut into them, a text where it is
    classified."""
    data = part(run.about, "data")
    if "tokenizer" not in data:
        return "sample"
    return "text" if listed(data, "classes") else "window"


def measured(run: History) -> bool:
    """Whether a real fleet ran it, so that seconds are those of a clock."""
    return bool(part(run.about, "settings").get("fleet"))


def names(runs: Sequence[History]) -> list[str]:
    """A short, distinct name for each run: its folder, with parents or a number where two are
    alike."""
    folders = [run.path.name or str(run.path) for run in runs]
    paths = [
        folder if folders.count(folder) == 1 else str(run.path)
        for folder, run in zip(folders, runs, strict=True)
    ]
    distinct = []
    for place, path in enumerate(paths):
        count = paths[:place].count(path) + 1
        distinct.append(path if paths.count(path) == 1 else f"{path} ({count})")
    return distinct


def settings(run: History) -> dict[str, Any]:
    """The settings of the run, named as their flags are."""
    return {
        str(name).lstrip("-").replace("_", "-"): value
        for name, value in part(run.about, "settings").items()
    }


def recipe(run: History) -> str:
    """The name of the recipe that was run."""
    return str(run.about.get("recipe", "unknown"))


def method(run: History) -> Mapping[str, Any]:
    """The facts of its method, as `core.protocols.MethodFacts` has them; empty in an older
    record."""
    return part(run.about, "method")


def discloses(run: History) -> str:
    """The kind of thing that left devices; empty in an older record."""
    return str(method(run).get("discloses", ""))


def is_split(run: History) -> bool:
    """Whether devices ran the first part of a model and sent what came out of it; an older record
    tells by its cuts."""
    return discloses(run) in SMASHED if method(run) else bool(run.plan)


# --- for people -----------------------------------------------------------------------------------


def percent(share: float) -> str:
    """A share for people: 91.4 %. Never rounds up to all or down to nothing."""
    shown = 100 * share
    if 99.95 <= shown < 100 or 0 < shown < 0.05:
        return f"{shown:.2g} %" if shown < 1 else f"{math.floor(100 * shown) / 100:.2f} %"
    return f"{shown:.1f} %"


def saved(share: float) -> str:
    """A share that is saved, or how much more is taken."""
    return percent(share) if share >= 0 else f"none, {1 - share:.3g} times as much"


def saved_span(low: float, high: float) -> str:
    """The same of several."""
    if low >= 0 or saved(low) == saved(high):
        return span(low, high) if low >= 0 else saved(low)
    return (
        f"{saved(low)} to {percent(high)}"
        if high >= 0
        else f"none, {1 - high:.3g} to {1 - low:.3g} times as much"
    )


def nats(loss: float) -> str:
    """A loss for people, in nats."""
    return f"{loss:.3f}"


def plain(value: float) -> str:
    """Any number: 1,200, 0.0312."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


_ENDINGS: Mapping[str, Callable[[float], str]] = {
    "accuracy": percent,
    "saved": saved,
    "share": percent,
    "loss": nats,
    "bytes": pretty_bytes,
    "bytes_per_device": pretty_bytes,
    "_s": pretty_s,
    "_j": pretty_j,
}
"""How fields are shown whose names end so."""


def pretty(field: str, value: Value) -> str:
    """A value as its field's name says; a dash if there is none."""
    if value is None:
        return "–"
    for ending, show in _ENDINGS.items():
        if field.endswith(ending):
            return show(value)
    return plain(value)


def capital(words: str) -> str:
    """The words with a capital at their head, the rest as it is."""
    return words[:1].upper() + words[1:]


def span(low: float, high: float) -> str:
    """A range of shares: 95.1-98.9 %."""
    if percent(low) == percent(high):
        return percent(low)
    return f"{percent(low).removesuffix(' %')}–{percent(high)}"


def _sum(values: Sequence[Value]) -> Value:
    found = [value for value in values if value is not None]
    return sum(found) if found else None
