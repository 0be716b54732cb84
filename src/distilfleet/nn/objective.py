"""A method's own local objective: what it adds to the loss of a device's data, said once, as a
gradient.

Training asks for it in every step and adds it to the gradient of the cross-entropy, of one device
(`nn/train.py`: `train`), of a cohort under `vmap`, and of perceptrons with their own backward pass
(`train_cohort`) alike. FedProx is `mu * (weight - received)`, the gradient of a proximal term;
SCAFFOLD adds the difference of two control variates.

An objective sees weights and a device's own arrays. A term that depends on a model's outputs does
not fit in here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..core.table import column
from ..core.types import Arrays
from .place import tensors, to_tensor

Extra = Mapping[str, Arrays]
"""What a device brings along for its objective: by a name of the objective's choice, an array for
each parameter."""
Tensors = Mapping[str, Tensor]


class Objective(Protocol):
    """What a method adds to the loss of a device's own data.

    Devices whose objectives are equal train side by side, so it is a frozen dataclass of plain
    settings.
    """

    def gradient(self, weight: Tensor, received: Tensor, extra: Tensors) -> Tensor:
        """What is added to the gradient of one parameter, in every step.

        `received` is that parameter as it came from the server, `extra` are the device's own arrays
        of that parameter. All have its shape, in a cohort with a device axis in front: work number
        by number, and change none of them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Added:
    """An objective with all that it is asked with, of one device or of a cohort."""

    objective: Objective
    received: Tensors
    extra: Mapping[str, Tensors]

    @staticmethod
    def alone(objective: Objective, parameters: Tensors, extra: Extra) -> "Added":
        """The objective of one device, whose parameters are still those that it received."""
        received = {name: weight.detach().clone() for name, weight in parameters.items()}
        device = next(iter(received.values())).device
        own = {kind: tensors(arrays, device) for kind, arrays in extra.items()}
        return Added(objective, received, own)

    def first(self, k: int) -> "Added":
        """The objective of the first few devices of a cohort."""
        extra = {kind: _first(tensors, k) for kind, tensors in self.extra.items()}
        return Added(self.objective, _first(self.received, k), extra)

    def gradient(self, name: str, weight: Tensor) -> Tensor:
        """What is added to the gradient of the parameter of this name."""
        own = {kind: tensors[name] for kind, tensors in self.extra.items()}
        return self.objective.gradient(weight, self.received[name], own)

    @torch.no_grad()
    def to_gradients_of(self, parameters: Tensors) -> None:
        """Adds to the gradients that a backward pass has left; a parameter without one stays
        without."""
        for name, weight in parameters.items():
            if weight.grad is not None:
                weight.grad += self.gradient(name, weight)


def side_by_side(extras: Sequence[Extra], device: torch.device) -> dict[str, dict[str, Tensor]]:
    """The arrays of a cohort's devices, [D, ...] each, by the same names."""
    return {
        kind: {
            name: to_tensor(column([extra[kind] for extra in extras], name), device) for name in one
        }
        for kind, one in extras[0].items()
    }


def _first(tensors: Tensors, k: int) -> dict[str, Tensor]:
    return {name: tensor[:k] for name, tensor in tensors.items()}
