"""Published image networks, written from their papers: the large and small models of KOALA-style
studies.

Every function takes the shape of one sample and the number of classes. Strides are those of the
papers (224 px), and each net also runs on 32 px. Parameter counts at 1000 classes equal those of
the published weights.

Axes: N samples, C channels, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import nn

RELU = nn.ReLU
VGG19_WIDTHS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions of each block, configuration E of the paper."""
MOBILENET_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, stride of the first block: table 2 of the paper."""
V3Block = tuple[int, int, int, bool, type[nn.Module], int]
MOBILENET_V3_SMALL_BLOCKS: tuple[V3Block, ...] = (
    (3, 16, 16, True, RELU, 2),
    (3, 72, 24, False, RELU, 2),
    (3, 88, 24, False, RELU, 1),
    (5, 96, 40, True, nn.Hardswish, 2),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 120, 48, True, nn.Hardswish, 1),
    (5, 144, 48, True, nn.Hardswish, 1),
    (5, 288, 96, True, nn.Hardswish, 2),
    (5, 576, 96, True, nn.Hardswish, 1),
    (5, 576, 96, True, nn.Hardswish, 1),
)
"""Kernel, expanded channels, channels, squeeze-and-excite, activation, stride: table 2 of the
paper."""
SHUFFLENET_V2_BLOCKS = (4, 8, 4)
SQUEEZENET_FIRES = (((64, 16, 64), (128, 16, 64)), ((128, 32, 128), (256, 32, 128)))
SQUEEZENET_LAST_FIRES = ((256, 48, 192), (384, 48, 192), (384, 64, 256), (512, 64, 256))
"""Channels in, squeezed, and of each of the two expansions; a pool follows every group but the
last."""


class Residual(nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut if shortcut is not None else nn.Identity()

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.body(x_NCHW) + self.shortcut(x_NCHW)
        return total


class SqueezeExcite(nn.Module):
    """Channels scaled by a gate that sees their means (MobileNetV3, section 5.3: hard sigmoid, a
    quarter the width)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _multiple_of_8(channels / 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = x_NCHW * self.gate(x_NCHW)
        return scaled


class Fire(nn.Module):
    """Squeeze by 1x1, then expand by 1x1 and 3x3 side by side (SqueezeNet, section 3.2)."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(inputs, squeezed, 1), nn.ReLU())
        self.narrow = nn.Conv2d(squeezed, expanded, 1)
        self.wide = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        squeezed_NCHW = self.squeeze(x_NCHW)
        return torch.cat([self.narrow(squeezed_NCHW), self.wide(squeezed_NCHW)], dim=1).relu()


class ShuffleUnit(nn.Module):
    """Two branches side by side, channels shuffled after (ShuffleNetV2, figure 3c and d).

    Without a left branch the unit keeps its size: half of the channels pass untouched.
    """

    def __init__(self, left: nn.Module | None, right: nn.Module) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        if self.left is None:
            kept_NCHW, worked_NCHW = x_NCHW.chunk(2, dim=1)
        else:
            kept_NCHW = self.left(x_NCHW)
            worked_NCHW = x_NCHW
        return nn.functional.channel_shuffle(
            torch.cat([kept_NCHW, self.right(worked_NCHW)], dim=1), 2
        )


def vgg19(shape: tuple[int, ...], classes: int) -> nn.Module:
    """VGG19 without batch normalisation (arXiv 1409.1556): features, pool to 7x7, three dense
    layers."""
    layers: list[nn.Module] = []
    channels = shape[0]
    for width, depth in VGG19_WIDTHS:
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        *_dense(512 * 49, 4096),
        *_dense(4096, 4096),
        nn.Linear(4096, classes),
    )
    return _initialised(nn.Sequential(nn.Sequential(*layers), head))


def mobilenet_v2(shape: tuple[int, ...], classes: int) -> nn.Module:
    """MobileNetV2, width 1.0 (arXiv 1801.04381)."""
    layers: list[nn.Module] = [_conv(shape[0], 32, 3, 2, nn.ReLU6)]
    channels = 32
    for expansion, width, depth, stride in MOBILENET_V2_STAGES:
        for block in range(depth):
            layers.append(_inverted(channels, expansion, width, stride if block == 0 else 1))
            channels = width
    layers.append(_conv(channels, 1280, 1, 1, nn.ReLU6))
    head = nn.Sequential(*_pooled(), nn.Dropout(0.2), nn.Linear(1280, classes))
    return _initialised(nn.Sequential(*layers, head))


def mobilenet_v3_small(shape: tuple[int, ...], classes: int) -> nn.Module:
    """MobileNetV3-Small, width 1.0 (arXiv 1905.02244)."""
    layers: list[nn.Module] = [_conv(shape[0], 16, 3, 2, nn.Hardswish)]
    channels = 16
    for block in MOBILENET_V3_SMALL_BLOCKS:
        layers.append(_bottleneck(channels, block))
        channels = block[2]
    layers.append(_conv(channels, 576, 1, 1, nn.Hardswish))
    head = nn.Sequential(
        *_pooled(), nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1024, classes)
    )
    return _initialised(nn.Sequential(*layers, head))


def shufflenet_v2_x0_5(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ShuffleNetV2 x0.5 (arXiv 1807.11164, table 5)."""
    return _shufflenet_v2(shape[0], classes, (48, 96, 192))


def shufflenet_v2_x1_0(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ShuffleNetV2 x1.0 (arXiv 1807.11164, table 5)."""
    return _shufflenet_v2(shape[0], classes, (116, 232, 464))


def shufflenet_v2_x1_5(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ShuffleNetV2 x1.5 (arXiv 1807.11164, table 5)."""
    return _shufflenet_v2(shape[0], classes, (176, 352, 704))


def squeezenet1_1(shape: tuple[int, ...], classes: int) -> nn.Module:
    """SqueezeNet 1.1 (arXiv 1602.07360, and the authors' lighter release 1.1)."""
    layers: list[nn.Module] = [nn.Conv2d(shape[0], 64, 3, stride=2), nn.ReLU(), _ceil_pool()]
    for group in SQUEEZENET_FIRES:
        layers += [*(Fire(*widths) for widths in group), _ceil_pool()]
    layers += [Fire(*widths) for widths in SQUEEZENET_LAST_FIRES]
    head = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(512, classes, 1), nn.ReLU(), *_pooled())
    return _initialised(nn.Sequential(*layers, head))


# --- parts ----------------------------------------------------------------------------------------


def _conv(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    act: type[nn.Module] | None,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, batch normalisation, activation if any."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    acts = [act()] if act is not None else []
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *acts)


def _depthwise(
    channels: int, kernel: int, stride: int, act: type[nn.Module] | None
) -> nn.Sequential:
    return _conv(channels, channels, kernel, stride, act, groups=channels)


def _inverted(inputs: int, expansion: int, outputs: int, stride: int) -> nn.Module:
    """MobileNetV2's inverted residual with a linear bottleneck."""
    wide = inputs * expansion
    widen = [_conv(inputs, wide, 1, 1, nn.ReLU6)] if expansion > 1 else []
    body = nn.Sequential(
        *widen, _depthwise(wide, 3, stride, nn.ReLU6), _conv(wide, outputs, 1, 1, None)
    )
    return Residual(body) if stride == 1 and inputs == outputs else body


def _bottleneck(inputs: int, block: V3Block) -> nn.Module:
    """MobileNetV3's block: an inverted residual with squeeze-and-excite."""
    kernel, wide, outputs, excite, act, stride = block
    widen = [_conv(inputs, wide, 1, 1, act)] if wide != inputs else []
    gates = [SqueezeExcite(wide)] if excite else []
    body = nn.Sequential(
        *widen, _depthwise(wide, kernel, stride, act), *gates, _conv(wide, outputs, 1, 1, None)
    )
    return Residual(body) if stride == 1 and inputs == outputs else body


def _shufflenet_v2(channels: int, classes: int, widths: Sequence[int]) -> nn.Module:
    layers: list[nn.Module] = [_conv(channels, 24, 3, 2, nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    inputs = 24
    for width, depth in zip(widths, SHUFFLENET_V2_BLOCKS, strict=True):
        layers += [_shuffle_down(inputs, width), *(_shuffle_same(width) for _ in range(depth - 1))]
        inputs = width
    head = nn.Sequential(*_pooled(), nn.Linear(1024, classes))
    return _initialised(nn.Sequential(*layers, _conv(inputs, 1024, 1, 1, nn.ReLU), head))


def _shuffle_same(width: int) -> ShuffleUnit:
    return ShuffleUnit(None, _shuffle_branch(width // 2, width // 2, 1))


def _shuffle_down(inputs: int, width: int) -> ShuffleUnit:
    left = nn.Sequential(_depthwise(inputs, 3, 2, None), _conv(inputs, width // 2, 1, 1, nn.ReLU))
    return ShuffleUnit(left, _shuffle_branch(inputs, width // 2, 2))


def _shuffle_branch(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(inputs, outputs, 1, 1, nn.ReLU),
        _depthwise(outputs, 3, stride, None),
        _conv(outputs, outputs, 1, 1, nn.ReLU),
    )


def _dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.5)]


def _pooled() -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def _ceil_pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _multiple_of_8(width: float) -> int:
    """The multiple of 8 nearest to `width`, at least 8 and never more than a tenth below it."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def _initialised(net: nn.Module) -> nn.Module:
    """Weights for training from scratch: He et al. 2015 (fan out) for convolutions, biases zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return net
