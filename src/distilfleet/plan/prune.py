"""Which options can win at all on a device, exactly: nothing that is dropped could have made a plan
better.

Costs of a plan grow with each of an option's four figures (seconds of computing, bytes up, bytes
down, work of the server). Where they are concave in the bytes and the work, a mix of two options
that is no worse in any figure proves a third one useless, since the better of the two costs no more
than the mix: see docs/design/0008.

Axes: N devices, K options, G kinds of hardware, F figures.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations, pairwise

import numpy as np

from .facts import PlanFacts

SLACK = 1e-12
"""Relative; figures that differ by rounding alone are alike."""
Shortlist = list[np.ndarray]
"""Options of each hardware."""


def undominated(facts: PlanFacts) -> Shortlist:
    """Allowed options that no other one beats in every figure: enough for every objective."""
    return _each(facts, _front)


def extreme(facts: PlanFacts) -> Shortlist:
    """Allowed options that no mix of two others beats: enough for the total and for the bound on
    the makespan."""
    return _each(facts, _hull)


def all_on_the_server(facts: PlanFacts, shortlist: Shortlist) -> np.ndarray:
    """For each device, the option by which it computes least, [N]."""
    chosen = np.empty(len(facts), int)
    for devices, g in facts.groups:
        rows = shortlist[g]
        chosen[devices] = rows[facts.seconds_GK[g, rows].argmin()]
    return chosen


def _each(
    facts: PlanFacts, prune: Callable[[bytes, bytes, bytes, int], tuple[int, ...]]
) -> Shortlist:
    options = facts.options
    figures = np.stack([options.up_bytes, options.down_bytes, options.server_flops])
    shared = figures.astype(float).tobytes()
    shortlist = []
    for seconds_K, allowed_K in zip(facts.seconds_GK, facts.allowed_GK, strict=True):
        rows = prune(seconds_K.tobytes(), allowed_K.tobytes(), shared, len(options))
        shortlist.append(np.array(rows, int))
    return shortlist


def _figures(
    seconds: bytes, allowed: bytes, shared: bytes, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Allowed options by their seconds, and their figures scaled to at most one, [F, K]."""
    (rows,) = np.nonzero(np.frombuffer(allowed, bool))
    shared_FK = np.frombuffer(shared).reshape(-1, count)
    figures = np.vstack([np.frombuffer(seconds), shared_FK])[:, rows]
    most = figures.max(axis=1, initial=0, keepdims=True)
    figures = figures / np.maximum(most, 1e-300)
    order = np.lexsort(figures[::-1])
    return rows[order], figures[:, order]


@lru_cache(maxsize=1024)
def _front(seconds: bytes, allowed: bytes, shared: bytes, count: int) -> tuple[int, ...]:
    rows, figures = _figures(seconds, allowed, shared, count)
    better = (figures[:, :, None] <= figures[:, None, :] + SLACK).all(axis=0)
    place = np.arange(len(rows))
    not_before = place[:, None] >= place
    alike = better.T & not_before  # of two alike, the first one stays
    beaten = (better & ~alike).any(axis=0)
    return tuple(sorted(rows[~beaten].tolist()))


@lru_cache(maxsize=1024)
def _hull(seconds: bytes, allowed: bytes, shared: bytes, count: int) -> tuple[int, ...]:
    front = set(_front(seconds, allowed, shared, count))
    rows, figures = _figures(seconds, allowed, shared, count)
    places = [place for place, row in enumerate(rows.tolist()) if row in front]
    kept = _pairs(figures, _scan(figures, places))
    return tuple(sorted(rows[kept].tolist()))


def _scan(figures: np.ndarray, places: list[int]) -> list[int]:
    """Drop what a mix of its two neighbours beats, in order of seconds, until nothing goes."""
    columns = figures.T.tolist()
    dropped = True
    while dropped:
        kept = places[:1]
        for place, following in pairwise([*places[1:], -1]):
            if following < 0 or not _mixed(columns[kept[-1]], columns[following], columns[place]):
                kept.append(place)
        dropped = len(kept) < len(places)
        places = kept
    return places


def _mixed(one: list[float], other: list[float], middle: list[float]) -> bool:
    """Whether some mix of two is no worse than the third in any figure."""
    low = 0.0
    high = 1.0
    for a, b, c in zip(one, other, middle, strict=True):
        slope = b - a
        room = c - a + SLACK
        if slope > 0:
            high = min(high, room / slope)
        elif slope < 0:
            low = max(low, room / slope)
        elif room < 0:
            return False
    return low <= high


def _pairs(figures: np.ndarray, places: list[int]) -> list[int]:
    """Drop what a mix of any two of the others beats, the others being those that are still
    there."""
    columns = figures.T.tolist()
    for place in list(places):
        others = [other for other in places if other != place]
        if any(
            _mixed(columns[one], columns[other], columns[place])
            for one, other in combinations(others, 2)
        ):
            places = others
    return places
