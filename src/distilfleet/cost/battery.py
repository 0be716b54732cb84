"""What a battery gives and takes. Nothing is lost on the way: what is drawn leaves the battery,
what is taken stays."""

from dataclasses import dataclass
from math import inf

import numpy as np

CAPACITY_J = {"phone": 62e3, "mcu": 27e3}
"""A phone's 4,500 mAh at 3.85 V, a sensor's 2,000 mAh at 3.7 V, both estimates; others are on
mains."""
STOP_SHARE = 0.15
"""Charge below which a device leaves the job alone: estimate; phones warn at 15 to 20 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What happened to batteries in a period, [N] each, in joules."""

    drawn_j: np.ndarray
    """What was asked for and given: all of it, unless the battery ran out."""
    taken_j: np.ndarray
    """What the charger gave: all that it could, unless the battery was full."""
    left_j: np.ndarray
    """What the battery holds afterwards: what was there, less what was drawn, plus what was
    taken."""


def flow(
    stored_j: np.ndarray, capacity_j: np.ndarray, asked_j: np.ndarray, offered_j: np.ndarray
) -> Flow:
    """Charge and drain over a period; a capacity of infinity is mains, which gives all and takes
    nothing.

    The charger comes first, so a device on its cable runs from it.
    """
    mains = ~np.isfinite(capacity_j)
    room_j = np.where(mains, 0.0, capacity_j - stored_j) + asked_j
    taken_j = np.where(mains, 0.0, np.minimum(offered_j, room_j))
    drawn_j = np.where(mains, asked_j, np.minimum(asked_j, stored_j + taken_j))
    left_j = np.where(mains, stored_j, np.clip(stored_j + taken_j - drawn_j, 0.0, capacity_j))
    return Flow(drawn_j=drawn_j, taken_j=taken_j, left_j=left_j)


def capacity_j(family: str) -> float:
    """Joules that a device of this family holds when full; infinity on mains."""
    return CAPACITY_J.get(family, inf)
