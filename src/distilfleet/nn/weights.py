"""Model weights as named arrays, and their average. Weights include normalisation statistics."""

from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np
import torch
from torch import nn

from ..core.table import column
from ..core.types import Arrays
from .place import to_array, to_tensor
from .resident import Resident, fill, lend

BLOCK_BYTES = 1 << 20
"""Bytes that an average adds up in one call: about a processor's second cache."""


def to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Copies of all parameters and buffers, by name."""
    return {name: to_array(tensor) for name, tensor in module.state_dict().items()}


def put(module: nn.Module, weights: Arrays) -> nn.Module:
    """The module with these weights: lent if they are held, else copied in.

    Raises KeyError or RuntimeError if they are another model's.
    """
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if isinstance(weights, Resident):
                lend(tensor, weights.tensors[name])
            else:
                fill(tensor, to_tensor(weights[name], tensor.device))
    return module


def average(
    weights: Sequence[Arrays], shares: Sequence[float], names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Weighted mean over models of one architecture; counters (integers) take the largest.

    No more than a block of arrays is looked at at once: those of a real fleet may lie on disk.
    `names`: of these alone.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized
    data", AISTATS 2017, algorithm 1. https://arxiv.org/abs/1602.05629
    """
    total = float(sum(shares))
    scaled = [np.float32(share / total) for share in shares]
    return {name: _mean(name, weights, scaled) for name in (weights[0] if names is None else names)}


def blend(old: Arrays, new: Arrays, keep: float) -> dict[str, np.ndarray]:
    """Exponential moving average: `keep` of the old weights, the rest of the new ones."""
    return average([old, new], [keep, 1.0 - keep])


def norm(weights: Arrays) -> float:
    """Euclidean norm over all floating-point arrays."""
    wide = (
        a if a.itemsize > 2 else a.astype(np.float32)
        for a in weights.values()
        if a.dtype.kind == "f"
    )
    return float(np.sqrt(sum(float(np.vdot(a, a)) for a in wide)))


def _mean(name: str, weights: Sequence[Arrays], shares: Sequence[np.float32]) -> np.ndarray:
    first = weights[0][name]
    many = max(1, BLOCK_BYTES // max(1, first.nbytes))
    starts = range(0, len(weights), many)
    blocks = (column(weights[at : at + many], name) for at in starts)
    if first.dtype.kind != "f":
        return np.asarray(reduce(np.maximum, (block.max(axis=0) for block in blocks)))
    shares_D = np.array(shares)
    total = np.zeros(first.size, np.result_type(first.dtype, np.float32))
    for at, block in zip(starts, blocks, strict=True):
        # rows side by side, wherever they came from: a product's last bits depend on how they lie
        rows = np.ascontiguousarray(block).reshape(len(block), -1)
        total = total + shares_D[at : at + many] @ rows
    return total.reshape(first.shape).astype(first.dtype, copy=False)
