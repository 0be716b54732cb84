"""Intermediate layers of any module, found by watching one forward pass, and adapters that make two nets comparable.

A tap is the last output of each spatial size, and the input of the head. No network is rewritten for it: taps are
read by forward hooks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

MOST_TAPS = 3


@dataclass(frozen=True, slots=True)
class Tap:
    """Where to read, and what comes: [channels, *spatial] of one sample."""

    module: str
    shape: tuple[int, ...]


def taps(module: nn.Module, shape: tuple[int, ...]) -> tuple[Tap, ...]:
    """The module's stages from first to last, one per spatial size, at most the deepest few."""
    seen: dict[tuple[int, ...], Tap] = {}
    with torch.no_grad(), watching(module, [name for name, _ in module.named_modules() if name]) as outputs:
        training = module.training
        logits = module.eval()(torch.zeros(2, *shape))
        module.train(training)
    for name, output in outputs.items():
        if output.dim() > 2:
            seen.pop(tuple(output.shape[2:]), None)
            seen[tuple(output.shape[2:])] = Tap(name, tuple(output.shape[1:]))
    flat = [Tap(name, tuple(o.shape[1:])) for name, o in outputs.items() if o.dim() == 2 and o is not logits]
    return (*seen.values(), *flat[-1:])[-MOST_TAPS:]


@contextmanager
def watching(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of the named submodules, in the order in which they came, filled at each forward pass."""
    outputs: dict[str, Tensor] = {}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                outputs.pop(name, None)
                outputs[name] = output

        return module.get_submodule(name).register_forward_hook(keep)

    handles = [watch(name) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


class Adapter(nn.Module):
    """The small net's features in the large net's shape: a 1x1 map of the channels, pooled to its spatial size.

    Lives on the server while it teaches and is thrown away at export.
    """

    def __init__(self, small: Tap, large: Tap) -> None:
        super().__init__()
        self.spatial = large.shape[1:]
        self.map = nn.Linear(small.shape[0], large.shape[0], bias=False)

    def forward(self, features: Tensor) -> Tensor:
        mapped: Tensor = self.map(features.movedim(1, -1)).movedim(-1, 1)
        return resize(mapped, self.spatial)


def resize(features: Tensor, spatial: tuple[int, ...]) -> Tensor:
    """Average pooling to a spatial size, or a vector spread over one; a no-op where it fits already."""
    if tuple(features.shape[2:]) == spatial:
        return features
    if features.dim() == 2:
        return features.reshape(*features.shape, *[1] * len(spatial)).expand(*features.shape, *spatial)
    if not spatial:
        return features.flatten(2).mean(2)
    pool = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d}[len(spatial)]
    return pool(features, spatial)  # type: ignore[arg-type]


def pairs(small: Sequence[Tap], large: Sequence[Tap]) -> tuple[tuple[Tap, Tap], ...]:
    """Stages to compare, deepest with deepest."""
    count = min(len(small), len(large))
    return tuple(zip(small[len(small) - count :], large[len(large) - count :], strict=True))
