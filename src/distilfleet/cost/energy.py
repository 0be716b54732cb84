"""Joules of a device over a job."""

import numpy as np
from numpy.typing import ArrayLike


def energy_j(
    elapsed_s: ArrayLike,
    busy_s: ArrayLike,
    transmit_s: ArrayLike,
    idle_w: ArrayLike,
    busy_w: ArrayLike,
    transmit_w: ArrayLike,
) -> np.ndarray:
    """Idle power over the whole job, what computing adds to it, and the radio while it sends;
    arguments broadcast.

    `elapsed_s` runs from the job's arrival to the end of its answer and holds `busy_s` and
    `transmit_s`; `busy_w` is the whole board's power, `transmit_w` comes on top. Receiving is taken
    to cost nothing beyond idling.
    """
    idling_j = np.asarray(idle_w, float) * (
        np.asarray(elapsed_s, float) - np.asarray(busy_s, float)
    )
    computing_j = np.asarray(busy_w, float) * np.asarray(busy_s, float)
    sending_j = np.asarray(transmit_w, float) * np.asarray(transmit_s, float)
    return np.asarray(idling_j + computing_j + sending_j)
