"""Whether devices of a model may be trained side by side: what trains together must be what trains
alone.

A batched computation knows a net's weights and operations, not what its own Python decides: hooks,
attributes, branches on data, weights that it freezes as it goes. So a user's net is tried both
ways, once, and where the two differ its devices are trained one after the other. Nets of the zoo
are known; tests compare them.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.chance import stream
from ..core.types import PADDING, Arrays, Dataset
from .forward import logits, words
from .place import device_of, to_tensor
from .train import LocalTraining, Task, can_cohort, tasks, train, train_cohort
from .weights import put, to_arrays
from .zoo import FEWEST_IDS, Model

CLOSE = 1e-5
"""Most that a weight may differ by, absolutely or relative to its size."""
SAMPLES = (24, 12)
BATCH = 8
"""Two devices with three steps and two, so that one leaves the cohort first."""
DECOMPOSING = re.compile(r"(?:linalg_)?(?:svd|eigh?|eigvalsh?|eigvals|qr|lstsq|pinv)")
"""Operations of torch."""
TORCHS_OWN = frozenset({"_parameters", "_buffers", "_modules"})
"""Attributes of every module, which hold weights, buffers and parts."""


@lru_cache(maxsize=64)
def why_apart(model: Model, local: LocalTraining) -> str | None:
    """None, or the reason why this model's devices are trained one after the other."""
    known = can_cohort(model.build(seed=0))
    if known is not None or not model.is_own:
        return known
    local = replace(local, passes=1, batch=BATCH)
    trial = _trial(model, local)
    alone = []
    again = []
    for task in trial:
        net = model.build(seed=0)
        before = _own_state(net)
        alone.append(train(net, task, local))
        changed = _changed(before, _own_state(net))
        if changed is not None:
            return (
                f"it changes its own {changed} as it runs, which side by side would be changed for "
                "all at once"
            )
        again.append(train(model.build(seed=0), task, local))
    incomparable = _incomparable(model, trial[0].data, alone)
    if incomparable is not None:
        return incomparable
    if _difference(alone, again) is not None:
        return "it remembers something outside of itself, so that no run of it can be repeated"
    try:
        together = _cohort(model, trial, local)
    except Exception as fault:
        # whatever torch cannot batch, and whatever a user's net makes of being batched
        return f"torch cannot batch it over models ({words(fault)})"
    return _difference(alone, together)


def _incomparable(model: Model, data: Dataset, alone: Sequence[Arrays]) -> str | None:
    """Why weights that were trained alone say nothing of those that are trained side by side."""
    decomposition = _decomposition(model, data)
    if decomposition is not None:
        return (
            f"its {decomposition} carries the rounding of other kernels on to more than the last "
            "digits"
        )
    endless = _endless(alone)
    if endless is not None:
        return (
            f"its {endless} becomes NaN or infinity on ordinary samples, where nothing can be "
            "compared"
        )
    return None


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The names of the operations that run inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, facts: Any = (), rest: Any = None
    ) -> Any:
        self.names.append(operation.overloadpacket.__name__)
        return operation(*facts, **(rest or {}))


def _decomposition(model: Model, data: Dataset) -> str | None:
    """The first decomposition of matrices in the net. Its gradient divides by differences of
    eigenvalues, so that two ways to compute the same part by far more than they round, in some
    rounds and not in others: one try shows nothing.
    """
    net = model.build(seed=0).eval()
    with _Seen() as seen:
        logits(net, to_tensor(data.inputs, device_of(net)))
    return next(
        (name.strip("_") for name in seen.names if DECOMPOSING.fullmatch(name.strip("_"))), None
    )


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> str | None:
    return next((name for name, printed in after.items() if before.get(name) != printed), None)


def _endless(weights: Sequence[Arrays]) -> str | None:
    """The name of the first array that holds NaN or infinity."""
    return next(
        (name for one in weights for name, array in one.items() if not np.isfinite(array).all()),
        None,
    )


def _trial(model: Model, local: LocalTraining) -> list[Task]:
    """Two small devices with different weights and different data of the model's own shapes."""
    rng = stream(0, "cohorts")
    net = model.build(seed=0)
    start = to_arrays(net)
    trained = {name for name, _ in net.named_parameters()}
    weights = []
    for _ in SAMPLES:
        moved = {
            name: _moved(array, rng) if name in trained else array for name, array in start.items()
        }
        weights.append(to_arrays(put(net, moved)))
    data = [_random_data(model, samples, rng) for samples in SAMPLES]
    keys = [(0, "cohorts", d) for d in range(len(SAMPLES))]
    return tasks(weights, data, model.classes, local, keys)


def _random_data(model: Model, samples: int, rng: np.random.Generator) -> Dataset:
    if model.takes_ids:
        inputs = rng.integers(PADDING, FEWEST_IDS, (samples, *model.shape), np.int32)
    else:
        inputs = rng.normal(size=(samples, *model.shape)).astype(np.float32)
    return Dataset(inputs, rng.integers(0, model.classes, samples))


def _cohort(model: Model, trial: Sequence[Task], local: LocalTraining) -> list[Arrays]:
    """New weights of each device, trained side by side. Raises where torch would batch it in name
    only."""
    weights: dict[int, Arrays] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="There is a performance drop")
        for chunk, table in train_cohort(model.build(seed=0), trial, local):
            for at, d in enumerate(chunk):
                weights[d] = {name: array[at] for name, array in table.items()}
    return [weights[d] for d in range(len(trial))]


def _moved(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    noise = rng.normal(size=array.shape) * (0.1 * np.abs(array) + 0.01)
    return np.asarray(array + noise, array.dtype)


def _difference(alone: Sequence[Arrays], together: Sequence[Arrays]) -> str | None:
    for one, other in zip(alone, together, strict=True):
        for name, array in one.items():
            scale = np.maximum(1.0, np.abs(array, dtype=np.float64))
            far = np.abs(np.asarray(other[name], np.float64) - array) / scale
            if far.size and not far.max() <= CLOSE:
                return f"its {name} would end {far.max():.2g} away from where it ends alone"
    return None


def _own_state(net: nn.Module) -> dict[str, str]:
    """What a net's modules remember outside of its weights, by name, as it is printed."""
    printed: dict[str, str] = {}
    for at, part in net.named_modules():
        kept = {name: value for name, value in vars(part).items() if name not in TORCHS_OWN}
        kept |= {name: part._buffers[name] for name in part._non_persistent_buffers_set}
        printed |= {f"{at}.{name}".lstrip("."): repr(value) for name, value in kept.items()}
    return printed
