"""The device half of methods in which weights travel: train the model that comes with the job and
send it back."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from torch import nn

from ..core import wire
from ..core.chance import Key
from ..core.table import DeviceRow, column
from ..core.types import (
    Arrays,
    ArraySpec,
    Dataset,
    Device,
    DeviceId,
    Expected,
    Job,
    Load,
    Reply,
    TrainedModel,
)
from .cohorts import why_apart
from .distil import accuracy, predict
from .loads import training_load
from .objective import Extra, Objective
from .profile import profile
from .train import (
    COHORT_STEP_FLOPS,
    LocalTraining,
    Task,
    batch_size,
    task,
    tasks,
    train,
    train_cohort,
)
from .weights import put, to_arrays
from .zoo import Model

SAMPLES = "samples"
LABELS = "labels"
NORM_SLACK = 10.0
"""A reply's norm may be this many times the norm of what was sent, plus its root-mean-square size;
more is refused."""


def scratch(model: Model) -> nn.Module:
    """A module to put weights into. Of the zoo there is one per model, which whoever takes it
    overwrites; a user's own may remember more than its weights, so that every taker has it as it
    was built."""
    return model.build(seed=0) if model.is_own else _reused(model)


@lru_cache(maxsize=32)
def _reused(model: Model) -> nn.Module:
    return model.build(seed=0)


@lru_cache(maxsize=32)
def layout(model: Model) -> Mapping[str, ArraySpec]:
    """Names, types and shapes of the model's weights, and that no variance is below nothing."""
    specs = wire.specs(to_arrays(scratch(model)))
    variances = {
        name: replace(spec, least=0.0)
        for name, spec in specs.items()
        if name.endswith("running_var")
    }
    return {**specs, **variances}


def trained_reply(model: Model, sent_norm: float, classes: int | None) -> Expected:
    """What a worker answers: new weights and how many samples they come from, per class if
    `classes` is given."""
    count = {SAMPLES: ArraySpec("<i8", ())} if classes is None else {LABELS: label_spec(classes)}
    root_size = float(np.sqrt(profile(model).parameters))
    most_norm = NORM_SLACK * (sent_norm + root_size)
    return Expected(arrays={**layout(model), **count}, most_norm=most_norm)


def sizes(replies: Sequence[Reply]) -> list[float]:
    """Sample counts that the devices report, each capped at ten times the median: a lie cannot buy
    the average."""
    arrays = [reply.arrays for reply in replies]
    counts = (
        column(arrays, SAMPLES) if SAMPLES in arrays[0] else [one[LABELS].sum() for one in arrays]
    )
    counts_D = np.asarray(counts, np.float64)
    most = 10 * np.median(counts_D)
    return [float(count) for count in np.clip(counts_D, 1.0, most)]


def by_model(replies: Iterable[Reply], model_of: Mapping[DeviceId, str]) -> dict[str, list[Reply]]:
    """Replies by the name of the model that their device trains, in order."""
    groups: dict[str, list[Reply]] = {}
    for reply in replies:
        groups.setdefault(model_of[reply.device], []).append(reply)
    return groups


