"""Seconds of computation, by the roofline model (Williams, Waterman and Patterson, CACM 52(4),
2009)."""

import numpy as np
from numpy.typing import ArrayLike


def compute_s(
    flops: ArrayLike,
    moved_bytes: ArrayLike,
    speed_flops_per_s: ArrayLike,
    memory_bytes_per_s: ArrayLike,
) -> np.ndarray:
    """The larger of the arithmetic's and the memory traffic's time; arguments broadcast.

    Loads are not negative and speeds are positive. Two loads joined into one never take longer than
    one after the other, and take less where one is bound by arithmetic and the other by memory.
    """
    arithmetic_s = np.asarray(flops, float) / np.asarray(speed_flops_per_s, float)
    traffic_s = np.asarray(moved_bytes, float) / np.asarray(memory_bytes_per_s, float)
    return np.asarray(np.maximum(arithmetic_s, traffic_s))
