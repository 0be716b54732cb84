"""Split KD: the server holds a frozen teacher and a student; a device runs embedding modules and
layers before its cut.

A step: the device sends the smashed data of both models; the server finishes both forward passes,
takes alpha T^2 KL(teacher || student) + (1 - alpha) cross-entropy, steps its layers, and sends back
the gradient of the student's smashed data; the device steps its rows and its front. Devices of a
cluster work in parallel, clusters one after another. A round is a fixed number of steps; at its end
each layer and each embedding row is averaged over those who held it, by tokens.

Source: "Split knowledge distillation for large models in IoT", https://arxiv.org/abs/2501.17164;
what its public texts leave open is decided in docs/design/0009-splitkd.md.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache

from torch import nn

from ...core.errors import RecordError
from ...core.protocols import MethodFacts, Worker
from ...core.types import (
    Arrays,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    LanguageProfile,
    Metrics,
    Plan,
    Round,
    TrainedModel,
)
from ...core.units import pretty_count
from ...nn import split as splitting
from ...nn.language import LanguageModel
from ...nn.pretrain import Pretraining, nats_per_token, pretrain, pretraining_story
from ...nn.trace import trace
from .cluster import train_cluster
from .device import SplitWorker
from .front import LayeredFront
from .modules import Loss, ServerModules, trained
from .settings import SplitSettings, disclosure, spent_nats
from .state import State
from .steps import ClusterRun, ClusterSettings
from .teacher_cache import TeacherCache


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitKD:
    """See the module docstring."""

    teacher: LanguageModel | None
    """None: cross-entropy alone."""
    student: LanguageModel
    split: SplitSettings
    loss: Loss = field(default_factory=Loss)
    pipelined: bool = False
    """Begin a step before the gradient of the one before has come; what it costs is in
    docs/design/0009."""
    lora_rank: int = 0
    """Rank of adapters in every projection of the student, the rest of it frozen; 0: all of it is
    trained."""
    pretraining_data: Dataset | None = None
    """Windows that the server owns and trains the teacher on; None: the teacher comes trained."""
    pretraining: Pretraining = field(default_factory=Pretraining)

    @property
    def facts(self) -> MethodFacts:
        return MethodFacts(
            title="Split KD",
            story=(*pretraining_story(self.teacher, self.pretraining_data), *self._story()),
            discloses="noisy smashed data" if self.split.noise else "smashed data",
            disclosure=disclosure(self.split),
            frozen_teacher=True,
        )

    def _story(self) -> tuple[str, ...]:
        taught = self.teacher is not None
        models = "teacher and student" if taught else "the student"
        against = "the teacher’s predictions and " if taught else ""
        truth = "tokens" if self.split.classes is None else "labels"
        return (
            f"In each step of a round ({pretty_count(self.split.steps, 'step')}) $devices ran the "
            f"embedding modules, and the layers of the small model ({self.student.name}) before "
            "its cut, on a batch of its own, and sent what came out.",
            f"The server finished {models}, held the student against {against}the true {truth}, "
            "trained its part, and returned the gradient from which each device trained its own.",
            *(("The teacher stayed as it was.",) if taught else ()),
        )

    def init(self, seed: int) -> State:
        teacher: Arrays = {}
        if self.teacher is not None and self.pretraining_data is not None:
            module = self.teacher.build(seed)
            pretrain(module, self.pretraining_data, self.pretraining, seed)
            teacher = trained(module)
        return State(
            seed=seed,
            round=0,
            student=trained(_built(self.student, self.lora_rank, seed)),
            moments={},
            teacher=teacher,
            present={},
            holders=(),
            signals={},
            tokens=0,
            uploads=0,
        )

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        state = replace(state, round=state.round + 1, tokens=0, uploads=0)
        modules = self.ready(state)
        settings = ClusterSettings(
            split=self.split,
            loss=self.loss,
            pipelined=self.pipelined,
            has_teacher=self.teacher is not None,
            adapters=self.lora_rank > 0,
        )
        for number, devices in enumerate(plan.clusters):
            cache = TeacherCache.of(self.loss.teacher_cache, state.signals)
            run = ClusterRun(
                settings=settings, modules=modules, state=state, number=number, cache=cache
            )
            state = yield from train_cluster(run, plan, devices)
        return state

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        return SplitWorker(
            device=device, data=data, split=self.split, seed=seed, front_of=self.front
        )

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        modules = self.ready(state)
        splitting.put_weights(modules.student, state.student)
        return {
            **self._quality("small", *nats_per_token(modules.student, test)),
            **(
                self._quality("large", *modules.teachers(test, state.teacher))
                if modules.teacher is not None
                else {}
            ),
            "tokens": float(state.tokens),
            "teacher_uploads": float(state.uploads),
            **self._spent(kept.values()),
        }

    def _quality(self, size: str, nats: float, correct_share: float) -> Metrics:
        return (
            {f"{size}_loss": nats}
            if self.split.classes is None
            else {f"{size}_accuracy": correct_share}
        )

    def _spent(self, kept: Iterable[Arrays]) -> Metrics:
        """The account of the sample that spent most, over the devices that can be seen."""
        if not self.split.noise:
            return {}
        accounts = [
            spent_nats(self.split, int(one["plan/cut"]), one["visits"])
            for one in kept
            if "visits" in one
        ]
        return {"noise_nats": max((float(account_S.max()) for account_S in accounts), default=0.0)}

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        modules = self.ready(state)
        splitting.put_weights(modules.student, state.student)
        taught_by = () if self.teacher is None else (self.teacher.name,)
        weights = _everything(modules.student)
        student = TrainedModel(
            model=self.student, weights=weights, size="small", distilled_from=taught_by
        )
        if not state.teacher or modules.teacher is None:
            return {"student": student}
        weights = _everything(modules.teacher)
        return {
            "student": student,
            "teacher": TrainedModel(model=self.teacher, weights=weights, size="large"),
        }

    def ready(self, state: State) -> ServerModules:
        """The modules, with this run's own teacher in them if it has one."""
        modules = self._modules()
        _check(state.student, modules.student)
        if state.teacher and modules.teacher is not None:
            splitting.put_weights(modules.teacher, state.teacher)
        return modules

    def front(self, whose: str, layers: int) -> LayeredFront:
        modules = self._modules()
        module = modules.student if whose == "student" else modules.teacher
        assert module is not None, "a device has layers of a teacher only where there is one"
        return LayeredFront(deepcopy(module), layers, self.split.lr)

    def _modules(self) -> ServerModules:
        return _scratch_modules(
            self.teacher, self.student, self.lora_rank, self.pretraining_data is not None
        )


