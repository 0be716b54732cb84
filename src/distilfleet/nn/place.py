"""Where a model lies and in what it computes; and the one crossing between numpy and there.

Whoever has a module finds its place with `device_of`, and moves what a step needs there with
`to_tensor`. What devices, the wire and the disk see goes through `to_array` or `as_array`. No other
file of the package turns arrays into tensors or back, which a test holds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.types import Arrays

Precision = Literal["float32", "bfloat16"]
CPU = torch.device("cpu")
FAMILIES = ("cuda", "xpu", "mps")
"""Accelerators in the order in which `auto` takes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model lies, in what it computes, and how much of a batch at a time."""

    device: str = "cpu"
    """A device as torch names it, such as cuda:1."""
    precision: Precision = "float32"
    """The type of products, and of frozen weights. Weights that are trained stay float32."""
    micro_batch: int = 0
    """Samples that are in memory at a time in a training step; 0: the whole batch."""
    recompute: bool = False
    """Whether activations are computed again in the backward pass, in place of being kept."""

    def put(self, module: nn.Module) -> nn.Module:
        """The module, moved here; of its weights the frozen ones become of this precision."""
        if self.precision == "bfloat16":
            with torch.no_grad():
                for weight in module.parameters():
                    if weight.is_floating_point() and not weight.requires_grad:
                        weight.data = weight.data.to(torch.bfloat16)
        return module if self.device == "cpu" else module.to(self.device)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Products inside are of this precision; sums, softmax and losses stay float32."""
        if self.precision == "float32":
            yield
            return
        with torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16):
            yield


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


def free_bytes(device: str) -> int | None:
    """Memory of an accelerator that nobody uses yet; None where it cannot be told."""
    if not device.startswith("cuda"):
        return None
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(free)


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
