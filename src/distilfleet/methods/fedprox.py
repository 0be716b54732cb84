"""FedProx: federated averaging whose devices pay for straying from the model that they received.

A device minimises the loss of its own data plus mu/2 |w - w_t|^2, where w_t is what the server
sent; the server averages as in FedAvg, which is what remains with mu = 0. Devices here all make the
same number of passes.

Source: Li et al., "Federated optimization in heterogeneous networks", MLSys 2020,
https://arxiv.org/abs/1812.06127.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

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
from ..nn.objective import Tensors
from ..nn.train import LocalTraining
from ..nn.weight_worker import WeightWorker, train_together
from ..nn.zoo import Model, model
from ..trust.choices import Rule
from .fedavg import FedAvg, State


@dataclass(frozen=True, slots=True)
class Proximal:
    """The gradient of mu/2 |w - w_t|^2."""

    mu: float

    def gradient(self, weight: Tensor, received: Tensor, extra: Tensors) -> Tensor:
        return (weight - received).mul_(self.mu)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedProx:
    """See the module docstring."""

    model: Model
    mu: float = 0.01
    """Weight of the proximal term."""
    local: LocalTraining = field(default_factory=LocalTraining)
    aggregate: Rule = "mean"

    @property
    def _server(self) -> FedAvg:
        """The server's half is FedAvg's."""
        return FedAvg(model=self.model, local=self.local, aggregate=self.aggregate)

    @property
    def facts(self) -> MethodFacts:
        return MethodFacts(
            title="FedProx",
            story=(
                "In each round $devices trained the same small model on private data, with a "
                "penalty on every step away from the weights that it received (a proximal term of "
                f"weight {self.mu}), and sent its weights to the server.",
                "The server averaged the weights, in proportion to each device’s samples, and "
                "returned the average.",
            ),
            discloses="weights",
            disclosure=self._server.facts.disclosure,
        )

    def init(self, seed: int) -> State:
        return self._server.init(seed)

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        return self._server.round(state, plan, conditions)

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        proximal = Proximal(self.mu)
        return WeightWorker(
            device=device,
            data=data,
            model=self.model,
            local=self.local,
            seed=seed,
            objective=proximal,
        )

    def cohort(self, workers: Sequence[WeightWorker], jobs: Sequence[Job]) -> Sequence[Arrays]:
        return train_together(workers, jobs)

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        return self._server.evaluate(state, kept, test)

    def device_model(self, kind: str) -> str | None:
        """See `core.protocols.Method`."""
        return self._server.device_model(kind)

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        return self._server.models(state)


def tiny() -> FedProx:
    """The smallest useful instance: eight features, three classes."""
    return FedProx(model=model("mlp-xs", (8,), 3), mu=0.1, local=LocalTraining(passes=1, batch=8))
