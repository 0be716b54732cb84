"""Features of a frozen part, worked out once: where the head alone trains, all before it gives the
same of the same samples in every round.

A net stands on its features while `on_features` lasts: it takes the head's inputs and gives logits,
with all its weights under the names that they have. Features are those of the net in evaluation
mode, in batches of one size, so that working them out anew gives the same bits.

Axes: P samples.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.chance import stream
from .forward import logits
from .place import as_array, borrowed, device_of, moved
from .train import drawing

BATCH = 64
KEPT_BYTES = 256 << 20
"""Features above this size lie in a temporary file."""


@dataclass(slots=True, eq=False)
class FeatureStore:
    """The features of sample sets that come back in every round."""

    _kept: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """Samples and their features, by the identity of the samples."""

    def of(self, module: nn.Module, head: str, inputs: np.ndarray) -> np.ndarray:
        """What the head takes for these samples, [P, ...]; worked out the first time."""
        known = self._kept.get(id(inputs))
        if known is None:
            known = inputs, features(module, head, inputs)
            self._kept[id(inputs)] = known
        return known[1]


def trained_head(module: nn.Module, example: Tensor) -> str | None:
    """The submodule that alone trains, takes one tensor and gives the logits; None if there is no
    such."""
    trained = [name for name, one in module.named_parameters() if one.requires_grad]
    head = _around(trained)
    frozen = any(not one.requires_grad for one in module.parameters())
    if not head or not frozen:
        return None
    module.eval()
    with torch.no_grad(), _heard(module, head) as calls:
        whole = logits(module, moved(example, device_of(module)))
        if len(calls) != 1 or len(calls[0]) != 1 or not isinstance(calls[0][0], Tensor):
            return None
        again = module.get_submodule(head)(calls[0][0])
    same = isinstance(again, Tensor) and again.shape == whole.shape
    return head if same and torch.equal(again.float(), whole) else None


def _around(weights: Sequence[str]) -> str:
    """The innermost submodule that has all these weights."""
    shared: list[str] = []
    for parts in zip(*(name.split(".")[:-1] for name in weights), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def features(module: nn.Module, head: str, inputs: np.ndarray) -> np.ndarray:
    """What the head takes for these samples, [P, ...], in a temporary file where that is large."""
    module.eval()
    device = device_of(module)
    found: np.ndarray | None = None
    with drawing(stream(0, "predict")), torch.no_grad(), _heard(module, head) as calls:
        for at in range(0, len(inputs), BATCH):
            calls.clear()
            logits(module, borrowed(np.array(inputs[at : at + BATCH]), device))
            part = as_array(calls[0][0])
            if found is None:
                found = _room((len(inputs), *part.shape[1:]), part.dtype)
            found[at : at + BATCH] = part
    assert found is not None, "there are samples"
    return found


def _room(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if np.prod(shape) * dtype.itemsize <= KEPT_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the mapping keeps it
        return np.memmap(file, dtype, "w+", shape=shape)


@contextmanager
def on_features(module: nn.Module, head: str) -> Iterator[nn.Module]:
    """The net takes what its head takes."""
    before = vars(module).get("forward")
    module.forward = module.get_submodule(head).__call__
    try:
        yield module
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


@contextmanager
def _heard(module: nn.Module, head: str) -> Iterator[list[tuple[Any, ...]]]:
    """What the head is called with."""
    calls: list[tuple[Any, ...]] = []

    def note(_part: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls.append(inputs)

    handle = module.get_submodule(head).register_forward_pre_hook(note)
    try:
        yield calls
    finally:
        handle.remove()
