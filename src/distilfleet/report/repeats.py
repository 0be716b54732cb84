"""Runs that repeat one another: the same settings under other seeds. What differs less than they do
is chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from ..record.history import History
from . import figures, paired
from .differences import Places, groups, seeds


def ahead(values: Mapping[int, float], sets: Sequence[Places]) -> set[int]:
    """Places of the group whose lowest value is above the highest of any other; none if all are
    equal."""
    lows: dict[tuple[int, ...], float] = {}
    highs: dict[tuple[int, ...], float] = {}
    for places in map(tuple, sets):
        known = [values[place] for place in places if place in values]
        if known:
            lows[places] = min(known)
            highs[places] = max(known)
    if len({(lows[places], highs[places]) for places in lows}) < 2:
        return set()
    least = max(lows.values())
    rivals = [places for places in lows if lows[places] < least]
    if any(highs[places] >= least for places in rivals):
        return set()
    return {place for places in lows if lows[places] == least for place in places}


def sentences(runs: Sequence[History]) -> list[str]:
    """A sentence for each group of repetitions, with mean and spread; and what one seed each cannot
    tell."""
    sets = groups(runs)
    repeated = [places for places in sets if len(seeds(runs, places)) > 1]
    lines = [_sentence(runs, places) for places in repeated]
    lines += paired.sentences(runs)
    if len(sets) > 1 and len(repeated) < len(sets):
        lines.append(
            "With one seed each, runs may differ by chance, so none is called best: repeat them "
            "with another --seed."
        )
    return lines


def as_rows(runs: Sequence[History]) -> list[dict[str, object]]:
    """For programs: seeds, means and spreads of each group of repetitions."""
    labels = figures.names(runs)
    rows: list[dict[str, object]] = []
    for places in groups(runs):
        if len(seeds(runs, places)) > 1:
            row: dict[str, object] = {
                "runs": [labels[place] for place in places],
                "seeds": seeds(runs, places),
            }
            for spread in _spreads(runs, places):
                row[spread.field] = {
                    "mean": spread.mean,
                    "deviation": spread.deviation,
                    "low": spread.low,
                    "high": spread.high,
                }
            rows.append(row)
    return rows


def _sentence(runs: Sequence[History], places: Places) -> str:
    labels = figures.names(runs)
    who = ", ".join(labels[place] for place in places)
    means = ", ".join(spread.words() for spread in _spreads(runs, places))
    return f"{who} repeat one another under seeds {', '.join(seeds(runs, places))}: mean {means}."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """The quality that repetitions reached in their last rounds."""

    field: str
    mean: float
    deviation: float
    """The standard deviation of a sample; 0 of one run."""
    low: float
    high: float

    def words(self) -> str:
        """The field with its mean and spread, for people."""
        name = self.field.replace("_", " ")
        mean, low, high, deviation = (
            figures.pretty(self.field, value)
            for value in (self.mean, self.low, self.high, self.deviation)
        )
        return f"{name} {mean} ({low} to {high}, deviation {deviation})"


def _spreads(runs: Sequence[History], places: Places) -> list[_Spread]:
    """Those fields of quality that the runs have."""
    spreads = []
    for field in paired.QUALITY:
        found = [
            value for place in places if (value := figures.last(runs[place], field)) is not None
        ]
        if found:
            spread = _Spread(
                field=field,
                mean=fmean(found),
                deviation=stdev(found) if len(found) > 1 else 0.0,
                low=min(found),
                high=max(found),
            )
            spreads.append(spread)
    return spreads
