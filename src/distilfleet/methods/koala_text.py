"""KOALA's exchange for text: small language models on devices and a large one on the server teach
each other by ids.

A device trains its own small model on its own windows, and for each position of the server's public
windows sends ids drawn from what the model says there: an unbiased account of a distribution over
the whole vocabulary in a few bytes. The ids of all devices together are drawn from their mixture,
which the server distils into the large model (reverse distillation). Ids drawn from the large model
go back, and devices distil them into their small ones (forward distillation). Weights and private
text never travel. Public text is its own label, so both distillations take cross-entropy with them.

Sources: for the exchange KOALA, "Federated Knowledge Transfer Fine-tuning Large Server Model with
Resource-Constrained IoT Clients", https://arxiv.org/abs/2407.05268; for drawn ids Anshumann et al.,
"Sparse logit sampling", ACL 2025, https://arxiv.org/abs/2503.16870.

Axes: P public windows, N positions of them that count, K ids drawn for a position, T tokens of a
window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ..core.answers import answered
from ..core.chance import stream
from ..core.prefix import prefixed, under
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
    LanguageProfile,
    Load,
    Metrics,
    Plan,
    Round,
    TrainedModel,
    Work,
)
from ..nn.fused import SampledTeacher
from ..nn.language import LanguageModel
from ..nn.loads import frames
from ..nn.place import device_of, to_tensor
from ..nn.pretrain import Pretraining, pretraining_story
from ..nn.token_training import (
    TeacherOf,
    TokenTraining,
    draw_ids,
    forward_flops,
    id_dtype,
    predicted,
    pretrained,
    quality,
    rows_of,
    scratch,
    train_steps,
    training_load,
)
from ..nn.trace import trace
from ..nn.weights import put, to_arrays

MOST_JUDGED = 100
NO_IDS = np.zeros((0, 0), np.uint16)
"""Before there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KoalaTextSettings:
    """The method's settings."""

    local: TokenTraining
    """How a device trains on its own windows: with cross-entropy."""
    forward: TokenTraining
    """How a device trains on the public windows."""
    reverse: TokenTraining
    """How the server trains on the public windows."""
    draws: int = 8
    """Ids for a position, from each device and to each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    seed: int
    round: int
    large: Arrays
    moments: Arrays
    """What the large model's optimiser keeps."""
    holders: tuple[DeviceId, ...]
    """Devices that have the public windows."""
    taught_NK: np.ndarray
    """What the large model says, for devices."""


