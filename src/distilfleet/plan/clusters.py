"""Clusters: parallel inside, one after the other. They exist because a server's memory ends, not to
save time.

One cluster of everybody is never slower than several (docs/design/0008). Where not all fit, devices
that take alike times go together: with given shares, sorted runs are the best partition, since a
cluster waits for its slowest.

Axes: N devices.
"""

import numpy as np

from ..core.errors import InfeasibleError
from ..core.units import pretty_bytes
from .facts import PlanFacts, ServerFacts


def capacity(facts: PlanFacts, server: ServerFacts) -> int:
    """Devices that the server can serve side by side, whatever they choose. Raises
    InfeasibleError."""
    options = facts.options
    room_bytes = server.memory_bytes - options.server_held_bytes
    usable_K = facts.allowed_GK.any(axis=0)
    each_bytes = float(options.server_memory_bytes[usable_K].max(initial=0.0))
    if room_bytes >= each_bytes:
        return (
            len(facts) if each_bytes * len(facts) <= room_bytes else int(room_bytes // each_bytes)
        )
    raise InfeasibleError(
        f"the server has {pretty_bytes(server.memory_bytes)} of memory; the models take "
        f"{pretty_bytes(options.server_held_bytes)} and one device's step "
        f"{pretty_bytes(each_bytes)} more: {pretty_bytes(each_bytes - room_bytes)} are missing. "
        "Load the teacher in half the bits (--teacher-precision 16), take a smaller --batch or a "
        "larger --server"
    )


def runs(seconds: np.ndarray, most: int) -> list[np.ndarray]:
    """Devices in as few runs of at most `most` as there can be, alike ones together; each run in
    ascending order."""
    count = -(-len(seconds) // most)
    return [np.sort(run) for run in np.array_split(np.argsort(-seconds, kind="stable"), count)]
