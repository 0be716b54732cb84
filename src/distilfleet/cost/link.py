"""Seconds that a message takes over a link."""

import numpy as np
from numpy.typing import ArrayLike

from ..core.units import BITS_PER_BYTE


def transfer_s(size_bytes: ArrayLike, rate_bps: ArrayLike, latency_s: ArrayLike) -> np.ndarray:
    """From the first bit sent to the last one received, one way; arguments broadcast.

    Zero bytes take zero seconds, without the latency: a frame has a header, so no message is empty,
    and zero bytes say that this device sends nothing. Rates are positive.
    """
    sent_bytes = np.asarray(size_bytes, float)
    lasting_s = BITS_PER_BYTE * sent_bytes / np.asarray(rate_bps, float) + np.asarray(
        latency_s, float
    )
    return np.where(sent_bytes > 0, lasting_s, 0.0)
