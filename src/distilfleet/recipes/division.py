"""How the samples of a simulation are divided among its devices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from ..core.chance import stream
from ..core.types import Dataset, DeviceId
from ..data import partition
from .flags import Common
from .machines import numbered

DEVICES = 20
"""How many devices there are where nobody says it and the data name no owners."""
ALPHA = 0.5
"""The skew between devices where nobody says it."""
LEAST_OWN = 15
"""Below this many samples per device an IID fleet shares samples between devices."""
MOST_LOOKED_AT = 1000
"""Devices whose classes are counted."""
Rows = Sequence[np.ndarray] | np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Division:
    """Who owns which samples."""

    rows: Rows
    """The numbers of each device's samples, in the order of the fleet."""
    how: str
    """How that came about, in words."""


def names(groups: np.ndarray | None, common: Common) -> Sequence[DeviceId]:
    """The devices: one per owner where the data name them and nobody asks otherwise, or
    numbered."""
    if groups is None or not _by_owner(common):
        return numbered(common.devices or DEVICES)
    return partition.by_group(groups)[0]


def divide(private: Dataset, groups: np.ndarray | None, common: Common) -> Division:
    """Raises ConfigError, for example where there are too few samples for so many devices."""
    division = _divided(private, groups, common)
    return replace(division, how=division.how + _of_one_class(private, division.rows))


def _divided(private: Dataset, groups: np.ndarray | None, common: Common) -> Division:
    if groups is None:
        return _drawn(private, common)
    if _by_owner(common):
        owners, rows = partition.by_group(groups)
        return Division(rows=rows, how=f"one device per owner, {len(owners)} owners")
    drawn = _drawn(private, common)
    if not _is_dirichlet(common):
        return drawn
    return replace(drawn, how=f"{drawn.how}; owners named in the data are ignored")


def _by_owner(common: Common) -> bool:
    return common.alpha is None and common.devices is None


def _is_dirichlet(common: Common) -> bool:
    """Whether labels are skewed."""
    return common.alpha != inf and common.skew == "label"


def _drawn(private: Dataset, common: Common) -> Division:
    """Divided at random, by the seed of the run."""
    count = common.devices or DEVICES
    alpha = ALPHA if common.alpha is None else common.alpha
    rng = stream(common.seed, "partition")
    if alpha == inf:
        drawn = _even(len(private), count, rng)
    elif common.skew == "quantity":
        rows = partition.by_quantity(len(private), count, alpha, rng)
        drawn = Division(rows=rows, how=f"uneven quantities, Dirichlet alpha {alpha:g}")
    else:
        assert private.labels is not None
        rows = partition.dirichlet(private.labels, count, alpha, rng)
        drawn = Division(rows=rows, how=f"Dirichlet alpha {alpha:g}")
    return replace(drawn, how=f"{drawn.how}, seed {common.seed}")


def _even(samples: int, count: int, rng: np.random.Generator) -> Division:
    """Equal parts, which share samples where there are few."""
    if samples >= LEAST_OWN * count:
        return Division(rows=partition.iid(samples, count, rng), how="IID")
    shared = partition.overlapping(samples, count, LEAST_OWN, rng)
    return Division(rows=shared, how=f"IID, {LEAST_OWN} samples each, shared between devices")


def _of_one_class(private: Dataset, rows: Rows) -> str:
    """What to say where most devices have samples of one class alone: nothing tells it from another
    there."""
    assert private.labels is not None
    some = rows[:MOST_LOOKED_AT]
    alone = sum(len(np.unique(private.labels[own])) == 1 for own in some)
    if 2 * alone <= len(some):
        return ""
    return (
        f"; {alone} of {len(some)} devices have one class alone: their weights lie far apart, and "
        "`--aggregate geometric-median` may learn one camp's classes alone"
    )
