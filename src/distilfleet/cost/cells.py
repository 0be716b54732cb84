"""Who shares a cell's band, and what is left for each.

A share b of a cell carries `CARRYING_SHARE` x b x W x SE. Shares of a cell add up to 1 at most; a
planner chooses them, and without one, those that are there take equal parts.
"""

import numpy as np

from .radio import mean_transmissions

CARRYING_SHARE = 0.75
"""Part of a band that carries data; the rest is control, pilots and guard. An estimate, below TS
38.306's 0.86 and 0.92."""
BLOCK_ERROR_SHARE = 0.1
"""Blocks lost at a transmission: the target that indices of channel quality are reported for, TS
38.214, 5.2.2.1."""
TRANSMISSIONS = 4
"""Times that a block is sent at most: estimate, the usual setting of networks."""


def solo_bps(bandwidth_hz: float, bps_per_hz: np.ndarray) -> np.ndarray:
    """Rate of a device that has its cell to itself, lost blocks sent again; a share b of the cell
    leaves b of it."""
    carried = CARRYING_SHARE / mean_transmissions(BLOCK_ERROR_SHARE, TRANSMISSIONS)
    return np.asarray((carried * bandwidth_hz) * bps_per_hz)


def crowd(cell: np.ndarray, active: np.ndarray, cells: int) -> np.ndarray:
    """Active devices of each cell, [cells]."""
    return np.bincount(cell, active, minlength=cells)


def equal_shares(cell: np.ndarray, active: np.ndarray, cells: int) -> np.ndarray:
    """Share of its cell that each device has if the active ones take equal parts; 0 for the
    others."""
    part = 1.0 / np.maximum(crowd(cell, active, cells), 1.0)
    return np.asarray(part.astype(np.float32)[cell] * active)
