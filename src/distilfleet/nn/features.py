"""Intermediate layers of any module, found by watching one forward pass, and adapters that make two
nets comparable.

A tap is the last output of each spatial size, and the input of the head. No network is rewritten
for it: taps are read by forward hooks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .forward import logits
from .place import device_of

MOST_TAPS = 3
MOST_NUMBERS = 1 << 24
"""Weights of the largest adapter."""
ITSELF = ""
"""Torch's name for a module among its own."""


@dataclass(frozen=True, slots=True)
class Tap:
    """A module whose output is read, and the shape of that for one sample, [channels, *spatial]."""

    module: str
    shape: tuple[int, ...]


def taps(module: nn.Module, shape: tuple[int, ...]) -> tuple[Tap, ...]:
    """The module's stages from first to last, one per spatial size, at most the deepest few."""
    outputs = _per_sample(module, shape)
    last = outputs.pop(ITSELF)
    spatial: dict[tuple[int, ...], Tap] = {}
    flat: list[Tap] = []
    for name, output in outputs.items():
        tap = Tap(name, tuple(output.shape[1:]))
        if output.dim() > 2:
            spatial.pop(tap.shape[1:], None)
            spatial[tap.shape[1:]] = tap
        elif output is not last:
            flat.append(tap)
    return (*spatial.values(), *flat[-1:])[-MOST_TAPS:]


def _per_sample(module: nn.Module, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Outputs of two samples, by module: real numbers, a row for each sample, whose size no sample
    changes."""
    training = module.training
    three = _outputs(module.eval(), 3, shape)
    two = _outputs(module, 2, shape)
    module.train(training)
    return {
        name: output
        for name, output in two.items()
        if name in three and _is_row_each(output, three[name])
    }


def _outputs(module: nn.Module, samples: int, shape: tuple[int, ...]) -> dict[str, Tensor]:
    with torch.no_grad(), watching(module, _watchable(module)) as outputs:
        whole = logits(module, torch.zeros(samples, *shape, device=device_of(module)))
        outputs.setdefault(ITSELF, whole)
    return outputs


def _is_row_each(of_two: Tensor, of_three: Tensor) -> bool:
    is_real = of_two.is_floating_point() and not of_two.is_inference()
    has_rows = of_two.dim() > 1 and len(of_two) == 2
    return is_real and has_rows and of_three.shape == (3, *of_two.shape[1:])


def _watchable(module: nn.Module) -> list[str]:
    """Names of submodules that take hooks; compiled ones (TorchScript) take none."""
    return [
        name
        for name, part in module.named_modules()
        if not isinstance(part, torch.jit.ScriptModule)
    ]


def of_all(outputs: Mapping[str, Tensor], samples: int) -> dict[str, Tensor]:
    """The outputs that have a row for each sample: an expert that saw some of them says nothing of
    the rest."""
    return {name: output for name, output in outputs.items() if len(output) == samples}


@contextmanager
def watching(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of the named submodules, in the order in which they came, filled at each forward
    pass."""
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
    """The small net's features in the large net's shape: a 1x1 map of the channels, pooled to its
    spatial size.

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
    """Average pooling to a spatial size, or a vector spread over one; a no-op where it fits
    already.

    Sizes of unlike many axes are pooled as one row of positions.
    """
    if tuple(features.shape[2:]) == spatial:
        return features
    samples, channels = features.shape[:2]
    if features.dim() == 2:
        points = features.reshape(samples, channels, *[1] * len(spatial))
        return points.expand(samples, channels, *spatial)
    if not spatial:
        return features.flatten(2).mean(2)
    if features.dim() == 4 and len(spatial) == 2:
        return F.adaptive_avg_pool2d(features, spatial)
    pooled = F.adaptive_avg_pool1d(features.flatten(2), prod(spatial))
    return pooled.reshape(samples, channels, *spatial)


def pairs(small: Sequence[Tap], large: Sequence[Tap]) -> tuple[tuple[Tap, Tap], ...]:
    """Stages to compare, deepest with deepest, without those so wide that an adapter would be
    larger than most nets."""
    count = min(len(small), len(large))
    deepest = zip(small[len(small) - count :], large[len(large) - count :], strict=True)
    return tuple((own, its) for own, its in deepest if own.shape[0] * its.shape[0] <= MOST_NUMBERS)
