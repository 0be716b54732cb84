"""Normalisations that only scale and shift, folded into the convolution before them: what a board
then runs has none."""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def folded(module: nn.Module) -> nn.Module:
    """The module, in evaluation mode, with each BatchNorm that follows a convolution in an
    `nn.Sequential` folded into it, in place; its answers stay the same up to rounding."""
    for part in list(module.modules()):
        if isinstance(part, nn.Sequential):
            _fold(part)
    return module


def _fold(stages: nn.Sequential) -> None:
    for at in range(len(stages) - 1):
        layer, norm = stages[at], stages[at + 1]
        if (
            isinstance(layer, CONVOLUTIONS)
            and isinstance(norm, BATCH_NORMS)
            and norm.running_var is not None
        ):
            with torch.no_grad():
                stages[at] = fuse_conv_bn_eval(layer, norm)
            stages[at + 1] = nn.Identity()
