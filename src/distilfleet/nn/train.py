"""What a device does with its own data: seeded mini-batch training of a small model, alone or side
by side.

`train` runs one device; `train_cohort` runs many of one architecture in one batched computation, to
the same weights within 1e-5. Both take the method's `Objective`, if it has one, and follow the same
schedule of rows. A short last batch is filled from the start of the device's own shuffled order:
batches are always full, so normalisation statistics see only real samples and no mask enters the
loss; devices with less data simply leave the cohort earlier.

Axes: D devices of a cohort, P passes, N samples, S steps, B batch, C classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..core.chance import Key, shuffles, stream
from ..core.types import Arrays, Dataset
from .forward import logits, weight_dtype
from .isolation import seeded
from .losses import prior_shift
from .objective import Added, Extra, Objective, side_by_side
from .perceptrons import Product, gradients, linear_layers
from .place import as_array, borrowed, device_of, to_tensor
from .trainable import train_mode
from .weights import put, to_arrays

Batch = tuple[Tensor, Tensor, Tensor]
"""Inputs, labels, and what is added to logits, each with a leading device axis."""
Gradients = Iterable[tuple[str, Product | Tensor]]
COHORT_STEP_FLOPS = 50e6
"""Work per step and device above which a cohort is slower than one device after the other: measured
on two CPU cores, 4.3x faster at 11 MFLOP, 2.3x at 44, 0.6x at 76 (grouped convolutions). See
docs/design/0004-cohorts.md."""
COHORT_BYTES = 256e6
"""Weights, gradients and momentum of devices that are trained at once, and what their objective
reads and adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTraining:
    """How a device trains: stochastic gradient descent with momentum."""

    passes: int = 2
    """Passes over the device's data per round."""
    batch: int = 32
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    calibrate: bool = False
    """Logit calibration for classes that the device lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One device's training: where it starts, on what, in which order."""

    weights: Arrays
    data: Dataset
    rows_SB: np.ndarray
    shift_C: np.ndarray
    key: Key
    """The key of what the net itself draws at random (dropout)."""
    extra: Extra = field(default_factory=dict)
    """Arrays of this device that the method's objective asks for."""


def task(weights: Arrays, data: Dataset, classes: int, local: LocalTraining, key: Key) -> Task:
    """One device's training under these settings; all chance is drawn here, from the key."""
    return tasks([weights], [data], classes, local, [key])[0]


def tasks(
    weights: Sequence[Arrays],
    data: Sequence[Dataset],
    classes: int,
    local: LocalTraining,
    keys: Sequence[Key],
    extras: Sequence[Extra] = (),
) -> list[Task]:
    """The task of each device, with the arrays that its objective asks for, if any."""
    extras = extras or [{}] * len(data)
    rows = _rows_of_each([len(own) for own in data], local, keys)
    return [
        Task(
            weights=start,
            data=own,
            rows_SB=rows_SB,
            shift_C=_shift(own, classes, local),
            key=key,
            extra=extra,
        )
        for start, own, rows_SB, key, extra in zip(weights, data, rows, keys, extras, strict=True)
    ]


def _rows_of_each(
    samples: Sequence[int], local: LocalTraining, keys: Sequence[Key]
) -> list[np.ndarray]:
    """The rows of every step, [S, B], of each device; devices with equally many samples are
    shuffled in one call."""
    devices_of_size: dict[int, list[int]] = {}
    for d, count in enumerate(samples):
        devices_of_size.setdefault(count, []).append(d)
    rows: dict[int, np.ndarray] = {}
    for count, devices in devices_of_size.items():
        orders_KPN = shuffles([keys[d] for d in devices], count, local.passes)
        rows_KSB = schedule(orders_KPN, batch_size(count, local))
        rows.update(zip(devices, rows_KSB, strict=True))
    return [rows[d] for d in range(len(samples))]


