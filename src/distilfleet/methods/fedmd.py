"""FedMD: devices of any architecture agree on class scores over a proxy dataset; weights never
travel.

A device learns ("digests") the consensus of the last round, trains on its own data ("revisits"),
and sends its class scores, float32 as published. There is no large model. The published method
first trains every device on *labelled* public data; here the proxy dataset has no labels, as for
KOALA, so that step is left out.

Source: Li and Wang, "FedMD: heterogenous federated learning via model distillation", 2019.
https://arxiv.org/abs/1910.03581
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.answers import answered
from ..core.protocols import MethodFacts, Worker
from ..core.types import (
    Arrays,
    ArraySpec,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Metrics,
    Plan,
    Round,
    TrainedModel,
)
from ..core.units import pretty_count
from ..nn.distil import Distillation
from ..nn.merge import doubted
from ..nn.refine import ensemble
from ..nn.soft_label_worker import NO_LABELS, SoftLabelWorker, kept_accuracy, learn_jobs
from ..nn.train import LocalTraining
from ..nn.zoo import Model, model
from ..trust.choices import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    round: int
    holders: tuple[DeviceId, ...]
    """Devices that have the proxy inputs."""
    consensus_PC: np.ndarray
    """Empty before the first round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FedMD:
    """See the module docstring."""

    smalls: Mapping[str, Model]
    """The model of each kind of device."""
    proxy: Dataset
    classes: int
    local: LocalTraining = field(default_factory=LocalTraining)
    digest: Distillation = field(default_factory=lambda: Distillation(passes=2, temperature=1.0))
    aggregate: Rule = "mean"

    @property
    def facts(self) -> MethodFacts:
        proxy = pretty_count(len(self.proxy), "unlabelled proxy sample")
        return MethodFacts(
            title="FedMD",
            story=(
                f"In each round $devices learnt the fleet’s consensus on {proxy}, trained on "
                "private data, and sent class scores on the proxy data to the server, never "
                "weights or data.",
                "The server averaged the scores into the next consensus. There is no large model.",
            ),
            discloses="answers on proxy data",
            disclosure="proxy class scores: no weights and no data leave a device",
        )

    def init(self, seed: int) -> State:
        return State(round=0, holders=(), consensus_PC=NO_LABELS)

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        number = state.round + 1
        answer = {"soft": ArraySpec("<f4", (len(self.proxy), self.classes), sums_to_one=True)}
        jobs = learn_jobs(
            number, plan.devices, state.holders, self.proxy, state.consensus_PC, answer
        )
        replies = yield from answered(jobs, plan)
        if not replies:
            return replace(state, round=number)
        devices = [reply.device for reply in replies]
        holders = tuple(dict.fromkeys((*state.holders, *devices)))
        soft_NPC = np.stack([reply.arrays["soft"] for reply in replies])
        consensus_PC, counted_N = ensemble(soft_NPC, self.aggregate)
        yield from doubted(devices, counted_N, self.aggregate)
        return State(round=number, holders=holders, consensus_PC=consensus_PC)

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        model = self.smalls[device.kind]
        return SoftLabelWorker(
            device=device, data=data, model=model, local=self.local, digest=self.digest, seed=seed
        )

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        return kept_accuracy(kept, {one.name: one for one in self.smalls.values()}, test)

    def device_model(self, kind: str) -> str | None:
        """See `core.protocols.Method`."""
        return ""

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        return {}


def tiny() -> FedMD:
    """The smallest useful instance: two kinds of device, eight features, three classes."""
    proxy = Dataset(np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))
    smalls = {"rpi-4b": model("mlp-xs", (8,), 3), "rpi-5": model("mlp-s", (8,), 3)}
    return FedMD(
        smalls=smalls,
        proxy=proxy,
        classes=3,
        local=LocalTraining(passes=1, batch=8),
        digest=Distillation(passes=1),
    )
