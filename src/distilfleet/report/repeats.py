"""Runs that repeat one another: the same settings under other seeds. What differs less than they do is chance."""

from collections.abc import Mapping, Sequence

from ..record.history import History
from . import figures
from .differences import Places, groups, seeds

_QUALITY = ("large_accuracy", "small_accuracy", "large_loss", "small_loss")


def ahead(values: Mapping[int, float], sets: Sequence[Places]) -> set[int]:
    """Places of the group whose lowest value is above the highest of any other; none if all are equal."""
    known = [[values[place] for place in places if place in values] for places in sets]
    spans = [(min(some), max(some)) for some in known if some]
    if len(set(spans)) < 2:
        return set()
    least = max(low for low, _ in spans)
    rivals = [span for span in spans if span[0] < least]
    if any(high >= least for _, high in rivals):
        return set()
    return {place for places, some in zip(sets, known, strict=True) if some and min(some) == least for place in places}


def told(runs: Sequence[History]) -> list[str]:
    """A sentence for each group of repetitions, with mean and spread; and what one seed each cannot tell."""
    sets = groups(runs)
    repeated = [places for places in sets if len(seeds(runs, places)) > 1]
    lines = [_told(runs, places) for places in repeated]
    if len(sets) > 1 and len(repeated) < len(sets):
        lines.append(
            "With one seed each, runs may differ by chance, so none is called best: repeat them with another --seed."
        )
    return lines


def as_rows(runs: Sequence[History]) -> list[dict[str, object]]:
    """For programs: seeds, means and spreads of each group of repetitions."""
    labels = figures.names(runs)
    return [
        {
            "runs": [labels[place] for place in places],
            "seeds": seeds(runs, places),
            **{field: {"mean": mean, "low": low, "high": high} for field, mean, low, high in _spreads(runs, places)},
        }
        for places in groups(runs)
        if len(seeds(runs, places)) > 1
    ]


def _told(runs: Sequence[History], places: Places) -> str:
    labels = figures.names(runs)
    who = ", ".join(labels[place] for place in places)
    spreads = [
        f"{field.replace('_', ' ')} {figures.pretty(field, mean)} ({figures.pretty(field, low)} to "
        f"{figures.pretty(field, high)})"
        for field, mean, low, high in _spreads(runs, places)
    ]
    return f"{who} repeat one another under seeds {', '.join(seeds(runs, places))}: mean {', '.join(spreads)}."


def _spreads(runs: Sequence[History], places: Places) -> list[tuple[str, float, float, float]]:
    """Field, mean, lowest and highest of the last round's quality."""
    spreads = []
    for field in _QUALITY:
        found = [value for place in places if (value := figures.last(runs[place], field)) is not None]
        if found:
            spreads.append((field, sum(found) / len(found), min(found), max(found)))
    return spreads
