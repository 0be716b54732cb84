"""KOALA: small models on devices teach a large one on the server, which teaches them back.

A round: devices train small models on private data; the server distils them into its large model on
an unlabelled proxy dataset (reverse distillation: T^2 KL(soft labels || large), no labels, no
cross-entropy), then distils the large model back into the small ones (forward distillation: an
output loss and an intermediate-layer loss).

Homogeneous mode: one small architecture, averaged by data size into one global small model that
speaks for all. Heterogeneous mode: each device has the architecture that it can afford; the outputs
of all of them on the proxy dataset are refined into one consensus, and each architecture is
averaged over the devices that share it.

Two wires. `weights`, as in the paper: small models go up and down. `soft-labels`: a device gets the
proxy inputs once; from then on only soft labels travel, one byte per class, and it keeps its model
to itself.

Source (KOALA): "Federated Knowledge Transfer Fine-tuning Large Server Model with
Resource-Constrained IoT Clients", https://arxiv.org/abs/2407.05268.
What its public texts leave open is decided in docs/design/0005-koala.md.

Axes: N devices, P proxy samples, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from torch import nn

from ..core.answers import answered
from ..core.chance import stream
from ..core.protocols import MethodFacts, Worker
from ..core.types import (
    Arrays,
    ArraySpec,
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
from ..nn import zoo
from ..nn.distil import (
    KEPT_BYTES,
    Distillation,
    TeacherOutputs,
    accuracy,
    augment,
    distil,
    predict,
    teach,
    teacher_outputs,
)
from ..nn.frozen import FeatureStore, features, on_features, trained_head
from ..nn.loads import server_load
from ..nn.merge import away, doubted, lowest, merge
from ..nn.place import device_of
from ..nn.refine import consensus
from ..nn.resident import Resident, copied, taken
from ..nn.soft_label_worker import NO_LABELS, SoftLabelWorker, kept_accuracy, learn_jobs, read_soft
from ..nn.train import LocalTraining
from ..nn.weight_worker import (
    LABELS,
    SAMPLES,
    WeightWorker,
    by_model,
    held_out_accuracy,
    label_spec,
    scratch,
    sizes,
    train_together,
    trained_reply,
)
from ..nn.weights import blend, norm, put, to_arrays
from ..nn.zoo import Model
from ..trust.choices import Refine, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class KoalaSettings:
    """The method's settings."""

    mode: Literal["homogeneous", "heterogeneous"] = "homogeneous"
    wire: Literal["weights", "soft-labels"] = "weights"
    refine: Refine = "mean"
    aggregate: Rule = "mean"
    """The rule for weights, per architecture."""
    agree: Rule = "mean"
    """The rule for soft labels; `refine` is applied to what it leaves."""
    local: LocalTraining = field(default_factory=LocalTraining)
    reverse: Distillation = field(default_factory=lambda: Distillation(passes=2, batch=32, lr=2e-3))
    forward: Distillation = field(
        default_factory=lambda: Distillation(passes=1, feature_weight=0.1)
    )
    ema: float = 0.0
    """Share of the old forward teacher that is kept each round; 0: the large model itself
    teaches."""
    warm: Distillation | None = None
    """How a large model that knows the classes teaches the small ones before round 1, if so."""
    mixtures: int = 1024
    """Proxy augmentation: mixtures of proxy samples, with noise, that are added in each round."""

    @property
    def temperature(self) -> float:
        return self.reverse.temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the server knows between rounds. Mappings are keyed by the small model's name."""

    seed: int
    round: int
    large: Arrays
    moments: Arrays
    """What the large model's optimiser keeps."""
    teacher: Arrays
    """Moving average of the large model; empty without it."""
    small: Mapping[str, Arrays]
    adapters: Mapping[str, Arrays]
    holders: tuple[DeviceId, ...]
    """Devices that have the proxy inputs."""
    soft_PC: np.ndarray
    """The teacher's soft labels on the proxy inputs, for devices; empty before the first round and
    with weights."""
    proxy_kl_nats: float
    told_labels: int
    """Devices that told their label counts in the last round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Koala:
    """See the module docstring."""

    large: Model
    smalls: Mapping[str, Model]
    """The model of each kind of device."""
    proxy: Dataset
    settings: KoalaSettings
    features: FeatureStore = field(default_factory=FeatureStore)
    """What the head of a large model takes of the proxy and the test, where the head alone
    trains."""

    @property
    def facts(self) -> MethodFacts:
        reverse = (
            f"The server distilled that knowledge into its large model ({self.large.name}) on "
            f"{pretty_count(len(self.proxy), 'unlabelled proxy sample')} (reverse distillation), "
            "then "
        )
        return (
            self._facts_of_labels(reverse)
            if self.settings.wire == "soft-labels"
            else self._facts_of_weights(reverse)
        )

    def _facts_of_weights(self, reverse: str) -> MethodFacts:
        counts = "; label counts too, of devices whose owners agree" if self._counts_labels else ""
        return MethodFacts(
            title="KOALA",
            story=(
                "In each round $devices trained a small model on private data and sent its weights "
                "to the server, never the data.",
                self._mixture(
                    "refined into one consensus and each architecture was averaged on its own"
                ),
                f"{reverse}distilled the large model back into the small ones (forward "
                "distillation) and returned them.",
            ),
            discloses="weights",
            disclosure="weights and sample counts: the server sees each device's trained small "
            "model, never its data" + counts,
            label_counts=self._counts_labels,
            pretrained=self.settings.reverse.retention is not None,
        )

    def _facts_of_labels(self, reverse: str) -> MethodFacts:
        counts = "; label counts do where owners agree" if self._counts_labels else ""
        return MethodFacts(
            title="KOALA",
            story=(
                "In each round $devices trained a small model on private data and sent its soft "
                "labels on the proxy data to the server, never weights or data.",
                self._mixture("refined into one consensus"),
                f"{reverse}sent the large model’s soft labels back, from which each device taught "
                "its own small model (forward distillation).",
            ),
            discloses="answers on proxy data",
            disclosure="proxy soft labels and sample counts: no weights and no data leave a "
            f"device{counts}",
            label_counts=self._counts_labels,
            pretrained=self.settings.reverse.retention is not None,
        )

    def _mixture(self, refined: str) -> str:
        """The sentence on how the knowledge of several devices becomes one."""
        names = sorted(self._by_name)
        if self.settings.mode == "heterogeneous" or len(names) > 1:
            models = ", ".join(names)
            return (
                f"Each device had the architecture that it could afford ({models}), so the outputs "
                f"were {refined}."
            )
        return f"All small models share one architecture ({names[0]}) and were merged into one."

    def init(self, seed: int) -> State:
        large = Resident.of(self.large.build(seed))
        small = {model.name: to_arrays(model.build(seed)) for model in self.smalls.values()}
        return State(
            seed=seed,
            round=0,
            large=large,
            moments={},
            teacher=copied(large) if self.settings.ema else {},
            small={} if self.settings.wire == "soft-labels" else small,
            adapters={},
            holders=(),
            soft_PC=NO_LABELS,
            proxy_kl_nats=float("inf"),
            told_labels=0,
        )

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        soft_wire = self.settings.wire == "soft-labels"
        if state.round == 0 and self.settings.warm is not None:
            state = yield from self._warm_up(state, self.settings.warm)
        model_of = {
            device: self.smalls[conditions.devices[device].kind].name for device in plan.devices
        }
        jobs = (
            self._label_jobs(state, plan.devices)
            if soft_wire
            else self._weight_jobs(state, model_of)
        )
        replies = yield from answered(jobs, plan)
        state = replace(state, round=state.round + 1, told_labels=self._with_label_counts(replies))
        if not replies:
            return state
        if soft_wire:
            return (yield from self._exchange_labels(state, replies))
        return (yield from self._exchange_weights(state, by_model(replies, model_of)))

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        model = self.smalls[device.kind]
        settings = self.settings
        if settings.wire == "soft-labels":
            return SoftLabelWorker(
                device=device,
                data=data,
                model=model,
                local=settings.local,
                digest=settings.forward,
                seed=seed,
            )
        return WeightWorker(device=device, data=data, model=model, local=settings.local, seed=seed)

    def cohort(
        self, workers: Sequence[WeightWorker | SoftLabelWorker], jobs: Sequence[Job]
    ) -> Sequence[Arrays]:
        learners = [worker for worker in workers if isinstance(worker, WeightWorker)]
        if len(learners) == len(workers):
            return train_together(learners, jobs)
        return [worker.handle(job) for worker, job in zip(workers, jobs, strict=True)]

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        assert test.labels is not None, "a test part has labels"
        large = put(scratch(self.large), state.large)
        with self._asked(large, test.for_large.inputs) as inputs:
            said_PC = predict(large, inputs)
        metrics = {"large_accuracy": accuracy(said_PC, test.labels)}
        if np.isfinite(state.proxy_kl_nats):
            metrics["proxy_kl_nats"] = state.proxy_kl_nats
        if self._counts_labels:
            metrics["told_labels"] = float(state.told_labels)
        if self.settings.wire == "soft-labels":
            return {**metrics, **kept_accuracy(kept, self._by_name, test)}
        by_name = {
            name: held_out_accuracy(model, state.small[name], test)
            for name, model in self._by_name.items()
        }
        scores = [by_name[model.name] for model in self.smalls.values()]
        return {**metrics, "small_accuracy": float(np.mean(scores))}

    def device_model(self, kind: str) -> str | None:
        """See `core.protocols.Method`."""
        return "" if self.settings.wire == "soft-labels" else f"small-{self.smalls[kind].name}"

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        large = TrainedModel(
            model=self.large, weights=state.large, size="large", distilled_from=tuple(self._by_name)
        )
        return {
            "large": large,
            **{f"small-{name}": self._small(state, name) for name in state.small},
        }

    def _small(self, state: State, name: str) -> TrainedModel:
        return TrainedModel(
            model=self._by_name[name],
            weights=state.small[name],
            size="small",
            distilled_from=(self.large.name,) if self.settings.forward.passes else (),
        )

    # --- jobs -------------------------------------------------------------------------------------

    def _weight_jobs(self, state: State, model_of: Mapping[DeviceId, str]) -> list[Job]:
        classes = self.large.classes if self._counts_labels else None
        expected = {
            name: trained_reply(model, norm(state.small[name]), classes)
            for name, model in self._by_name.items()
        }
        number = state.round + 1
        return [
            Job(
                id=f"{number}:train:{d}",
                device=d,
                op="train",
                arrays=state.small[name],
                expected=expected[name],
            )
            for d, name in model_of.items()
        ]

    def _label_jobs(self, state: State, devices: Sequence[DeviceId]) -> list[Job]:
        counts = LABELS if self._counts_labels else SAMPLES
        answer = {
            "soft": ArraySpec("|u1", (len(self.proxy), self.large.classes)),
            counts: label_spec(self.large.classes) if self._counts_labels else ArraySpec("<i8", ()),
        }
        return learn_jobs(
            state.round + 1, devices, state.holders, self.proxy, state.soft_PC, answer
        )

    # --- what the server makes of the answers -----------------------------------------------------

    def _exchange_weights(
        self, state: State, groups: Mapping[str, Sequence[Reply]]
    ) -> Round[State]:
        merges = {
            name: merge(self._by_name[name], state.small[name], own, self.settings.aggregate)
            for name, own in groups.items()
        }
        merged = {name: one.weights for name, one in merges.items()}
        rng = stream(state.seed, "koala", state.round)
        proxy = augment(self.proxy, self.settings.mixtures, rng).data
        gone = away(merges.values())
        speakers = [
            (name, reply)
            for name, own in groups.items()
            for reply in own
            if reply.device not in gone
        ]
        discounts = [one for group in merges.values() for one in group.discounts]
        if self.settings.mode == "homogeneous":
            ((name, weights),) = merged.items()
            soft_PC = self._soft(name, weights, proxy.inputs)
        else:
            soft_NPC = np.stack(
                [self._soft(name, reply.arrays, proxy.inputs) for name, reply in speakers]
            )
            soft_PC, ours = self._consensus(soft_NPC, [reply for _, reply in speakers])
            discounts = lowest([*discounts, *ours])
        yield from discounts
        yield Work(server_load([(self._by_name[name], len(proxy), 0) for name, _ in speakers]))
        state = yield from self._reverse(state, proxy, soft_PC, rng)
        return (yield from self._forward(state, merged, proxy, rng, self.settings.forward))

    def _exchange_labels(self, state: State, replies: Sequence[Reply]) -> Round[State]:
        soft_NPC = np.stack([read_soft(reply.arrays["soft"]) for reply in replies])
        soft_PC, discounts = self._consensus(soft_NPC, replies)
        yield from discounts
        rng = stream(state.seed, "koala", state.round)
        augmented = augment(self.proxy, self.settings.mixtures, rng)
        state = yield from self._reverse(state, augmented.data, augmented.mix(soft_PC), rng)
        yield Work(server_load([(self.large, len(self.proxy), 0)]))
        holders = tuple(dict.fromkeys((*state.holders, *(reply.device for reply in replies))))
        return replace(state, holders=holders, soft_PC=self._taught(state))

    def _warm_up(self, state: State, warm: Distillation) -> Round[State]:
        """What the large model knows before round 1 becomes what devices start from."""
        rng = stream(state.seed, "koala", "warm")
        if self.settings.wire == "soft-labels":
            yield Work(server_load([(self.large, len(self.proxy), 0)]))
            return replace(state, soft_PC=self._taught(state))
        proxy = augment(self.proxy, self.settings.mixtures, rng).data
        return (yield from self._forward(state, state.small, proxy, rng, warm))

    def _taught(self, state: State) -> np.ndarray:
        """Soft labels of the forward teacher on the proxy samples."""
        teacher = put(scratch(self.large), state.teacher or state.large)
        with self._asked(teacher, self.proxy.for_large.inputs) as inputs:
            return soft.soften(predict(teacher, inputs), self.settings.temperature)

    def _reverse(
        self, state: State, proxy: Dataset, soft_PC: np.ndarray, rng: np.random.Generator
    ) -> Round[State]:
        """Small teaches large."""
        settings = self.settings.reverse
        inputs = proxy.for_large.inputs
        prior_PC = self._known_from_start(state.seed, inputs)
        module = scratch(self.large)
        put(module, taken(state.large, device_of(module)))
        with self._asked(module, inputs) as given:
            done = distil(module, given, soft_PC, settings, rng, state.moments, prior_PC)
        readings = [(self.large, len(proxy), 0)] if settings.retention is not None else []
        yield Work(server_load([*readings, (self.large, len(proxy), settings.passes)]))
        teacher = blend(state.teacher, done.weights, self.settings.ema) if self.settings.ema else {}
        return replace(
            state,
            large=done.weights,
            moments=done.moments,
            teacher=teacher,
            proxy_kl_nats=done.loss_nats,
        )

    def _known_from_start(self, seed: int, inputs: np.ndarray) -> np.ndarray | None:
        """What the large model says before round 1, if that is what it is held to."""
        retention = self.settings.reverse.retention
        if retention is None or not retention.since_start:
            return None
        module = self.large.build(seed)
        with self._asked(module, inputs) as given:
            return predict(module, given)

    @contextmanager
    def _asked(self, module: nn.Module, inputs: np.ndarray) -> Iterator[np.ndarray]:
        """What the large model takes while this lasts: the features of its frozen part, where its
        head alone trains."""
        head = trained_head(module, self.large.example(2))
        if head is None:
            yield inputs
            return
        made_up = self.proxy.large_inputs is None and len(inputs) > len(self.proxy)
        given = (
            features(module, head, inputs) if made_up else self.features.of(module, head, inputs)
        )
        with on_features(module, head):
            yield given

    def _forward(
        self,
        state: State,
        merged: Mapping[str, Arrays],
        proxy: Dataset,
        rng: np.random.Generator,
        distillation: Distillation,
    ) -> Round[State]:
        """Large teaches small: the architectures that took part, one at a time, the same lesson for
        all."""
        small = {**state.small, **merged}
        adapters = dict(state.adapters)
        if distillation.passes == 0:
            return replace(state, small=small)
        given = self._teacher(state, proxy, distillation)
        readings = 1 if given.kept else distillation.passes * len(merged)
        yield Work(server_load([(self.large, len(proxy) * readings, 0)]))
        for name, weights in merged.items():
            model = self._by_name[name]
            module = put(scratch(model), weights)
            done, adapters[name] = teach(module, given, distillation, rng, adapters.get(name, {}))
            small[name] = done.weights
            yield Work(server_load([(model, len(proxy), distillation.passes)]))
        return replace(state, small=small, adapters=adapters)

    def _teacher(self, state: State, proxy: Dataset, distillation: Distillation) -> TeacherOutputs:
        """What the forward teacher gives for these samples."""
        large = put(scratch(self.large), state.teacher or state.large)
        said_bytes = 4 * len(proxy) * self.large.classes
        if distillation.feature_weight or said_bytes > KEPT_BYTES:  # it is asked later, or watched
            return teacher_outputs(large, proxy, distillation)
        with self._asked(large, proxy.for_large.inputs) as inputs:
            stands = inputs is not proxy.for_large.inputs
            given = replace(proxy, large_inputs=inputs) if stands else proxy
            return teacher_outputs(large, given, distillation)

    # --- outputs ----------------------------------------------------------------------------------

    def _soft(self, name: str, weights: Arrays, inputs: np.ndarray) -> np.ndarray:
        return soft.soften(
            predict(put(scratch(self._by_name[name]), weights), inputs), self.settings.temperature
        )

    def _consensus(
        self, soft_NPC: np.ndarray, replies: Sequence[Reply]
    ) -> tuple[np.ndarray, list[Discount]]:
        rule = self.settings.agree
        soft_PC, counted_N = consensus(soft_NPC, self._labels(replies), self.settings.refine, rule)
        return soft_PC, doubted([reply.device for reply in replies], counted_N, rule)

    def _labels(self, replies: Sequence[Reply]) -> np.ndarray:
        """[N, C], or [N, 1] where only sample counts leave the devices; rows add up to the capped
        sizes.

        A device that keeps its label counts is taken to have as many samples of each class.
        """
        size_N1 = np.array(sizes(replies))[:, None]
        classes = self.large.classes
        if not self._counts_labels:
            return size_N1
        counts = [np.maximum(reply.arrays[LABELS], 0) for reply in replies]
        counts_NC = np.stack(
            [one if len(one) == classes else np.ones(classes) for one in counts]
        ).astype(np.float64)
        return np.asarray(size_N1 * counts_NC / np.maximum(counts_NC.sum(axis=1, keepdims=True), 1))

    def _with_label_counts(self, replies: Sequence[Reply]) -> int:
        return sum(
            len(r.arrays[LABELS]) == self.large.classes for r in replies if LABELS in r.arrays
        )

    @property
    def _counts_labels(self) -> bool:
        return self.settings.refine.startswith("prior") and (
            self.settings.mode == "heterogeneous" or self.settings.wire == "soft-labels"
        )

    @property
    def _by_name(self) -> dict[str, Model]:
        return {model.name: model for model in self.smalls.values()}


def tiny() -> Koala:
    """The smallest useful instance: two kinds of device, eight features, three classes."""
    proxy = Dataset(np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))
    smalls = {"rpi-4b": zoo.model("mlp-xs", (8,), 3), "rpi-5": zoo.model("mlp-s", (8,), 3)}
    settings = KoalaSettings(
        mode="heterogeneous",
        local=LocalTraining(passes=1, batch=8),
        reverse=Distillation(passes=1),
        forward=Distillation(passes=1),
    )
    return Koala(large=zoo.model("mlp-l", (8,), 3), smalls=smalls, proxy=proxy, settings=settings)
