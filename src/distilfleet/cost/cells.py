"""Who shares a radio, and what is left for each: a cell's band in slots, an access point's airtime.

A share b of a cell carries `CARRYING_SHARE` x b x W x SE. Shares of a cell add up to 1 at most; a planner chooses them,
and without one, those that are there take equal parts.
"""

import numpy as np
from numpy.typing import ArrayLike

from ..core.units import BITS_PER_BYTE
from .radio import mean_transmissions

CARRYING_SHARE = 0.75
"""Of a band that carries data; the rest is control, pilots and guard: estimate, below TS 38.306's 0.86 and 0.92."""
BLOCK_ERROR_SHARE = 0.1
"""Blocks lost at a transmission: the target that indices of channel quality are reported for, TS 38.214, 5.2.2.1."""
TRANSMISSIONS = 4
"""Of a block at most: estimate, the usual setting of networks."""
WIFI_MAC_SHARE = 0.6
"""Of the airtime that carries data; the rest is preambles, contention and acknowledgements: estimate, 0.5 to 0.7."""


def solo_bps(bandwidth_hz: float, bps_per_hz: np.ndarray) -> np.ndarray:
    """Rate of a device that has its cell to itself, lost blocks sent again; a share b of the cell leaves b of it."""
    carried = CARRYING_SHARE / mean_transmissions(BLOCK_ERROR_SHARE, TRANSMISSIONS)
    return np.asarray((carried * bandwidth_hz) * bps_per_hz)


def crowd(cell: np.ndarray, active: np.ndarray, cells: int) -> np.ndarray:
    """Active devices of each cell, [cells]."""
    return np.bincount(cell, active, minlength=cells)


def equal_shares(cell: np.ndarray, active: np.ndarray, cells: int) -> np.ndarray:
    """Share of its cell that each device has if the active ones take equal parts; 0 for the others."""
    part = 1.0 / np.maximum(crowd(cell, active, cells), 1.0)
    return np.asarray(part.astype(np.float32)[cell] * active)


def wifi_airtime_s(size_bytes: ArrayLike, phy_bps: ArrayLike, mac_share: float = WIFI_MAC_SHARE) -> np.ndarray:
    """Seconds for which a message keeps the channel of its access point from everybody: bits / (share x PHY rate).

    Airtimes of one access point add up, so one slow station slows all of them (the performance anomaly, Heusse et al.,
    INFOCOM 2003); they take the place of cell shares in a plan.
    """
    return np.asarray(BITS_PER_BYTE * np.asarray(size_bytes, float) / (mac_share * np.asarray(phy_bps, float)))


def wifi_fair_bps(phy_bps: np.ndarray, access_point: np.ndarray, points: int) -> np.ndarray:
    """Rate of each station if all of an access point send messages of one size in turn: all get the same."""
    turn_s = np.bincount(access_point, wifi_airtime_s(1 / BITS_PER_BYTE, phy_bps), minlength=points)
    return np.asarray(1.0 / turn_s[access_point])
