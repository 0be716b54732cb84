"""Whether devices of a model may be trained side by side: what trains together must be what trains alone.

A batched computation knows a net's weights and operations, not what its own Python decides: hooks, attributes, branches
on data, weights that it freezes as it goes. So a user's net is tried both ways, once, and where the two differ its
devices are trained one after the other. Nets of the zoo are known; tests compare them.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from torch import nn

from ..core.chance import stream
from ..core.types import Arrays, Dataset
from .forward import words
from .train import LocalTraining, Task, can_cohort, tasks, train, train_cohort
from .weights import put, to_arrays
from .zoo import Model

CLOSE = 1e-5
"""Most that a weight may differ by, absolutely or relative to its size."""
SAMPLES, BATCH = (24, 12), 8
"""Of two devices: three steps and two, so that one leaves the cohort first."""


@lru_cache(maxsize=64)
def why_apart(model: Model, local: LocalTraining) -> str | None:
    """None, or the reason why this model's devices are trained one after the other."""
    known = can_cohort(model.build(seed=0))
    if known is not None or not model.is_own:
        return known
    tried = _trial(model, replace(local, passes=1, batch=BATCH))
    alone, again = [], []
    for one in tried:
        net = model.build(seed=0)
        before = _own_state(net)
        alone.append(train(net, one, replace(local, passes=1, batch=BATCH)))
        changed = next((name for name, said in _own_state(net).items() if before.get(name) != said), None)
        if changed is not None:
            return f"it changes its own {changed} as it runs, which side by side would be changed for all at once"
        again.append(train(model.build(seed=0), one, replace(local, passes=1, batch=BATCH)))
    endless = next((name for one in alone for name, array in one.items() if not np.isfinite(array).all()), None)
    if endless is not None:
        return f"its {endless} becomes NaN or infinity on ordinary samples, where nothing can be compared"
    if _difference(alone, again) is not None:
        return "it remembers something outside of itself, so that no run of it can be repeated"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="There is a performance drop")
            together = _side_by_side(model, tried, local)
    except Exception as fault:  # whatever torch cannot batch, and whatever a user's net makes of being batched
        return f"torch cannot batch it over models ({words(fault)})"
    return _difference(alone, together)


def _trial(model: Model, local: LocalTraining) -> list[Task]:
    """Two small devices with different weights and different data of the model's own shapes."""
    rng, net = stream(0, "cohorts"), model.build(seed=0)
    names, start = {name for name, _ in net.named_parameters()}, to_arrays(net)
    weights = [
        to_arrays(put(net, {name: _moved(a, rng) if name in names else a for name, a in start.items()}))
        for _ in SAMPLES
    ]
    data = [
        Dataset(rng.normal(size=(n, *model.shape)).astype(np.float32), rng.integers(0, model.classes, n))
        for n in SAMPLES
    ]
    return tasks(weights, data, model.classes, local, [(0, "cohorts", d) for d in range(len(SAMPLES))])


def _moved(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    noise = rng.normal(size=array.shape) * (0.1 * np.abs(array) + 0.01)
    return np.asarray(array + noise, array.dtype)


def _side_by_side(model: Model, tried: Sequence[Task], local: LocalTraining) -> list[Arrays]:
    came: dict[int, Arrays] = {}
    for chunk, table in train_cohort(model.build(seed=0), tried, replace(local, passes=1, batch=BATCH)):
        came.update((d, {name: array[at] for name, array in table.items()}) for at, d in enumerate(chunk))
    return [came[d] for d in range(len(tried))]


def _difference(alone: Sequence[Arrays], together: Sequence[Arrays]) -> str | None:
    for one, other in zip(alone, together, strict=True):
        for name, array in one.items():
            far = np.abs(np.asarray(other[name], np.float64) - array) / np.maximum(1.0, np.abs(array, dtype=np.float64))
            if far.size and not far.max() <= CLOSE:
                return f"its {name} would end {far.max():.2g} away from where it ends alone"
    return None


def _own_state(net: nn.Module) -> dict[str, str]:
    """What a net's modules remember outside of its weights, by name, as it is printed."""
    said: dict[str, str] = {}
    for at, part in net.named_modules():
        left_out = {"_parameters", "_buffers", "_modules"}
        kept = {name: value for name, value in vars(part).items() if name not in left_out}
        kept |= {name: part._buffers[name] for name in part._non_persistent_buffers_set}
        said |= {f"{at}.{name}".lstrip("."): repr(value) for name, value in kept.items()}
    return said
