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

from ..core.types import PADDING
from .forward import logits

MOST_TAPS = 3
MOST_NUMBERS = 1 << 24
"""Weights of the largest adapter."""
CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding)
CHANNELS_FIRST = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.GroupNorm),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d),
    *(
        nn.MaxPool1d,
        nn.MaxPool2d,
        nn.AvgPool1d,
        nn.AvgPool2d,
        nn.AdaptiveAvgPool1d,
        nn.AdaptiveAvgPool2d,
    ),
)
ITSELF = ""
"""Torch's name for a module among its own."""


@dataclass(frozen=True, slots=True)
class Tap:
    """A module whose output is read, and the shape of that for one sample, [channels, *spatial]."""

    module: str
    shape: tuple[int, ...]
    channels_last: bool = False
    """Whether the module gives [*spatial, channels], as transformers give tokens."""

    def features(self, output: Tensor) -> Tensor:
        """The module's output for a batch, [B, channels, *spatial]."""
        return output.movedim(-1, 1) if self.channels_last else output


def taps(module: nn.Module, x_N: Tensor) -> tuple[Tap, ...]:
    """The module's stages from first to last, one per spatial size, at most the deepest few.

    Where an output has its channels is told by the last layer before it of the same shape, else of
    as many axes; without one it is left out.

    Args:
        x_N: some samples.
    """
    outputs = _per_sample(module, x_N)
    last = outputs.pop(ITSELF)
    spatial: dict[tuple[int, ...], Tap] = {}
    flat: list[Tap] = []
    for name, is_last in _axes(module, outputs).items():
        output = outputs[name]
        shape = tuple(output.shape[1:])
        if output.dim() == 2 and output is not last:
            flat.append(Tap(name, shape))
        if output.dim() > 2 and is_last is not None:
            tap = _spatial(name, shape, is_last)
            spatial.pop(tap.shape[1:], None)
            spatial[tap.shape[1:]] = tap
    return (*spatial.values(), *flat[-1:])[-MOST_TAPS:]


def _axes(module: nn.Module, outputs: Mapping[str, Tensor]) -> dict[str, bool | None]:
    """Whether each output has its channels last; None where no layer says so."""
    known: dict[tuple[int, ...] | int, bool] = {}
    axes = {}
    for name, output in outputs.items():
        shape = tuple(output.shape[1:])
        is_last = _has_channels_last(module.get_submodule(name))
        if is_last is not None:
            known |= {shape: is_last, len(shape): is_last}
        axes[name] = known.get(shape, known.get(len(shape)))
    return axes


def _spatial(name: str, shape: tuple[int, ...], channels_last: bool) -> Tap:
    moved = (shape[-1], *shape[:-1]) if channels_last else shape
    return Tap(name, moved, channels_last=channels_last)


def _has_channels_last(part: nn.Module) -> bool | None:
    """Where a layer's output has its channels; None of a layer that does not say."""
    if isinstance(part, CHANNELS_LAST) or type(part).__name__.endswith("RMSNorm"):
        return True
    return False if isinstance(part, CHANNELS_FIRST) else None


def _per_sample(module: nn.Module, x_N: Tensor) -> dict[str, Tensor]:
    """Outputs of two samples, by module: real numbers, a row for each sample, whose size no sample
    changes."""
    training = module.training
    x_3 = x_N[torch.arange(3) % len(x_N)] if x_N.is_floating_point() else _longest(x_N)
    x_2 = x_3[:2] if x_3.is_floating_point() else _shorter(x_3[:2])
    three = _outputs(module.eval(), x_3)
    two = _outputs(module, x_2)
    module.train(training)
    return {
        name: output
        for name, output in two.items()
        if name in three and _is_row_each(output, three[name])
    }


def _longest(ids_NL: Tensor) -> Tensor:
    """The three longest texts, one twice if there are fewer."""
    order = (ids_NL != PADDING).sum(1).argsort(descending=True)
    return ids_NL[order[torch.arange(3, device=order.device) % len(order)]]


def _shorter(ids_NL: Tensor) -> Tensor:
    """The first half of their tokens, padding left aside, for what has a place for each token is as
    long as the longest text of a batch."""
    most = int((ids_NL != PADDING).sum(1).max())
    return ids_NL[:, : max(1, most // 2)]


def _outputs(module: nn.Module, x_N: Tensor) -> dict[str, Tensor]:
    with torch.no_grad(), watching(module, _watchable(module)) as outputs:
        whole = logits(module, x_N)
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
