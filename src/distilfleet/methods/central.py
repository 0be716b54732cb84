"""Pooled data: devices send all their data once and the server trains alone. The upper bound, and
no privacy."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from ..core.answers import answered
from ..core.protocols import MethodFacts, Worker
from ..core.types import (
    Arrays,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Metrics,
    Plan,
    Reply,
    Round,
    TrainedModel,
    Work,
)
from ..nn.data_worker import INPUTS, LABELS, DataWorker, data_job, paired
from ..nn.loads import server_load
from ..nn.train import LocalTraining, task, train
from ..nn.weight_worker import held_out_accuracy, scratch
from ..nn.weights import to_arrays
from ..nn.zoo import Model, model


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    seed: int
    round: int
    weights: Arrays
    givers: tuple[DeviceId, ...]
    """Devices whose data the server has."""
    inputs: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Central:
    """See the module docstring."""

    model: Model
    who: Literal["large", "small"] = "large"
    local: LocalTraining = field(default_factory=LocalTraining)

    @property
    def facts(self) -> MethodFacts:
        return MethodFacts(
            title="Central training",
            story=(
                f"The server trained one {self.who} model on the pooled data alone, without regard "
                "to privacy: what could be reached if every device gave its data away, and an "
                "upper reference for the other methods.",
            ),
            discloses="everything",
            disclosure="everything: all data of all devices that took part lie on the server",
        )

    def init(self, seed: int) -> State:
        return State(
            seed=seed,
            round=0,
            weights=to_arrays(self.model.build(seed)),
            givers=(),
            inputs=np.zeros((0, *self.model.shape), self.model.dtype),
            labels=np.zeros(0, np.int64),
        )

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        number = state.round + 1
        known = frozenset(state.givers)
        shape = self.model.shape
        jobs = [
            data_job(number, device, self.model.dtype, shape, True)
            for device in plan.devices
            if device not in known
        ]
        replies = paired((yield from answered(jobs, replace(plan, goal=None))) if jobs else [])
        state = replace(self._with(state, replies), round=number)
        if not len(state.labels):
            return state
        data = Dataset(state.inputs, state.labels)
        key = (state.seed, "central", number)
        pooled = task(state.weights, data, self.model.classes, self.local, key)
        yield Work(server_load([(self.model, len(data), self.local.passes)]))
        return replace(state, weights=train(scratch(self.model), pooled, self.local))

    def _with(self, state: State, replies: list[Reply]) -> State:
        """Labels that there are not become the nearest that there are."""
        inputs = [reply.arrays[INPUTS] for reply in replies]
        labels = [np.clip(reply.arrays[LABELS], 0, self.model.classes - 1) for reply in replies]
        return replace(
            state,
            inputs=np.concatenate([state.inputs, *inputs]),
            labels=np.concatenate([state.labels, *labels]),
            givers=(*state.givers, *(reply.device for reply in replies)),
        )

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        return DataWorker(data=data)

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        return {f"{self.who}_accuracy": held_out_accuracy(self.model, state.weights, test)}

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        return {self.who: TrainedModel(model=self.model, weights=state.weights, size=self.who)}


def tiny() -> Central:
    """The smallest useful instance: eight features, three classes."""
    return Central(model=model("mlp-xs", (8,), 3), local=LocalTraining(passes=1, batch=8))
