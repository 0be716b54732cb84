"""The end of a round: each layer and each row is averaged over those who held it, by the tokens
they trained it on.

Axes: R rows of a device, V vocabulary, D width.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ...core.types import DeviceId, Reply
from ...nn import split as splitting
from .modules import ServerModules
from .rows import rows_present
from .state import State


def merged(
    modules: ServerModules,
    state: State,
    replies: Sequence[Reply],
    cuts: Mapping[DeviceId, int],
    tokens: Mapping[DeviceId, int],
) -> dict[str, np.ndarray]:
    """The student's weights after a round, from the server's own and what each device has learnt.

    Args:
        cuts: of every device that took part; the server held the layers from there on.
        tokens: that each device's samples predicted.
    """
    new = modules.weights()
    parts = splitting.parts(modules.student)
    shared: list[tuple[str, str, int | None]]
    shared = [
        (f"student/{name}", name, depth)
        for depth, names in enumerate(parts.layers)
        for name in names
    ]
    shared += [("head", name, None) for name in parts.head]
    for sent, name, depth in shared:
        own = sum(
            count
            for device, count in tokens.items()
            if depth is None or cuts.get(device, 0) <= depth
        )
        held = [(reply, tokens[reply.device]) for reply in replies if sent in reply.arrays]
        if held:
            new[name] = _average(state.student[name], new[name], own, sent, held)
    for name in parts.embedding:
        new[name] = _rows(state, name, replies)
    return new


def _average(
    before: np.ndarray, servers: np.ndarray, own: int, sent: str, held: Sequence[tuple[Reply, int]]
) -> np.ndarray:
    learnt = own * (servers - before)
    for reply, count in held:
        learnt = learnt + count * np.asarray(reply.arrays[sent], np.float32)
    return np.asarray(before + learnt / max(1, own + sum(count for _, count in held)), np.float32)


def _rows(state: State, name: str, replies: Sequence[Reply]) -> np.ndarray:
    """Rows that no device trained stay as they were."""
    table_VD = state.student[name]
    learnt_VD = np.zeros_like(table_VD)
    seen_V = np.zeros(len(table_VD), np.int64)
    for reply in replies:
        if "rows" not in reply.arrays:
            continue
        ids_R = rows_present(state.present[reply.device], len(table_VD))
        seen_R = np.maximum(reply.arrays["seen"], 0).astype(np.int64)
        learnt_VD[ids_R] += seen_R[:, None] * np.asarray(reply.arrays["rows"], np.float32)
        seen_V[ids_R] += seen_R
    return np.asarray(table_VD + learnt_VD / np.maximum(seen_V, 1)[:, None], np.float32)