def held_out_accuracy(model: Model, weights: Arrays, test: Dataset) -> float:
    """Accuracy of these weights on held-out data."""
    assert test.labels is not None, "a test part has labels"
    return accuracy(predict(put(scratch(model), weights), test.inputs), test.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightWorker:
    """Trains the model that comes with the job and sends it back, with the number of samples. Keeps
    nothing."""

    device: Device
    data: Dataset
    model: Model
    local: LocalTraining
    seed: int
    objective: Objective | None = None
    """What the method adds to the loss of the device's own data."""

    def load(self, job: Job) -> Load:
        return self.load_with(job, 0)

    def load_with(self, job: Job, extra_bytes: int) -> Load:
        """What `load` gives, with so many bytes of arrays that the objective asks for."""
        received_bytes = 0 if self.objective is None else profile(self.model).weight_bytes
        down_bytes, up_bytes = wire.frame_bytes(as_answered(job, self.device))
        return training_load(
            self.model,
            len(self.data),
            self.local,
            down_bytes=down_bytes,
            up_bytes=up_bytes,
            extra_bytes=received_bytes + extra_bytes,
        )

    def handle(self, job: Job) -> Arrays:
        return self.learn(job, {})

    def learn(self, job: Job, extra: Extra) -> Arrays:
        """What `handle` gives, with the arrays that the objective asks for."""
        task = replace(self.task(job), extra=extra)
        return {**train(scratch(self.model), task, self.local, self.objective), **self.count(job)}

    def task(self, job: Job) -> Task:
        """The training that a job asks for, with all its chance drawn from the job's key."""
        return task(job.arrays, self.data, self.model.classes, self.local, self.key(job))

    def key(self, job: Job) -> Key:
        """The key of all chance in a job."""
        return self.seed, "train", job.id

    def count(self, job: Job) -> dict[str, np.ndarray]:
        """What goes with the weights."""
        if LABELS in job.expected.arrays:
            return {LABELS: label_counts(self.device, self.data, self.model.classes)}
        return {SAMPLES: np.array(len(self.data))}

    def own_model(self, received: Arrays) -> TrainedModel:
        """The model that the device has at the end of a run, which the server sends."""
        return TrainedModel(model=self.model, weights=received, size="small")

    def snapshot(self) -> Arrays:
        return {}

    def restore(self, kept: Arrays) -> None:
        pass


def train_together(
    workers: Sequence[WeightWorker], jobs: Sequence[Job], extras: Sequence[Extra] | None = None
) -> list[Arrays]:
    """Each worker's `learn`, side by side where one architecture, batch size and small steps allow
    it."""
    if extras is None:
        extras = [{}] * len(jobs)
    answers: dict[int, Arrays] = {}
    for alike in _alike(workers):
        group = [workers[i] for i in alike]
        answered = _train_alike(group, [jobs[i] for i in alike], [extras[i] for i in alike])
        answers.update(zip(alike, answered, strict=True))
    return [answers[i] for i in range(len(jobs))]


def _alike(workers: Sequence[WeightWorker]) -> list[list[int]]:
    """Who trains one model with one objective in batches of one size, and counts in one shape."""
    groups: dict[Hashable, list[int]] = {}
    for i, worker in enumerate(workers):
        batch = batch_size(len(worker.data), worker.local)
        kind = (
            worker.model,
            worker.local,
            worker.objective,
            batch,
            worker.device.shares_label_counts,
        )
        groups.setdefault(kind, []).append(i)
    return list(groups.values())


def _train_alike(
    workers: Sequence[WeightWorker], jobs: Sequence[Job], extras: Sequence[Extra]
) -> list[Arrays]:
    if len(jobs) > 1 and _is_faster_together(workers[0]):
        return _train_side_by_side(workers, jobs, extras)
    return [
        worker.learn(job, extra) for worker, job, extra in zip(workers, jobs, extras, strict=True)
    ]


def _is_faster_together(worker: WeightWorker) -> bool:
    step_flops = profile(worker.model).train_flops * batch_size(len(worker.data), worker.local)
    return step_flops < COHORT_STEP_FLOPS and why_apart(worker.model, worker.local) is None


def _train_side_by_side(
    workers: Sequence[WeightWorker], jobs: Sequence[Job], extras: Sequence[Extra]
) -> list[Arrays]:
    first = workers[0]
    cohort = tasks(
        [job.arrays for job in jobs],
        [worker.data for worker in workers],
        first.model.classes,
        first.local,
        [worker.key(job) for worker, job in zip(workers, jobs, strict=True)],
        extras,
    )
    answers: dict[int, Arrays] = {}
    for chunk, weights in train_cohort(scratch(first.model), cohort, first.local, first.objective):
        counts = [workers[d].count(jobs[d]) for d in chunk]
        columns = {name: column(counts, name) for name in counts[0]}
        table = {**weights, **columns}
        answers.update((d, DeviceRow(table, at)) for at, d in enumerate(chunk))
    return [answers[d] for d in range(len(jobs))]


def label_counts(device: Device, data: Dataset, classes: int) -> np.ndarray:
    """Samples per class, [classes] int64; of a device whose owner keeps that, how many there are in
    all, [1]."""
    assert data.labels is not None, "a device trains on labelled data"
    if not device.shares_label_counts:
        return np.array([len(data)])
    return np.bincount(data.labels, minlength=classes).astype(np.int64)


def label_spec(classes: int) -> ArraySpec:
    """The type of an answer with label counts, or without them if the device's owner keeps them."""
    return ArraySpec("<i8", (classes,), at_most=True)


def as_answered(job: Job, device: Device) -> Job:
    """The job with what this device will answer, exactly."""
    if device.shares_label_counts or LABELS not in job.expected.arrays:
        return job
    arrays = {**job.expected.arrays, LABELS: ArraySpec("<i8", (1,))}
    return replace(job, expected=replace(job.expected, arrays=arrays))
