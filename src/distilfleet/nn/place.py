"""Where a model lies and in what it computes; and the one crossing between numpy and there.

Whoever has a module finds its place with `device_of`, and moves what a step needs there with
`to_tensor`. What devices, the wire and the disk see goes through `to_array` or `as_array`. No other
file of the package turns arrays into tensors or back, which a test holds.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.types import Arrays

CPU = torch.device("cpu")
FAMILIES = ("cuda", "xpu", "mps")
"""Accelerators in the order in which `auto` takes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model lies and computes."""

    device: str = "cpu"
    """A device as torch names it, such as cuda:1."""
    recompute: bool = False
    """Whether activations are computed again in the backward pass, in place of being kept."""

    def put(self, module: nn.Module) -> nn.Module:
        """The module, moved here."""
        if self.recompute:
            newer = getattr(module, "activation_checkpointing_enable", None)
            again: Any = newer or module.gradient_checkpointing_enable  # its name before version 5
            again({"use_reentrant": False})
        return module if self.device == "cpu" else module.to(self.device)


def accelerator(name: str) -> str:
    """The device that a flag means. Raises ConfigError if it is not there.

    Args:
        name: `auto` for the first accelerator there is, else the processor; or a device as torch
            names it.
    """
    there = [family for family in FAMILIES if _count(family)]
    if name == "auto":
        return there[0] if there else "cpu"
    family, _, number = name.partition(":")
    if family == "cpu":
        return "cpu"
    count = _count(family)
    if count > int(number or 0):
        return name
    found = (
        f"there are {count}" if count else f"torch {torch.__version__} finds none on this machine"
    )
    others = ", ".join([*there, "cpu"])
    raise ConfigError(f"--accelerator {name}: {found}; take {others} or auto")


def _count(family: str) -> int:
    module = getattr(torch, family, None)
    if module is None or not module.is_available():
        return 0
    return int(module.device_count())


# --- the crossing ---------------------------------------------------------------------------------


def device_of(module: nn.Module) -> torch.device:
    """Where the module's weights are; the processor for one without any."""
    return next((tensor.device for tensor in chain(module.parameters(), module.buffers())), CPU)


def to_tensor(array: np.ndarray, device: torch.device = CPU) -> Tensor:
    """A tensor of its own memory, there: arrays that came over the wire are read-only."""
    return moved(torch.from_numpy(np.array(array)), device)


def borrowed(array: np.ndarray, device: torch.device = CPU) -> Tensor:
    """A tensor that on the processor has the array's own memory; for what nobody else changes."""
    return moved(torch.from_numpy(array), device)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor there; itself if it is there already."""
    return tensor if tensor.device == device else tensor.to(device)


def to_array(tensor: Tensor) -> np.ndarray:
    """A copy of its own memory; bfloat16 becomes float32."""
    return np.array(as_array(tensor))


def as_array(tensor: Tensor) -> np.ndarray:
    """The tensor's own memory where it can be.

    What is bfloat16, which arrays do not have, becomes float32, exactly.
    """
    plain = tensor.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def tensors(arrays: Arrays, device: torch.device = CPU) -> dict[str, Tensor]:
    """Tensors of their own memory, by the same names."""
    return {name: to_tensor(array, device) for name, array in arrays.items()}
