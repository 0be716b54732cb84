"""Weights and moments that stay where their model is, between rounds too, without a second copy.

A method's state has a `Resident` where it had arrays. Whoever reads it as a mapping gets arrays,
one at a time: the wire, the disk, an average. Whoever computes with it is lent its tensors
(`weights.put`). Whoever trains takes them over (`take`) and changes them in place; it is used up
from then on, and what it held before the training is on disk alone.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import UsedUpError
from ..core.lazy import LazyArrays
from ..core.types import Arrays
from .place import CPU, as_array, tensors

LENT = "lent"
"""The attribute of a parameter or buffer whose memory belongs to somebody else, who may need it."""


class Resident(LazyArrays):
    """Tensors by name, read as arrays: of the processor's the arrays are the very memory."""

    def __init__(self, named: Mapping[str, Tensor]) -> None:
        self._tensors: dict[str, Tensor] | None = dict(named)

    @staticmethod
    def of(module: nn.Module) -> "Resident":
        """All weights and buffers of a module, which keeps working with them."""
        return Resident.over(module.state_dict(keep_vars=True))

    @staticmethod
    def over(named: Mapping[str, Tensor]) -> "Resident":
        """These parameters and buffers, whose modules keep working with them."""
        for tensor in named.values():
            setattr(tensor, LENT, True)
        return Resident({name: tensor.detach() for name, tensor in named.items()})

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors themselves, to look at. Raises UsedUpError."""
        if self._tensors is None:
            raise UsedUpError("this state went into a later round, which trained it on in place")
        return self._tensors

    def take(self) -> dict[str, Tensor]:
        """The tensors, to change; nobody can read them here any more. Raises UsedUpError."""
        taken = dict(self.tensors)
        self._tensors = None
        return taken

    def __getitem__(self, name: str) -> np.ndarray:
        return as_array(self.tensors[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def taken(arrays: Arrays, device: torch.device = CPU) -> Resident:
    """The same, for a training that changes it: taken over, or a copy of arrays from elsewhere."""
    return Resident(arrays.take() if isinstance(arrays, Resident) else tensors(arrays, device))


def copied(arrays: Arrays) -> dict[str, np.ndarray]:
    """Arrays of their own memory."""
    return {name: np.array(array) for name, array in arrays.items()}


def lend(tensor: Tensor, memory: Tensor) -> None:
    """Lets a parameter or buffer work in memory that is not its own. Raises RuntimeError if that is
    of another shape."""
    if tensor.shape != memory.shape:
        raise RuntimeError(f"{list(memory.shape)} numbers for a weight of {list(tensor.shape)}")
    tensor.data = memory.to(tensor.device, tensor.dtype)
    setattr(tensor, LENT, True)


def fill(tensor: Tensor, values: Tensor) -> None:
    """Copies values into a parameter or buffer, in memory of its own."""
    if getattr(tensor, LENT, False):
        tensor.data = torch.empty_like(tensor)
        setattr(tensor, LENT, False)
    tensor.copy_(values)
