"""Distillation on pooled text: devices send all their windows once, and the server has teacher,
student and data.

What split KD is held against: the same teacher, loss, steps, windows per step and step size,
without the split, the wire's rounding and the averaging. No privacy.

Axes: n windows, T tokens of a window.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.answers import answered
from ..core.protocols import MethodFacts, Worker
from ..core.types import (
    Arrays,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Job,
    LanguageProfile,
    Load,
    Metrics,
    Plan,
    Reply,
    Round,
    TrainedModel,
    Work,
)
from ..nn.data_worker import INPUTS, LABELS, DataWorker, data_job, paired
from ..nn.language import LanguageModel
from ..nn.pretrain import Pretraining, pretraining_story
from ..nn.token_training import (
    TokenTraining,
    dense,
    forward_flops,
    pretrained,
    quality,
    rows_of,
    scratch,
    train_steps,
    training_load,
)
from ..nn.trace import trace
from ..nn.weights import put, to_arrays

NARROW = np.iinfo(np.int16).max
"""Up to this id, two bytes are a token's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    seed: int
    round: int
    student: Arrays
    moments: Arrays
    teacher: Arrays
    """Empty without one."""
    givers: tuple[DeviceId, ...]
    """Devices whose windows the server has."""
    windows: np.ndarray
    labels: np.ndarray
    """Classes; empty for a language model."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CentralKD:
    """See the module docstring."""

    teacher: LanguageModel | None
    """None: cross-entropy alone."""
    student: LanguageModel
    profiles: Mapping[str, LanguageProfile]
    """What each model takes, by its name."""
    training: TokenTraining
    """How the server trains the student; its `batch` is that of all devices together."""
    pretraining_data: Dataset | None = None
    """Windows that the server owns and trains the teacher on; None: the teacher comes trained."""
    pretraining: Pretraining = field(default_factory=Pretraining)

    @property
    def facts(self) -> MethodFacts:
        teacher = "" if self.teacher is None else f" and from its large model ({self.teacher.name})"
        stays = "" if self.teacher is None else ", which stayed as it was"
        return MethodFacts(
            title="Central KD",
            story=(
                *pretraining_story(self.teacher, self.pretraining_data),
                f"There the small model ({self.student.name}) learnt from the pooled "
                f"text{teacher}{stays}, without regard to privacy: an upper reference for split "
                "KD.",
            ),
            discloses="everything",
            disclosure="everything: all text of all devices that took part lies on the server",
            frozen_teacher=True,
        )

    def init(self, seed: int) -> State:
        return State(
            seed=seed,
            round=0,
            student=to_arrays(self.student.build(seed)),
            moments={},
            teacher={}
            if self.teacher is None
            else pretrained(self.teacher, self.pretraining_data, self.pretraining, seed),
            givers=(),
            windows=np.zeros((0, self.student.context), np.int32),
            labels=np.zeros(0, np.int64),
        )

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        number = state.round + 1
        known = frozenset(state.givers)
        jobs = [self._ask(number, device) for device in plan.devices if device not in known]
        replies = paired((yield from answered(jobs, replace(plan, goal=None))) if jobs else [])
        state = replace(self._with(state, replies), round=number)
        if not len(state.windows):
            return state
        module = put(scratch(self.student), state.student)
        teacher = None
        if self.teacher is not None:
            teacher = dense(put(scratch(self.teacher), state.teacher))
        rows_SB = rows_of(len(state.windows), self.training, number, (state.seed, "central"))
        moments = train_steps(
            module, self._pool(state), rows_SB, self.training, state.moments, teacher
        )
        yield Work(self._load())
        return replace(state, student=to_arrays(module), moments=moments)

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        return DataWorker(data=data)

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        small = quality("small", put(scratch(self.student), state.student), test)
        if self.teacher is None:
            return small
        return {**small, **quality("large", put(scratch(self.teacher), state.teacher), test)}

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        taught_by = () if self.teacher is None else (self.teacher.name,)
        student = TrainedModel(
            model=self.student, weights=state.student, size="small", distilled_from=taught_by
        )
        if not state.teacher:
            return {"student": student}
        teacher = TrainedModel(model=self.teacher, weights=state.teacher, size="large")
        return {"student": student, "teacher": teacher}

    def _ask(self, number: int, device: DeviceId) -> Job:
        dtype = "<i2" if self.student.vocabulary <= NARROW else "<i4"
        return data_job(
            number, device, dtype, (self.student.context,), self.student.classes is not None
        )

    def _with(self, state: State, replies: list[Reply]) -> State:
        """Ids and classes that there are not are as good as none: a device that sends some is taken
        for padding."""
        came = [np.minimum(reply.arrays[INPUTS], self.student.vocabulary - 1) for reply in replies]
        most = (self.student.classes or 1) - 1
        labels = [
            np.clip(reply.arrays[LABELS], 0, most) for reply in replies if LABELS in reply.arrays
        ]
        return replace(
            state,
            windows=np.concatenate([state.windows, *came]).astype(np.int32),
            labels=np.concatenate([state.labels, *labels]),
            givers=(*state.givers, *(reply.device for reply in replies)),
        )

    def _pool(self, state: State) -> Dataset:
        return Dataset(state.windows, None if self.student.classes is None else state.labels)

    def _load(self) -> Load:
        context = self.student.context
        own = training_load(self.profiles[self.student.name], self.training, context)
        if self.teacher is None:
            return own
        return own + Load(
            flops=forward_flops(self.profiles[self.teacher.name])
            * self.training.batch
            * context
            * self.training.steps
        )


def tiny() -> CentralKD:
    """The smallest useful instance: forty tokens."""
    teacher, student = (
        LanguageModel(name=name, vocabulary=40, context=8) for name in ("llama:64x2", "llama:32x2")
    )
    return CentralKD(
        teacher=teacher,
        student=student,
        profiles={one.name: trace(one.name, steps=8, vocabulary=40) for one in (teacher, student)},
        training=TokenTraining(steps=2, batch=8),
    )
