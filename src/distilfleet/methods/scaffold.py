"""SCAFFOLD: control variates correct the drift of devices whose data differ.

The server keeps a model x and a control variate c, the mean gradient as far as it knows; a device
keeps one of its own, c_i. A device steps with g - c_i + c instead of its gradient g, so that it
moves as the fleet would. Afterwards its c_i becomes c_i - c + a (the paper's option II), where a =
(x - y) / (K lr) is the mean of its K steps, and it answers with its model y and with a, which is c
moved by what its own c_i changed. The server averages both, and moves c towards the latter by the
share of the fleet that took part. All control variates begin at zero; the server's step size is
one.

Two departures, which are none with equal devices and plain descent: averages count devices by their
samples, as those of FedAvg do; and under momentum, which the paper does not have, K is how many
steps of plain descent go as far under a constant gradient, as in Wang et al., "Tackling the
objective inconsistency problem", NeurIPS 2020, https://arxiv.org/abs/2007.07481.

Source: Karimireddy et al., "SCAFFOLD: Stochastic controlled averaging for federated learning", ICML
2020, algorithm 1, https://arxiv.org/abs/1910.06378.

Axes: D devices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from torch import Tensor

from ..core import wire
from ..core.answers import answered, train_jobs
from ..core.prefix import prefixed, under
from ..core.protocols import MethodFacts, Worker
from ..core.table import DeviceRow, column
from ..core.types import (
    Arrays,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Expected,
    Job,
    Load,
    Metrics,
    Plan,
    Round,
    TrainedModel,
)
from ..nn.merge import combine
from ..nn.objective import Tensors
from ..nn.profile import profile
from ..nn.train import LocalTraining, steps
from ..nn.weight_worker import WeightWorker, held_out_accuracy, sizes, train_together, trained_reply
from ..nn.weights import norm, to_arrays
from ..nn.zoo import Model, model
from ..trust.choices import Rule

CONTROL = "control"
"""Before a parameter's name: its control variate, in jobs and answers."""
DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Controlled:
    """Steps corrected by c - c_i."""

    def gradient(self, weight: Tensor, received: Tensor, extra: Tensors) -> Tensor:
        return extra[DRIFT]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    round: int
    weights: Arrays
    control: Arrays
    """The server's control variate, by parameter."""


