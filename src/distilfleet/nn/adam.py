"""Adam whose moments are named arrays, so that a later round, or a restored run, goes on with
them."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..core.types import Arrays
from .place import to_array, to_tensor
from .resident import Resident

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
EPS = 1e-8
EPS_HALF = 1e-4
"""Added to the root of the second moment. Adam's own is nothing in half precision, where small
squares are, too."""


def adam_of(
    named: Mapping[str, nn.Parameter],
    lr: float,
    moments: Arrays,
    rates: Mapping[str, float] | None = None,
) -> torch.optim.Adam:
    """An optimiser with the moments of `moments_of`, where there are some of a parameter.

    Moments that are held are taken over, arrays copied.

    Args:
        rates: step sizes of parameters that have one of their own, by name.
    """
    known = moments.take() if isinstance(moments, Resident) else moments
    alike: dict[tuple[torch.dtype, float], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        rate = (rates or {}).get(name, lr)
        alike.setdefault((parameter.dtype, rate), []).append(parameter)
    groups = [
        {"params": own, "lr": rate, "eps": EPS_HALF if dtype == torch.float16 else EPS}
        for (dtype, rate), own in alike.items()
    ]
    adam = torch.optim.Adam(groups, lr=lr)
    for name, parameter in named.items():
        parameter.grad = None
        if f"step/{name}" in known:
            adam.state[parameter] = {
                part: _moment(known[f"{part}/{name}"], part, parameter) for part in MOMENTS
            }
    return adam


def resident_moments(named: Mapping[str, nn.Parameter], adam: torch.optim.Adam) -> Resident:
    """The moments themselves, by moment and parameter, of an optimiser that makes no more steps.

    Gradients are let go.
    """
    adam.zero_grad()
    return Resident(
        {
            f"{part}/{name}": tensor
            for name, parameter in named.items()
            for part, tensor in adam.state.get(parameter, {}).items()
        }
    )


def moments_of(named: Mapping[str, nn.Parameter], adam: torch.optim.Adam) -> dict[str, np.ndarray]:
    """Copies of the moments, by moment and parameter."""
    return {
        f"{part}/{name}": to_array(tensor)
        for name, parameter in named.items()
        for part, tensor in adam.state.get(parameter, {}).items()
    }


def _moment(moment: np.ndarray | Tensor, part: str, parameter: nn.Parameter) -> Tensor:
    """A moment where its parameter is, and of its type; the count of steps stays float32."""
    tensor = moment if isinstance(moment, Tensor) else to_tensor(moment)
    return tensor if part == "step" else tensor.to(parameter.device, parameter.dtype)
