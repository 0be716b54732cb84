"""Adam whose moments are named arrays, so that a later round, or a restored run, goes on with them."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ..core.types import Arrays
from .weights import to_tensor

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def adam_of(named: Mapping[str, nn.Parameter], lr: float, moments: Arrays) -> torch.optim.Adam:
    """With the moments of `moments_of`, where there are some of a parameter."""
    adam = torch.optim.Adam(list(named.values()), lr=lr)
    for name, parameter in named.items():
        parameter.grad = None
        if f"step/{name}" in moments:
            adam.state[parameter] = {part: to_tensor(moments[f"{part}/{name}"]) for part in MOMENTS}
    return adam


def moments_of(named: Mapping[str, nn.Parameter], adam: torch.optim.Adam) -> dict[str, np.ndarray]:
    """Copies, by moment and parameter."""
    return {
        f"{part}/{name}": tensor.numpy().copy()
        for name, parameter in named.items()
        for part, tensor in adam.state.get(parameter, {}).items()
    }
