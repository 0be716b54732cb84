"""Where runs differ: the settings that set them apart, and the conditions that make a comparison
unfair."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.units import pretty_bytes
from ..record.history import History
from . import figures

_PLUMBING = frozenset({"out", "resume", "threads", "cohorts", "checkpoint-every-s", "keep-wire"})
"""Settings that change no result."""
_ABSENT = "–"
Places = Sequence[int]
"""The places of runs that repeat one another."""


def differing_settings(runs: Sequence[History]) -> dict[str, dict[str, Any]]:
    """Settings that are not the same in all runs: name, then run, then value."""
    labels = figures.names(runs)
    all_settings = [own_settings(run) for run in runs]
    fields = dict.fromkeys(field for settings in all_settings for field in settings)
    found = {}
    for field in fields:
        values = [settings.get(field) for settings in all_settings]
        if any(value != values[0] for value in values):
            found[field] = dict(zip(labels, values, strict=True))
    return found


def cautions(runs: Sequence[History]) -> list[str]:
    """Sentences on what keeps these runs from being compared like with like; empty if nothing
    does."""
    labels = figures.names(runs)
    found = [
        _caution(what, labels, [condition(run) for run in runs]) for what, condition in _CONDITIONS
    ]
    own_seeds = {tuple(sorted(seeds(runs, places))) for places in groups(runs)}
    if len(own_seeds) > 1:
        found.append(_caution("The seed", labels, [_seed(run) for run in runs]))
    return [words for words in found if words is not None]


def _caution(what: str, labels: Sequence[str], values: Sequence[str]) -> str | None:
    if len(set(values)) < 2:
        return None
    parts = [f"{', '.join(_of(labels, values, value))}: {value}" for value in dict.fromkeys(values)]
    return f"{what} differs ({'; '.join(parts)})."


def _of(labels: Sequence[str], values: Sequence[str], wanted: str) -> list[str]:
    return [label for label, value in zip(labels, values, strict=True) if value == wanted]


def groups(runs: Sequence[History]) -> list[list[int]]:
    """Places of runs that differ in nothing but their seed, in the order of the first of each."""
    found: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        settings = {
            name: repr(value) for name, value in own_settings(run).items() if name != "seed"
        }
        key = repr(sorted(settings.items()))
        found.setdefault(key, []).append(place)
    return list(found.values())


def seeds(runs: Sequence[History], places: Places) -> list[str]:
    """The seeds of these runs, each once, in their order."""
    return list(dict.fromkeys(_seed(runs[place]) for place in places))


def own_settings(run: History) -> dict[str, Any]:
    """Settings that may change a result."""
    settings = {"recipe": figures.recipe(run), **figures.settings(run)}
    return {field: value for field, value in settings.items() if field not in _PLUMBING}


def _data(run: History) -> str:
    data = figures.part(run.about, "data")
    return (
        f"{data.get('name', _ABSENT)}, {data.get('train', _ABSENT)} to train, "
        f"{data.get('test', _ABSENT)} to test"
    )


def _tokenizer(run: History) -> str:
    return str(figures.part(run.about, "data").get("tokenizer", "none"))[:8]


def _partition(run: History) -> str:
    """Without its seed: under another one the data are spread in the same way."""
    return re.sub(r", seed \d+", "", str(figures.part(run.about, "data").get("partition", _ABSENT)))


def _seed(run: History) -> str:
    return str(run.about.get("seed", _ABSENT))


def _devices(run: History) -> str:
    kinds: Mapping[str, Any] = figures.part(run.fleet, "kinds")
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return counts or f"{figures.fleet_size(run)} devices"


def _quota(run: History) -> str:
    quota = figures.number(run.fleet, "quota_bytes")
    return "none" if quota is None else pretty_bytes(quota)


def _channels(run: History) -> str:
    return str(figures.settings(run).get("channels", "own"))


def _clock(run: History) -> str:
    return "measured on a real fleet" if figures.measured(run) else "modelled in simulation"


def _rounds(run: History) -> str:
    return str(len(run.rounds))


_CONDITIONS: tuple[tuple[str, Callable[[History], str]], ...] = (
    ("The data", _data),
    ("The tokenizer, so that a nat per token is not the same in all runs,", _tokenizer),
    ("The way the data were spread", _partition),
    ("The fleet", _devices),
    ("The memory quota", _quota),
    ("What channels are like", _channels),
    ("The number of finished rounds", _rounds),
    ("Where seconds come from", _clock),
)
