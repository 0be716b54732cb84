"""FedDF: average the devices' models per architecture, then distil the ensemble of all of them into
each average.

There is no large model: the server's models are the devices' own architectures.

Source: Lin et al., "Ensemble distillation for robust model fusion in federated learning", NeurIPS
2020, algorithms 1 and 3. https://arxiv.org/abs/2006.07242
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.answers import answered
from ..core.chance import stream
from ..core.protocols import MethodFacts, Worker
from ..core.types import (
    Arrays,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Discount,
    Job,
    Metrics,
    Plan,
    Reply,
    Round,
    TrainedModel,
    Work,
)
from ..core.units import pretty_count
from ..nn import soft_labels as soft
from ..nn.distil import Distillation, distil, predict
from ..nn.loads import server_load
from ..nn.merge import away, doubted, lowest, merge
from ..nn.refine import ensemble
from ..nn.train import LocalTraining
from ..nn.weight_worker import (
    WeightWorker,
    by_model,
    held_out_accuracy,
    scratch,
    train_together,
    trained_reply,
)
from ..nn.weights import norm, put, to_arrays
from ..nn.zoo import Model, model
from ..trust.choices import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    seed: int
    round: int
    small: Mapping[str, Arrays]
    """Weights of each architecture, by the model's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FedDF:
    """See the module docstring."""

    smalls: Mapping[str, Model]
    """The model of each kind of device."""
    proxy: Dataset
    local: LocalTraining = field(default_factory=LocalTraining)
    fusion: Distillation = field(default_factory=lambda: Distillation(temperature=1.0))
    aggregate: Rule = "mean"
    """The rule for weights, per architecture, and for the ensemble's logits."""

    @property
    def facts(self) -> MethodFacts:
        proxy = pretty_count(len(self.proxy), "unlabelled proxy sample")
        return MethodFacts(
            title="FedDF",
            story=(
                "In each round $devices trained a small model on private data and sent its weights "
                "to the server.",
                "The server averaged the weights of each architecture, trained each average to "
                f"match the mean output of all received models on {proxy}, and returned it. There "
                "is no large model.",
            ),
            discloses="weights",
            disclosure="weights and sample counts: the server sees each device's trained small "
            "model, never its data",
        )

    def init(self, seed: int) -> State:
        small = {one.name: to_arrays(one.build(seed)) for one in self.smalls.values()}
        return State(seed=seed, round=0, small=small)

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        number = state.round + 1
        model_of = {
            device: self.smalls[conditions.devices[device].kind].name for device in plan.devices
        }
        replies = yield from answered(self._jobs(state, number, model_of), plan)
        groups = by_model(replies, model_of)
        if not groups:
            return replace(state, round=number)
        merged = {
            name: merge(self._by_name[name], state.small[name], own, self.aggregate)
            for name, own in groups.items()
        }
        ensemble_PC, doubts = self._ensemble(groups, away(merged.values()))
        discounts = [one for group in merged.values() for one in group.discounts]
        yield from lowest([*discounts, *doubts])
        small = dict(state.small)
        for name, own in groups.items():
            model = self._by_name[name]
            yield Work(server_load([(model, len(self.proxy), 0)] * len(own)))
            small[name] = self._fuse(name, merged[name].weights, ensemble_PC, state.seed, number)
            yield Work(server_load([(model, len(self.proxy), self.fusion.passes)]))
        return State(seed=state.seed, round=number, small=small)

    def _jobs(self, state: State, number: int, model_of: Mapping[DeviceId, str]) -> list[Job]:
        expected = {
            name: trained_reply(one, norm(state.small[name]), None)
            for name, one in self._by_name.items()
        }
        return [
            Job(
                id=f"{number}:train:{device}",
                device=device,
                op="train",
                arrays=state.small[name],
                expected=expected[name],
            )
            for device, name in model_of.items()
        ]

    def _ensemble(
        self, groups: Mapping[str, Sequence[Reply]], gone: Collection[DeviceId]
    ) -> tuple[np.ndarray, list[Discount]]:
        """Mean output of all models that count, and whose outputs counted for less."""
        kept = [
            (name, reply)
            for name, own in groups.items()
            for reply in own
            if reply.device not in gone
        ]
        logits_NPC = np.stack([self._logits(name, reply.arrays) for name, reply in kept])
        ensemble_PC, counted_N = ensemble(logits_NPC, self.aggregate)
        return ensemble_PC, doubted([reply.device for _, reply in kept], counted_N, self.aggregate)

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        return WeightWorker(
            device=device, data=data, model=self.smalls[device.kind], local=self.local, seed=seed
        )

    def cohort(self, workers: Sequence[WeightWorker], jobs: Sequence[Job]) -> Sequence[Arrays]:
        return train_together(workers, jobs)

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        scores = [
            held_out_accuracy(one, state.small[name], test) for name, one in self._by_name.items()
        ]
        return {"small_accuracy": float(np.mean(scores))}

    def device_model(self, kind: str) -> str | None:
        """See `core.protocols.Method`."""
        return f"small-{self.smalls[kind].name}"

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        taught_by = tuple(self._by_name)  # the ensemble of all of them
        return {
            f"small-{name}": TrainedModel(
                model=self._by_name[name], weights=weights, size="small", distilled_from=taught_by
            )
            for name, weights in state.small.items()
        }

    def _fuse(
        self, name: str, average: Arrays, ensemble_PC: np.ndarray, seed: int, number: int
    ) -> Arrays:
        soft_PC = soft.soften(ensemble_PC, self.fusion.temperature)
        rng = stream(seed, "feddf", name, number)
        module = put(scratch(self._by_name[name]), average)
        distil(module, self.proxy.inputs, soft_PC, self.fusion, rng)
        return to_arrays(module)

    def _logits(self, name: str, weights: Arrays) -> np.ndarray:
        return predict(put(scratch(self._by_name[name]), weights), self.proxy.inputs)

    @property
    def _by_name(self) -> dict[str, Model]:
        return {one.name: one for one in self.smalls.values()}


def tiny() -> FedDF:
    """The smallest useful instance: two kinds of device, eight features, three classes."""
    proxy = Dataset(np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))
    smalls = {"rpi-4b": model("mlp-xs", (8,), 3), "rpi-5": model("mlp-s", (8,), 3)}
    return FedDF(
        smalls=smalls,
        proxy=proxy,
        local=LocalTraining(passes=1, batch=8),
        fusion=Distillation(passes=1, temperature=1.0),
    )
