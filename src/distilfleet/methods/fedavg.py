"""Federated averaging: devices train one model from where the server left it, the server averages
what comes back.

With the large model this is the conventional approach that KOALA is held against; devices that
cannot hold it make it a counterfactual, which the recipe says. With the small model it is the plain
federation of small devices.

Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
AISTATS 2017. https://arxiv.org/abs/1602.05629
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..core.answers import answered, train_jobs
from ..core.protocols import MethodFacts, Worker
from ..core.types import (
    Arrays,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Job,
    Metrics,
    Plan,
    Round,
    TrainedModel,
)
from ..nn.merge import merge
from ..nn.train import LocalTraining
from ..nn.weight_worker import WeightWorker, held_out_accuracy, train_together, trained_reply
from ..nn.weights import norm, to_arrays
from ..nn.zoo import Model, model
from ..trust.choices import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    round: int
    weights: Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class FedAvg:
    """See the module docstring."""

    model: Model
    who: Literal["large", "small"] = "small"
    """What the model counts as in the metrics."""
    local: LocalTraining = field(default_factory=LocalTraining)
    aggregate: Rule = "mean"

    @property
    def facts(self) -> MethodFacts:
        return MethodFacts(
            title="FedAvg",
            story=(
                f"In each round $devices trained the same {self.who} model on private data and "
                "sent its weights to the server.",
                "The server averaged the weights, in proportion to each device’s samples, and "
                "returned the average. There was no distillation and no proxy data.",
            ),
            discloses="weights",
            disclosure="weights and sample counts: the server sees each device's trained "
            f"{self.who} model, never its data",
        )

    def init(self, seed: int) -> State:
        return State(round=0, weights=to_arrays(self.model.build(seed)))

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        expected = trained_reply(self.model, norm(state.weights), None)
        number = state.round + 1
        jobs = train_jobs(number, plan.devices, state.weights, expected)
        replies = yield from answered(jobs, plan)
        if not replies:
            return State(round=number, weights=state.weights)
        merged = merge(self.model, state.weights, replies, self.aggregate)
        yield from merged.discounts
        return State(round=number, weights=merged.weights)

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        return WeightWorker(device=device, data=data, model=self.model, local=self.local, seed=seed)

    def cohort(self, workers: Sequence[WeightWorker], jobs: Sequence[Job]) -> Sequence[Arrays]:
        return train_together(workers, jobs)

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        return {f"{self.who}_accuracy": held_out_accuracy(self.model, state.weights, test)}

    def device_model(self, kind: str) -> str | None:
        """See `core.protocols.Method`."""
        return self.who

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        return {self.who: TrainedModel(model=self.model, weights=state.weights, size=self.who)}


def tiny() -> FedAvg:
    """The smallest useful instance: eight features, three classes."""
    return FedAvg(model=model("mlp-xs", (8,), 3), local=LocalTraining(passes=1, batch=8))