def batch_size(samples: int, local: LocalTraining) -> int:
    """The device's own: with little data the largest power of two not above it, so that a fleet has
    few batch sizes.

    At least two, the same sample twice if need be: batch normalisation cannot take one.
    """
    return min(local.batch, 1 << (max(2, samples).bit_length() - 1))


def steps(samples: int, local: LocalTraining) -> int:
    """How many the device makes in a round."""
    return -(-samples // batch_size(samples, local)) * local.passes


def schedule(orders_KPN: np.ndarray, batch: int) -> np.ndarray:
    """Rows of every step, [K, S, B], from [K, P, N]; one pass per order, whose last batch is filled
    from its start."""
    return orders_KPN.take(_filled(orders_KPN.shape[2], batch), axis=2).reshape(
        len(orders_KPN), -1, batch
    )


@lru_cache(maxsize=1024)
def _filled(samples: int, batch: int) -> np.ndarray:
    """0 to samples - 1, then from 0 again until the last batch is full, [S, B]."""
    filled_SB = np.arange(-(-samples // batch) * batch).reshape(-1, batch) % samples
    filled_SB.flags.writeable = False
    return filled_SB


def train(
    module: nn.Module, task: Task, local: LocalTraining, objective: Objective | None = None
) -> dict[str, np.ndarray]:
    """New weights of one device; `module` is scratch space of the right architecture."""
    train_mode(put(module, task.weights))
    parameters = dict(module.named_parameters())
    added = None if objective is None else Added.alone(objective, parameters, task.extra)
    device = device_of(module)
    inputs = to_tensor(task.data.inputs, device)
    labels = to_tensor(_labels(task.data), device)
    shift_C = to_tensor(task.shift_C, device)
    descent = _sgd(module, local)
    seed, *words = task.key
    with drawing(stream(int(seed), *words, "net")):
        for rows_B in borrowed(task.rows_SB, device):
            descent.zero_grad()
            logits_BC = logits(module, inputs[rows_B]) + shift_C
            loss: Tensor = F.cross_entropy(logits_BC, labels[rows_B])
            loss.backward()  # type: ignore[no-untyped-call]
            if added is not None:
                added.to_gradients_of(parameters)
            descent.step()
    return to_arrays(module)


def _sgd(module: nn.Module, local: LocalTraining) -> torch.optim.SGD:
    return torch.optim.SGD(
        module.parameters(),
        lr=local.lr,
        momentum=local.momentum,
        weight_decay=local.weight_decay,
    )


@contextmanager
def drawing(rng: np.random.Generator) -> Iterator[None]:
    """What a net draws at random inside depends on `rng`, which stays as it was; everybody's own
    seeds do, too."""
    with seeded(int(deepcopy(rng).integers(1 << 62))):
        yield


def train_cohort(
    module: nn.Module,
    tasks: Sequence[Task],
    local: LocalTraining,
    objective: Objective | None = None,
) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
    """New weights of some devices after the other: which they are, and [D, ...] of each array.

    All tasks have the same batch size and the same architecture.
    """
    order = sorted(range(len(tasks)), key=lambda d: -len(tasks[d].rows_SB))
    copies = 3 if objective is None else 4 + len(tasks[0].extra)
    size_bytes = copies * sum(tensor.nbytes for tensor in module.state_dict().values())
    most = max(1, int(COHORT_BYTES / size_bytes))
    for start in range(0, len(order), most):
        chunk = order[start : start + most]
        yield chunk, _train_chunk(train_mode(module), [tasks[d] for d in chunk], local, objective)


def can_cohort(module: nn.Module) -> str | None:
    """None, or the reason why this model's devices are trained one after the other."""
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
            return f"{name} draws at random (dropout), which side by side would be other draws"
        if isinstance(part, nn.RNNBase):
            return f"{name} is recurrent, which torch cannot batch over models"
    return None


def _train_chunk(
    module: nn.Module, tasks: Sequence[Task], local: LocalTraining, objective: Objective | None
) -> dict[str, np.ndarray]:
    """Tasks in order of falling length: at each step the ones still at work are the first few."""
    received = _stack(module, [task.weights for task in tasks])
    weights = {name: tensor.clone() for name, tensor in received.items()}
    added = None
    if objective is not None:
        added = Added(
            objective, received, side_by_side([task.extra for task in tasks], device_of(module))
        )
    own_name = _own_names(module)
    parameters = {
        name: weights[name] for name, weight in module.named_parameters() if weight.requires_grad
    }
    moments = {
        name: torch.zeros_like(tensor) for name, tensor in parameters.items() if local.momentum
    }
    buffers = {
        name: weights[name] for name in dict.fromkeys(own_name.values()) if name not in parameters
    }
    gradients_of = _differentiated(module)
    samples = _together(tasks, device_of(module))
    lengths = np.array([len(task.rows_SB) for task in tasks])
    for s in range(lengths.max()):
        k = int((lengths > s).sum())
        working = _first(parameters, k)
        found = gradients_of(working, _first(buffers, k), samples.batch(s, k))
        _descend(
            working, _first(moments, k), found, local, None if added is None else added.first(k)
        )
    return {name: as_array(weights[own]) for name, own in own_name.items()}


def _differentiated(
    module: nn.Module,
) -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Batch], Gradients]:
    """What gives the gradients for weights, buffers and a batch of each device; a perceptron's are
    written out."""
    layers = linear_layers(module)
    if layers:
        return lambda weights, _buffers, batch: gradients(layers, weights, *batch)
    loss = _loss(module)
    return lambda weights, buffers, batch: _by_autograd(loss, weights, buffers, batch)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Samples:
    """The samples of all devices of a cohort in one tensor, and which of them each step takes."""

    inputs: Tensor
    labels: Tensor
    rows_SDB: Tensor
    shift_DC: Tensor

    def batch(self, step: int, k: int) -> Batch:
        """The samples that the first few devices take in this step."""
        rows_DB = self.rows_SDB[step, :k]
        return _rows(self.inputs, rows_DB), _rows(self.labels, rows_DB), self.shift_DC[:k]


def _own_names(module: nn.Module) -> dict[str, str]:
    """Each name in the state, and the one that torch goes by: weights that are used twice have
    two."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(tensor), name)
        for name, tensor in module.state_dict(keep_vars=True).items()
    }


def _by_autograd(
    loss: Callable[..., Tensor],
    weights: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    batch: Batch,
) -> Gradients:
    """Gradients of every device's loss for the weights that it depends on; buffers are updated in
    place."""
    tracked = {name: tensor.requires_grad_() for name, tensor in weights.items()}
    loss_D = loss(tracked, buffers, *batch)
    found = torch.autograd.grad(loss_D.sum(), list(tracked.values()), allow_unused=True)
    return [
        (name, gradient)
        for name, gradient in zip(tracked, found, strict=True)
        if gradient is not None
    ]


def _loss(module: nn.Module) -> Callable[..., Tensor]:
    """(weights, buffers, x, y, shift), each with a leading device axis -> losses [D]; buffers are
    updated in place.

    Frozen weights go with the buffers. The sum is then differentiated in the ordinary way, a fifth
    to a quarter faster than `vmap(grad(...))`.
    """

    def loss(
        weights: dict[str, Tensor],
        buffers: dict[str, Tensor],
        x_B: Tensor,
        y_B: Tensor,
        shift_C: Tensor,
    ) -> Tensor:
        measured_B = x_B.to(dtype) if x_B.is_floating_point() else x_B
        logits_BC = functional_call(module, {**weights, **buffers}, (measured_B,)).float()
        return _cross_entropy(logits_BC + shift_C, y_B)

    dtype = weight_dtype(module)
    return vmap(loss)


def _cross_entropy(logits_BC: Tensor, y_B: Tensor) -> Tensor:
    """Torch's own, to the bit, of operations that vmap batches in one call each: a sixth less per
    small step."""
    return -F.log_softmax(logits_BC, dim=-1).gather(1, y_B[:, None]).mean()


@torch.no_grad()
def _descend(
    w: Mapping[str, Tensor],
    m: Mapping[str, Tensor],
    gradients: Gradients,
    local: LocalTraining,
    added: Added | None,
) -> None:
    """One step of torch.optim.SGD, for all devices at once, in place: weights, moments, gradients.

    The moments start at zero, as there.
    """
    for name, gradient in gradients:
        more = None if added is None else added.gradient(name, w[name])
        if name not in m:
            _add(w[name], gradient, beta=1 - local.lr * local.weight_decay, alpha=-local.lr)
            if more is not None:
                w[name].add_(more, alpha=-local.lr)
            continue
        moment = _add(m[name], gradient, beta=local.momentum, alpha=1)
        if more is not None:
            moment.add_(more)
        if local.weight_decay:
            moment.add_(w[name], alpha=local.weight_decay)
        w[name].add_(moment, alpha=-local.lr)


def _add(tensor: Tensor, gradient: Product | Tensor, *, beta: float, alpha: float) -> Tensor:
    """Beta times the tensor and alpha times the gradient, in place."""
    if isinstance(gradient, Tensor):
        return tensor.mul_(beta).add_(gradient, alpha=alpha)
    return tensor.baddbmm_(*gradient, beta=beta, alpha=alpha)


def _stack(module: nn.Module, weights: Sequence[Arrays]) -> dict[str, Tensor]:
    """[D, ...] of each array, in the module's types; one array for all where they start from the
    very same ones."""
    first = weights[0]
    devices = len(weights)
    shared = all(one is first for one in weights)
    stacked: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        if shared:
            one_device = to_tensor(first[name], tensor.device).to(tensor.dtype)
            stacked[name] = one_device.expand(devices, *tensor.shape)
        else:
            array_D = np.stack([one[name] for one in weights])
            stacked[name] = borrowed(array_D, tensor.device).to(tensor.dtype)
    return stacked


def _together(tasks: Sequence[Task], place: torch.device) -> _Samples:
    lengths = np.array([len(task.rows_SB) for task in tasks])
    samples = np.array([len(task.data) for task in tasks])
    device = np.repeat(np.arange(len(tasks)), lengths)
    first_step = np.cumsum(lengths) - lengths
    step = np.arange(len(device)) - first_step[device]
    batch = tasks[0].rows_SB.shape[1]
    rows_SDB = np.zeros((lengths.max(), len(tasks), batch), np.int64)
    rows_SDB[step, device] = np.concatenate([task.rows_SB for task in tasks])
    first_sample = np.cumsum(samples) - samples
    rows_SDB += first_sample[:, None]
    return _Samples(
        inputs=borrowed(np.concatenate([task.data.inputs for task in tasks]), place),
        labels=borrowed(np.concatenate([_labels(task.data) for task in tasks]), place),
        rows_SDB=borrowed(rows_SDB, place),
        shift_DC=borrowed(np.stack([task.shift_C for task in tasks]), place),
    )


def _rows(tensor: Tensor, rows_DB: Tensor) -> Tensor:
    """`tensor[rows_DB]`, five times faster."""
    return tensor.index_select(0, rows_DB.flatten()).view(*rows_DB.shape, *tensor.shape[1:])


def _first(tensors: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
    return {name: tensor[:k] for name, tensor in tensors.items()}


def _shift(data: Dataset, classes: int, local: LocalTraining) -> np.ndarray:
    if not local.calibrate:
        return np.zeros(classes, np.float32)
    counts_C = np.bincount(_labels(data), minlength=classes).astype(np.float32)
    return as_array(prior_shift(borrowed(counts_C)))


def _labels(data: Dataset) -> np.ndarray:
    assert data.labels is not None, "a device trains on labelled data"
    return data.labels
