"""The layers before the cut, on a device that has torch. Implements `device.Front`."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ...core.prefix import prefixed, under
from ...core.types import Arrays
from ...nn import split
from ...nn.adam import adam_of, moments_of
from ...nn.forward import weight_dtype
from ...nn.place import as_array, device_of, to_array, to_tensor
from ...nn.pretrain import mask_of


class LayeredFront:
    """Layers [0, cut) of a model, trained with Adam if they are the student's.

    The graph of a micro-batch is kept until its gradient comes; after a restore it is made again.
    """

    def __init__(self, module: nn.Module, cut: int, lr: float) -> None:
        self._device = device_of(module)
        self._dtype = weight_dtype(module)
        self._front = split.Front(module, cut)
        named = dict(module.named_parameters())
        self._weights = {
            name: named[name] for name in split.parts(module, trainable=False).front(cut)
        }
        trained = self._trained()
        self._lr = lr
        self._adam = adam_of(trained, lr, {}) if trained else None
        self._began: dict[str, np.ndarray] = {}
        self._graphs: dict[int, tuple[Tensor, Tensor]] = {}

    def begin(self, weights: Arrays) -> None:
        with torch.no_grad():
            for name, array in weights.items():
                self._weights[name].copy_(to_tensor(np.asarray(array, np.float32)))
        self._began = self._now()
        self._graphs = {}
        self._zero()

    def forward(self, slot: int, x_BTD: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        x, out = self._run(x_BTD, lengths_B)
        if self._adam is not None:
            self._graphs[slot] = x, out
        return as_array(out)

    def backward(
        self, slot: int, x_BTD: np.ndarray, lengths_B: np.ndarray, gradient_BTD: np.ndarray
    ) -> np.ndarray:
        x, out = self._graphs.pop(slot) if slot in self._graphs else self._run(x_BTD, lengths_B)
        out.backward(to_tensor(gradient_BTD, out.device))  # type: ignore[no-untyped-call]
        assert x.grad is not None
        return as_array(x.grad)

    def step(self) -> None:
        if self._adam is not None:
            self._adam.step()
            self._zero()

    def learnt(self) -> Arrays:
        return {
            name: np.asarray(array - self._began[name], np.float16)
            for name, array in self._now().items()
        }

    def snapshot(self) -> Arrays:
        trained = self._trained()
        gradients = {
            name: to_array(one.grad) for name, one in trained.items() if one.grad is not None
        }
        kept = (
            prefixed("weight", self._all())
            | prefixed("began", self._began)
            | prefixed("gradient", gradients)
        )
        return kept if self._adam is None else kept | moments_of(trained, self._adam)

    def restore(self, kept: Arrays) -> None:
        with torch.no_grad():
            for name, array in under("weight", kept).items():
                self._weights[name].copy_(to_tensor(array))
        self._began = under("began", kept)
        trained = self._trained()
        if self._adam is not None:
            self._adam = adam_of(trained, self._lr, kept)
        for name, gradient in under("gradient", kept).items():
            trained[name].grad = to_tensor(gradient, trained[name].device)

    def _run(self, x_BTD: np.ndarray, lengths_B: np.ndarray) -> tuple[Tensor, Tensor]:
        x = to_tensor(x_BTD, self._device).requires_grad_(self._adam is not None)
        mask_BT = mask_of(lengths_B, x_BTD.shape[1], self._device)
        with torch.set_grad_enabled(self._adam is not None):
            return x, self._front(x.to(self._dtype), mask_BT, split.positions(mask_BT))

    def _trained(self) -> Mapping[str, nn.Parameter]:
        return {
            name: parameter for name, parameter in self._weights.items() if parameter.requires_grad
        }

    def _all(self) -> dict[str, np.ndarray]:
        return {name: to_array(parameter) for name, parameter in self._weights.items()}

    def _now(self) -> dict[str, np.ndarray]:
        return {name: to_array(parameter) for name, parameter in self._trained().items()}

    def _zero(self) -> None:
        if self._adam is not None:
            self._adam.zero_grad()
