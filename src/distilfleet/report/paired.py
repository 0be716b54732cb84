"""Settings held against each other under the same seeds: the mean difference, and how sure it is.

A seed draws data, fleet and weights for both, so what is chance in one is mostly chance in the
other, and the difference of each pair varies less than either. Source of the interval: Student's t
for paired samples (Student, "The probable error of a mean", Biometrika 6, 1908).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

from ..record.history import History
from . import figures
from .differences import Places, groups, seeds

QUALITY = ("large_accuracy", "small_accuracy", "large_loss", "small_loss")
QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t for 95 %, two-sided, with 1 to 10 degrees of freedom."""
FROM_HERE = 2.228
"""What is taken for more degrees: a little too wide, never too narrow."""
LEAST_SEEDS = 2
MOST_SETTINGS = 6
"""Settings of which every two are held against each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much better or worse one setting was than another, in a figure of quality."""

    first: Places
    second: Places
    field: str
    seeds: int
    mean: float
    """Second less first."""
    half_width: float
    """The interval of 95 % is the mean, give or take this."""

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval leaves out zero."""
        return abs(self.mean) > self.half_width


def differences(runs: Sequence[History]) -> list[Difference]:
    """Of every two settings that share two seeds at least; empty if there are too many to read."""
    sets = groups(runs)
    if len(sets) > MOST_SETTINGS:
        return []
    found = []
    for first, second in combinations(sets, 2):
        for field in QUALITY:
            one = _difference(runs, first, second, field)
            found += [] if one is None else [one]
    return found


def sentences(runs: Sequence[History]) -> list[str]:
    """A sentence for each difference."""
    return [_sentence(runs, one) for one in differences(runs)]


def as_rows(runs: Sequence[History]) -> list[dict[str, object]]:
    """For programs: second less first, with the interval of 95 %."""
    labels = figures.names(runs)
    return [_row(one, labels) for one in differences(runs)]


def _row(one: Difference, labels: Sequence[str]) -> dict[str, object]:
    return {
        "first": [labels[place] for place in one.first],
        "second": [labels[place] for place in one.second],
        "field": one.field,
        "seeds": one.seeds,
        "mean": one.mean,
        "low": one.mean - one.half_width,
        "high": one.mean + one.half_width,
    }


def _difference(
    runs: Sequence[History], first: Places, second: Places, field: str
) -> Difference | None:
    before = _by_seed(runs, first, field)
    after = _by_seed(runs, second, field)
    shared = [after[seed] - before[seed] for seed in before if seed in after]
    if len(shared) < LEAST_SEEDS:
        return None
    freedom = len(shared) - 1
    quantile = QUANTILES[freedom - 1] if freedom <= len(QUANTILES) else FROM_HERE
    half_width = quantile * stdev(shared) / len(shared) ** 0.5
    return Difference(
        first=first,
        second=second,
        field=field,
        seeds=len(shared),
        mean=fmean(shared),
        half_width=half_width,
    )


def _by_seed(runs: Sequence[History], places: Places, field: str) -> Mapping[str, float]:
    """What each seed's run reached in its last round."""
    reached = {}
    for place in places:
        (seed,) = seeds(runs, [place])
        value = figures.last(runs[place], field)
        if value is not None:
            reached[seed] = value
    return reached


def _sentence(runs: Sequence[History], one: Difference) -> str:
    labels = figures.names(runs)
    low = _signed(one.field, one.mean - one.half_width)
    high = _signed(one.field, one.mean + one.half_width)
    sure = "" if one.is_told_apart else ", which may be chance"
    return (
        f"{labels[one.second[0]]} against {labels[one.first[0]]}, {one.seeds} seeds in pairs: "
        f"{one.field.replace('_', ' ')} {_signed(one.field, one.mean)} "
        f"(95 % interval {low} to {high}){sure}."
    )


def _signed(field: str, value: float) -> str:
    if field.endswith("accuracy"):
        return f"{100 * value:+.1f} points"
    return f"{value:+.3f} nats"