@lru_cache(maxsize=4)
def _scratch_modules(
    teacher: LanguageModel | None, student: LanguageModel, lora_rank: int, pretrained: bool
) -> ServerModules:
    """Scratch: whoever takes it puts weights in first, and those of the teacher if the run has
    `pretrained` them."""
    large = None if teacher is None else teacher.build(0).requires_grad_(requires_grad=False)
    small = _built(student, lora_rank, 0)
    for module in (large, small):
        if module is not None:
            splitting.self_check(module)
    return ServerModules(large, small, student.classes)


def _check(weights: Arrays, module: nn.Module) -> None:
    """Raises RecordError for the weights of another model."""
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
    came = {name: array.shape for name, array in weights.items()}
    if came != shapes:
        strange = next(
            iter(
                sorted(
                    name
                    for name in came.keys() | shapes.keys()
                    if came.get(name) != shapes.get(name)
                )
            )
        )
        raise RecordError(
            f"the checkpoint is of another model: {strange} is {came.get(strange)} there and "
            f"{shapes.get(strange)} in the student that the settings name"
        )


def _built(student: LanguageModel, lora_rank: int, seed: int) -> nn.Module:
    module = student.build(seed)
    return splitting.add_lora(module, rank=lora_rank, seed=seed) if lora_rank else module


def _everything(module: nn.Module) -> Arrays:
    """All weights under the names of a model without adapters, which are merged into what they
    adapt."""
    return splitting.merged_weights(module)


def tiny() -> SplitKD:
    """The smallest useful instance: forty tokens, a teacher of two layers, a student of one width
    and two."""
    return SplitKD(
        teacher=LanguageModel(name="llama:64x2", vocabulary=40, context=8),
        student=LanguageModel(name="llama:32x2", vocabulary=40, context=8),
        split=SplitSettings(
            teacher=_traced("llama:64x2"),
            student=_traced("llama:32x2"),
            batch=2,
            steps=2,
            context=8,
        ),
        loss=Loss(draws=4),
    )


@lru_cache(maxsize=4)
def _traced(name: str) -> LanguageProfile:
    return trace(name, steps=8, vocabulary=40)