@dataclass(slots=True, kw_only=True)
class Controller:
    """The device half: a learner, and the control variate that it keeps between rounds."""

    learner: WeightWorker
    control: Arrays = field(default_factory=dict)
    """The device's own, by parameter; empty before the first round, which is zero."""

    def load(self, job: Job) -> Load:
        control_bytes = 4 * profile(self.learner.model).parameters
        # the server's, its own, and their difference
        return self.learner.load_with(job, 3 * control_bytes)

    def handle(self, job: Job) -> Arrays:
        return control_together([self], [job])[0]

    def own_model(self, received: Arrays) -> TrainedModel:
        """The model that the device has at the end of a run."""
        return self.learner.own_model(received)

    def snapshot(self) -> Arrays:
        return self.control

    def restore(self, kept: Arrays) -> None:
        self.control = dict(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """See the module docstring."""

    model: Model
    local: LocalTraining = field(default_factory=lambda: LocalTraining(momentum=0.0))
    aggregate: Rule = "mean"

    @property
    def facts(self) -> MethodFacts:
        return MethodFacts(
            title="SCAFFOLD",
            story=(
                "In each round $devices trained the same small model on private data, each step "
                "corrected by the difference between the fleet’s mean gradient and the device’s "
                "own, as far as both were known (control variates), and sent weights and control "
                "variate to the server.",
                "The server averaged both, in proportion to each device’s samples, and returned "
                "the averages.",
            ),
            discloses="weights and control variates",
            disclosure="weights, control variates and sample counts: the server sees each device's "
            "trained small model and the mean gradient of its steps, never its data",
        )

    def init(self, seed: int) -> State:
        net = self.model.build(seed)
        control = {
            name: np.zeros(tuple(weight.shape), np.float32)
            for name, weight in net.named_parameters()
        }
        return State(round=0, weights=to_arrays(net), control=control)

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        number = state.round + 1
        sent = {**state.weights, **prefixed(CONTROL, state.control)}
        jobs = train_jobs(number, plan.devices, sent, self._expected(sent))
        replies = yield from answered(jobs, plan)
        if not replies:
            return replace(state, round=number)
        answers = [reply.arrays for reply in replies]
        devices = [reply.device for reply in replies]
        merged = combine(answers, sent, sizes(replies), devices, self.aggregate)
        yield from merged.discounts
        took_part = np.float32(len(replies) / len(conditions.devices))
        mean = under(CONTROL, merged.weights)
        weights = {name: merged.weights[name] for name in state.weights}
        control = {name: c + took_part * (mean[name] - c) for name, c in state.control.items()}
        return State(round=number, weights=weights, control=control)

    def _expected(self, sent: Arrays) -> Expected:
        answer = trained_reply(self.model, norm(sent), None)
        controls = wire.specs(prefixed(CONTROL, under(CONTROL, sent)))
        return replace(answer, arrays={**answer.arrays, **controls})

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        learner = WeightWorker(
            device=device,
            data=data,
            model=self.model,
            local=self.local,
            seed=seed,
            objective=Controlled(),
        )
        return Controller(learner=learner)

    def cohort(self, workers: Sequence[Controller], jobs: Sequence[Job]) -> Sequence[Arrays]:
        return control_together(workers, jobs)

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        return {"small_accuracy": held_out_accuracy(self.model, state.weights, test)}

    def device_model(self, kind: str) -> str | None:
        """See `core.protocols.Method`."""
        return "small"

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        return {"small": TrainedModel(model=self.model, weights=state.weights, size="small")}


def control_together(workers: Sequence[Controller], jobs: Sequence[Job]) -> list[Arrays]:
    """Each controller's `handle`, side by side where its learners can be."""
    server = _server(jobs)
    names = under(CONTROL, jobs[0].arrays)
    zero = {name: np.zeros_like(array) for name, array in names.items()}
    own = [worker.control or zero for worker in workers]
    drift = {name: server[f"{CONTROL}/{name}"] - column(own, name) for name in names}
    trained = _trained(workers, jobs, drift)
    lengths_D = np.array([_length(worker.learner) for worker in workers], np.float32)
    mean = {name: _over(server[name] - trained[name], lengths_D) for name in names}
    after = {name: mean[name] - drift[name] for name in names}
    answer = {**trained, **prefixed(CONTROL, mean)}
    for d, worker in enumerate(workers):
        worker.control = DeviceRow(after, d)
    return [DeviceRow(answer, d) for d in range(len(jobs))]


def _trained(workers: Sequence[Controller], jobs: Sequence[Job], drift: Arrays) -> Arrays:
    """The learners' weights, with a device axis in front."""
    learners = [worker.learner for worker in workers]
    drifts = [{DRIFT: DeviceRow(drift, d)} for d in range(len(jobs))]
    answers = train_together(learners, jobs, drifts)
    return {name: column(answers, name) for name in answers[0]}


def _server(jobs: Sequence[Job]) -> Arrays:
    """What the server sent, with a device axis in front: one for all where all have the very same
    arrays."""
    sent = [job.arrays for job in jobs]
    some = sent[:1] if all(one is sent[0] for one in sent) else sent
    return {name: column(some, name) for name in sent[0]}


def _length(learner: WeightWorker) -> float:
    """How far the device's steps go together, under a gradient of one that does not change: K lr in
    plain descent."""
    count = steps(len(learner.data), learner.local)
    return learner.local.lr * _as_plain(count, learner.local.momentum)


@lru_cache(maxsize=1024)
def _as_plain(count: int, momentum: float) -> float:
    """How many steps of plain descent go as far as so many with momentum."""
    return float(np.cumsum(momentum ** np.arange(count)).sum())


def _over(table: np.ndarray, lengths_D: np.ndarray) -> np.ndarray:
    """Each row by its length, in place."""
    table /= lengths_D.reshape(-1, *[1] * (table.ndim - 1))
    return table


def tiny() -> Scaffold:
    """The smallest useful instance: eight features, three classes."""
    return Scaffold(
        model=model("mlp-xs", (8,), 3), local=LocalTraining(passes=1, batch=8, momentum=0.0)
    )
