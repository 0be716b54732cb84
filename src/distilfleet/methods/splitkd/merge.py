"""The end of a round: each layer and each row is averaged over those who held it, by the tokens
they trained it on.

Axes: R rows of a device, V vocabulary, D width.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from ...core.types import DeviceId, Reply
from ...nn import split as splitting
from ...nn.place import as_array, to_tensor
from ...nn.resident import Resident
from .modules import ServerModules
from .rows import rows_present
from .state import State


def merged(
    modules: ServerModules,
    state: State,
    replies: Sequence[Reply],
    cuts: Mapping[DeviceId, int],
    tokens: Mapping[DeviceId, int],
) -> Resident:
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
            average = _average(modules.before[name], new[name], own, sent, held)
            new.tensors[name].copy_(to_tensor(average))
    for name in parts.embedding:
        _put_rows(new.tensors[name], state, replies)
    return new


def _average(
    before: np.ndarray, servers: np.ndarray, own: int, sent: str, held: Sequence[tuple[Reply, int]]
) -> np.ndarray:
    learnt = own * (servers - before)
    for reply, count in held:
        learnt = learnt + count * np.asarray(reply.arrays[sent], np.float32)
    return np.asarray(before + learnt / max(1, own + sum(count for _, count in held)), np.float32)


def _put_rows(table_VD: Tensor, state: State, replies: Sequence[Reply]) -> None:
    """The table with the rows that devices trained; all others stay as they were."""
    held = [reply for reply in replies if "rows" in reply.arrays]
    if not held:
        return
    vocabulary, width = table_VD.shape
    ids = [rows_present(state.present[reply.device], vocabulary) for reply in held]
    ids_U = np.unique(np.concatenate(ids))
    learnt_UD = np.zeros((len(ids_U), width), np.float32)
    seen_U = np.zeros(len(ids_U), np.int64)
    for reply, ids_R in zip(held, ids, strict=True):
        at_R = np.searchsorted(ids_U, ids_R)
        seen_R = np.maximum(reply.arrays["seen"], 0).astype(np.int64)
        learnt_UD[at_R] += seen_R[:, None] * np.asarray(reply.arrays["rows"], np.float32)
        seen_U[at_R] += seen_R
    rows_U = to_tensor(ids_U, table_VD.device)
    new_UD = as_array(table_VD[rows_U]) + learnt_UD / np.maximum(seen_U, 1)[:, None]
    table_VD[rows_U] = to_tensor(np.asarray(new_UD, np.float32), table_VD.device)
