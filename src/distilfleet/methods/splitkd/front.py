"""The layers before the cut, on a device that has torch. Implements `device.Front`."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ...core.types import Arrays
from ...nn import split
from ...nn.pretrain import mask_of
from ...nn.weights import to_tensor


class LayeredFront:
    """Layers [0, cut) of a model, trained with Adam if they are the student's.

    The graph of a micro-batch is kept until its gradient comes; after a restore it is made again.
    """

    def __init__(self, module: nn.Module, cut: int, lr: float) -> None:
        self._front = split.Front(module, cut)
        named = dict(module.named_parameters())
        self._weights = {name: named[name] for name in split.parts(module, trainable=False).front(cut)}
        trained = [parameter for parameter in self._weights.values() if parameter.requires_grad]
        self._adam = torch.optim.Adam(trained, lr=lr) if trained else None
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
        return out.detach().numpy()

    def backward(self, slot: int, x_BTD: np.ndarray, lengths_B: np.ndarray, gradient_BTD: np.ndarray) -> np.ndarray:
        x, out = self._graphs.pop(slot) if slot in self._graphs else self._run(x_BTD, lengths_B)
        out.backward(to_tensor(gradient_BTD))  # type: ignore[no-untyped-call]
        assert x.grad is not None
        return x.grad.numpy()

    def step(self) -> None:
        if self._adam is not None:
            self._adam.step()
            self._zero()

    def learnt(self) -> Arrays:
        return {name: np.asarray(array - self._began[name], np.float16) for name, array in self._now().items()}

    def snapshot(self) -> Arrays:
        kept = {f"weight/{name}": array for name, array in self._all().items()}
        kept |= {f"began/{name}": array for name, array in self._began.items()}
        for name, parameter in self._trained().items():
            if parameter.grad is not None:
                kept[f"gradient/{name}"] = parameter.grad.numpy().copy()
            for part, tensor in self._state(parameter).items():
                kept[f"{part}/{name}"] = tensor.numpy().copy()
        return kept

    def restore(self, kept: Arrays) -> None:
        def part(prefix: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(prefix): a for name, a in kept.items() if name.startswith(prefix)}

        with torch.no_grad():
            for name, array in part("weight/").items():
                self._weights[name].copy_(to_tensor(array))
        self._began = part("began/")
        gradients, steps = part("gradient/"), part("step/")
        for name, parameter in self._trained().items():
            parameter.grad = to_tensor(gradients[name]) if name in gradients else None
            if name in steps and self._adam is not None:
                self._adam.state[parameter] = {
                    moment: to_tensor(kept[f"{moment}/{name}"]) for moment in ("step", "exp_avg", "exp_avg_sq")
                }

    def _run(self, x_BTD: np.ndarray, lengths_B: np.ndarray) -> tuple[Tensor, Tensor]:
        x = to_tensor(x_BTD).requires_grad_(self._adam is not None)
        mask_BT = mask_of(lengths_B, x_BTD.shape[1])
        with torch.set_grad_enabled(self._adam is not None):
            return x, self._front(x, mask_BT, split.positions(mask_BT))

    def _trained(self) -> Mapping[str, nn.Parameter]:
        return {name: parameter for name, parameter in self._weights.items() if parameter.requires_grad}

    def _all(self) -> dict[str, np.ndarray]:
        return {name: parameter.detach().numpy().copy() for name, parameter in self._weights.items()}

    def _now(self) -> dict[str, np.ndarray]:
        return {name: parameter.detach().numpy().copy() for name, parameter in self._trained().items()}

    def _state(self, parameter: nn.Parameter) -> Mapping[str, Tensor]:
        return {} if self._adam is None else self._adam.state.get(parameter, {})

    def _zero(self) -> None:
        if self._adam is not None:
            self._adam.zero_grad()
