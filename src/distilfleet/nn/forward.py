"""The one door through which a net is asked: measurements in the type of its weights, an answer
that is looked at.

A user's net is any code; what it raises here becomes a fault of that net, not one of ours.
"""

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, Error

MOST_WORDS = 160
"""Letters of an exception that a message shows."""


def logits(module: nn.Module, x_B: Tensor) -> Tensor:
    """What the net says of these samples, [B, C] float32. Raises ConfigError if it fails or says
    something else."""
    try:
        out: object = module(x_B.to(weight_dtype(module)) if x_B.is_floating_point() else x_B)
    except Error:
        raise
    except (Exception, SystemExit) as fault:
        shape = list(x_B.shape[1:])
        raise ConfigError(
            f"the model fails on {len(x_B)} samples of shape {shape}: {words(fault)}"
        ) from fault
    return _checked(out, len(x_B)).float()


def _checked(out: object, samples: int) -> Tensor:
    out = getattr(out, "logits", out)  # as the models of transformers give them
    if not isinstance(out, Tensor):
        raise ConfigError(
            f"the model's output is {type(out).__name__}, not a tensor; let it return the logits "
            "alone"
        )
    if out.dim() != 2 or len(out) != samples:
        raise ConfigError(
            f"the model's output for {samples} samples has shape {list(out.shape)}; expected "
            "[samples, classes]"
        )
    if not out.is_floating_point():
        raise ConfigError(
            f"the model's output is {out.dtype}; expected logits, which are floating-point numbers"
        )
    return out


def weight_dtype(module: nn.Module) -> torch.dtype:
    """The type that the net computes in: that of its first floating-point weight."""
    return next(
        (weight.dtype for weight in module.parameters() if weight.is_floating_point()),
        torch.float32,
    )


def words(fault: BaseException) -> str:
    """An exception in one line."""
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0][:MOST_WORDS]}" if lines else type(fault).__name__
