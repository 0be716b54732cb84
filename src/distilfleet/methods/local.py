"""Each device alone: it trains its own model on its own data and exchanges nothing. The lower
bound."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.protocols import MethodFacts, Worker
from ..core.types import (
    Arrays,
    ArraySpec,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Expected,
    Job,
    Metrics,
    Plan,
    Round,
    TrainedModel,
    Wave,
)
from ..nn.distil import Distillation
from ..nn.soft_label_worker import SoftLabelWorker, kept_accuracy
from ..nn.train import LocalTraining
from ..nn.weight_worker import SAMPLES
from ..nn.zoo import Model, model


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """See the module docstring."""

    smalls: Mapping[str, Model]
    """The model of each kind of device."""
    local: LocalTraining = field(default_factory=LocalTraining)

    @property
    def facts(self) -> MethodFacts:
        names = {one.name for one in self.smalls.values()}
        model = f" ({names.pop()})" if len(names) == 1 else ""
        return MethodFacts(
            title="Local training",
            story=(
                f"Each device trained its own model{model} alone and exchanged nothing: what a "
                "device reaches without the fleet, and a lower reference for the other methods.",
            ),
            discloses="sample counts",
            disclosure="sample counts: no weights, no labels and no data leave a device",
        )

    def init(self, seed: int) -> State:
        return State(round=0)

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        number = state.round + 1
        expected = Expected(arrays={SAMPLES: ArraySpec("<i8", ())})
        jobs = [
            Job(
                id=f"{number}:learn:{device}",
                device=device,
                op="learn",
                arrays={},
                expected=expected,
            )
            for device in plan.devices
        ]
        yield Wave(jobs=jobs, goal=plan.goal, minimum=plan.minimum, deadline_s=plan.deadline_s)
        return State(round=number)

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        model = self.smalls[device.kind]
        return SoftLabelWorker(
            device=device,
            data=data,
            model=model,
            local=self.local,
            digest=Distillation(),
            seed=seed,
        )

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        return kept_accuracy(kept, {one.name: one for one in self.smalls.values()}, test)

    def device_model(self, kind: str) -> str | None:
        """See `core.protocols.Method`."""
        return ""

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        return {}


def tiny() -> Alone:
    """The smallest useful instance: two kinds of device, eight features, three classes."""
    smalls = {"rpi-4b": model("mlp-xs", (8,), 3), "rpi-5": model("mlp-s", (8,), 3)}
    return Alone(smalls=smalls, local=LocalTraining(passes=1, batch=8))