@dataclass(slots=True, kw_only=True)
class LanguageWorker:
    """Keeps its model and its optimiser's moments; weights never leave the device."""

    device: Device
    data: Dataset
    model: LanguageModel
    profile: LanguageProfile
    settings: KoalaTextSettings
    seed: int
    weights: Arrays = field(default_factory=dict)
    moments: Arrays = field(default_factory=dict)
    public: np.ndarray | None = None

    def load(self, job: Job) -> Load:
        context = self.model.context
        public = job.arrays.get("public", self.public)
        assert public is not None, "public windows come with the first job"
        total = training_load(self.profile, self.settings.local, context) + frames(job)
        if "taught" in job.arrays:
            total += training_load(self.profile, self.settings.forward, context)
        return total + Load(flops=forward_flops(self.profile) * public.size)

    def handle(self, job: Job) -> Arrays:
        number = int(job.arrays["round"])
        module = put(scratch(self.model), self.weights or to_arrays(self.model.build(self.seed)))
        if "public" in job.arrays:
            self.public = job.arrays["public"].astype(np.int32)
        assert self.public is not None, "public windows come with the first job"
        settings = self.settings
        public = Dataset(self.public)
        key = (self.seed, self.device.id)
        if "taught" in job.arrays:
            training = settings.forward
            rows_SB = rows_of(len(public), training, number, (*key, "public"))
            teacher = drawn(public, job.arrays["taught"], training.temperature, device_of(module))
            self.moments = train_steps(module, public, rows_SB, training, self.moments, teacher)
        rows_SB = rows_of(len(self.data), settings.local, number, (*key, "windows"))
        self.moments = train_steps(module, self.data, rows_SB, settings.local, self.moments)
        self.weights = to_arrays(module)
        rng = stream(self.seed, "draws", job.id)
        return {"ids": draw_ids(module, public, settings.draws, settings.reverse.temperature, rng)}

    def own_model(self, received: Arrays) -> TrainedModel:
        """The model that the device has at the end of a run, which it has learnt."""
        return TrainedModel(model=self.model, weights=self.weights, size="small")

    def snapshot(self) -> Arrays:
        kept = prefixed("weights", self.weights) | prefixed("moments", self.moments)
        return kept if self.public is None else {**kept, "public": self.public}

    def restore(self, kept: Arrays) -> None:
        self.weights, self.moments = under("weights", kept), under("moments", kept)
        self.public = kept.get("public")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KoalaText:
    """See the module docstring."""

    large: LanguageModel
    small: LanguageModel
    profiles: Mapping[str, LanguageProfile]
    """What each model takes, by its name."""
    public: Dataset
    """Windows that the server owns and everybody may see."""
    settings: KoalaTextSettings
    pretraining_data: Dataset | None = None
    """Windows that the server trains the large model on first; None: it comes trained."""
    pretraining: Pretraining = field(default_factory=Pretraining)

    @property
    def facts(self) -> MethodFacts:
        return MethodFacts(
            title="KOALA",
            story=(
                *pretraining_story(self.large, self.pretraining_data),
                f"In each round $devices trained a small model ({self.small.name}) on private text "
                "and sent, for every position of the server’s public windows, ids drawn from what "
                "that model says there; never weights or text.",
                f"The server distilled the mixture into its large model ({self.large.name}) and "
                "sent ids drawn from that one back, which devices distilled into their small "
                "models.",
            ),
            discloses="answers on public text",
            disclosure="soft labels on public text: ids drawn from each device's model; no weights "
            "and no text leave a device",
        )

    def init(self, seed: int) -> State:
        large = pretrained(self.large, self.pretraining_data, self.pretraining, seed)
        return State(seed=seed, round=0, large=large, moments={}, holders=(), taught_NK=NO_IDS)

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        state = replace(state, round=state.round + 1)
        jobs = [self._job(state, device) for device in plan.devices]
        replies = yield from answered(jobs, plan)
        if not replies:
            return state
        ids_NK = np.concatenate([reply.arrays["ids"] for reply in replies], axis=1)
        state = self._taught(state, ids_NK)
        yield Work(self._load())
        devices = [reply.device for reply in replies]
        return replace(state, holders=tuple(dict.fromkeys((*state.holders, *devices))))

    def _taught(self, state: State, ids_NK: np.ndarray) -> State:
        """The large model has learnt the mixture of what devices drew, and its own draws are there
        for them."""
        settings = self.settings
        training = settings.reverse
        module = put(scratch(self.large), state.large)
        mixture = drawn(self.public, ids_NK, training.temperature, device_of(module))
        rows_SB = rows_of(len(self.public), training, state.round, (state.seed, "reverse"))
        moments = train_steps(module, self.public, rows_SB, training, state.moments, mixture)
        rng = stream(state.seed, "taught", state.round)
        temperature = settings.forward.temperature
        taught_NK = draw_ids(module, self.public, settings.draws, temperature, rng)
        return replace(state, large=to_arrays(module), moments=moments, taught_NK=taught_NK)

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        profile = self.profiles[self.small.name]
        return LanguageWorker(
            device=device,
            data=data,
            model=self.small,
            profile=profile,
            settings=self.settings,
            seed=seed,
        )

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        """Of small models the mean over devices that have one."""
        large = quality("large", put(scratch(self.large), state.large), test)
        own = [under("weights", one) for one in list(kept.values())[:MOST_JUDGED]]
        small = [quality("small", self._small(weights), test) for weights in own if weights]
        names = small[0] if small else ()
        return {**large, **{name: float(np.mean([one[name] for one in small])) for name in names}}

    def device_model(self, kind: str) -> str | None:
        """See `core.protocols.Method`."""
        return ""

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        large = TrainedModel(
            model=self.large, weights=state.large, size="large", distilled_from=(self.small.name,)
        )
        return {"large": large}

    def _small(self, weights: Arrays) -> nn.Module:
        return put(scratch(self.small), weights)

    def _job(self, state: State, device: DeviceId) -> Job:
        arrays = {"round": np.array(state.round)}
        if device not in state.holders:
            arrays["public"] = self.public.inputs.astype(
                "<i2" if self.small.vocabulary < 1 << 15 else "<i4"
            )
        if len(state.taught_NK):
            arrays["taught"] = state.taught_NK
        answer = ArraySpec(
            id_dtype(self.small.vocabulary),
            (int(predicted(self.public).sum()), self.settings.draws),
        )
        expected = Expected(arrays={"ids": answer})
        return Job(
            id=f"{state.round}:learn:{device}",
            device=device,
            op="learn",
            arrays=arrays,
            expected=expected,
        )

    def _load(self) -> Load:
        profile = self.profiles[self.large.name]
        own = training_load(profile, self.settings.reverse, self.large.context)
        return own + Load(flops=forward_flops(profile) * self.public.inputs.size)


def drawn(
    windows: Dataset, ids_NK: np.ndarray, temperature: float, device: torch.device
) -> TeacherOf:
    """A teacher that is known by ids, for all positions of these windows that count.

    A step has some of the windows.
    """
    counts = predicted(windows)
    first = np.cumsum(counts) - counts

    def of(some: Dataset, rows_B: np.ndarray) -> SampledTeacher:
        at_N = np.concatenate([np.arange(first[row], first[row] + counts[row]) for row in rows_B])
        return SampledTeacher(
            ids_NK=to_tensor(ids_NK[at_N].astype(np.int64), device), temperature=temperature
        )

    return of


def tiny() -> KoalaText:
    """The smallest useful instance: forty tokens, six public windows."""
    large, small = (
        LanguageModel(name=name, vocabulary=40, context=8) for name in ("llama:64x2", "llama:32x2")
    )
    few = TokenTraining(steps=2, batch=2)
    start_P1: Sequence[Sequence[int]] = [[0], [5], [11], [18], [24], [31]]
    return KoalaText(
        large=large,
        small=small,
        profiles={one.name: trace(one.name, steps=8, vocabulary=40) for one in (large, small)},
        public=Dataset(((np.array(start_P1) + np.arange(8)) % 40).astype(np.int32)),
        settings=KoalaTextSettings(local=few, forward=few, reverse=few, draws=4),
    )
