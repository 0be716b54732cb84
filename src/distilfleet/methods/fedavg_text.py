"""Federated averaging of a language model: devices train the whole student on their own windows,
the server averages.

Weights travel as half floats, down whole and up as what a round changed; the average is weighted by
the tokens that a device predicted. Adam's moments stay on the device from round to round.

Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
AISTATS 2017. https://arxiv.org/abs/1602.05629
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..core.answers import answered, train_jobs
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
    Reply,
    Round,
    TrainedModel,
)
from ..nn.language import LanguageModel
from ..nn.loads import frames
from ..nn.merge import Merged, combine
from ..nn.token_training import (
    TokenTraining,
    predicted,
    quality,
    rows_of,
    scratch,
    train_steps,
    training_load,
)
from ..nn.trace import trace
from ..nn.weights import norm, put, to_arrays
from ..trust.choices import Rule

TOKENS = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    round: int
    student: Arrays


@dataclass(slots=True, kw_only=True)
class Trainer:
    """Trains the student that comes with the job, and keeps the optimiser's moments."""

    device: Device
    data: Dataset
    model: LanguageModel
    profile: LanguageProfile
    training: TokenTraining
    seed: int
    moments: Arrays = field(default_factory=dict)

    def load(self, job: Job) -> Load:
        return training_load(self.profile, self.training, self.model.context) + frames(job)

    def handle(self, job: Job) -> Arrays:
        number = int(job.arrays["round"])
        before = {
            name: array.astype(np.float32) for name, array in job.arrays.items() if name != "round"
        }
        module = put(scratch(self.model), before)
        key = (self.seed, "windows", self.device.id)
        rows_SB = rows_of(len(self.data), self.training, number, key)
        self.moments = train_steps(module, self.data, rows_SB, self.training, self.moments)
        learnt = {}
        for name, after in to_arrays(module).items():
            learnt[name] = (after - before[name]).astype(np.float16)
        tokens = int(predicted(self.data)[rows_SB].sum())
        return {**learnt, TOKENS: np.array(tokens)}

    def own_model(self, received: Arrays) -> TrainedModel:
        """The model that the device has at the end of a run, which the server sends."""
        return TrainedModel(model=self.model, weights=received, size="small")

    def snapshot(self) -> Arrays:
        return self.moments

    def restore(self, kept: Arrays) -> None:
        self.moments = dict(kept)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FedAvgText:
    """See the module docstring."""

    student: LanguageModel
    profile: LanguageProfile
    training: TokenTraining
    aggregate: Rule = "mean"

    @property
    def facts(self) -> MethodFacts:
        return MethodFacts(
            title="FedAvg",
            story=(
                f"In each round $devices trained the whole small model ({self.student.name}) on "
                "private text and sent what had changed in its weights; the server averaged that "
                "by tokens. There was no teacher.",
            ),
            discloses="weights",
            disclosure="weights and token counts: the server sees each device's trained student, "
            "never its text",
        )

    def init(self, seed: int) -> State:
        return State(round=0, student=to_arrays(self.student.build(seed)))

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        number = state.round + 1
        sent = {name: array.astype(np.float16) for name, array in state.student.items()}
        arrays = {**sent, "round": np.array(number)}
        jobs = train_jobs(number, plan.devices, arrays, self._expected(state.student))
        replies = yield from answered(jobs, plan)
        if not replies:
            return State(round=number, student=state.student)
        merged = self._merged(sent, replies)
        yield from merged.discounts
        student = {}
        for name, step in merged.weights.items():
            student[name] = sent[name].astype(np.float32) + step
        return State(round=number, student=student)

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        return Trainer(
            device=device,
            data=data,
            model=self.student,
            profile=self.profile,
            training=self.training,
            seed=seed,
        )

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        return quality("small", put(scratch(self.student), state.student), test)

    def device_model(self, kind: str) -> str | None:
        """See `core.protocols.Method`."""
        return "student"

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        return {"student": TrainedModel(model=self.student, weights=state.student, size="small")}

    def _expected(self, student: Arrays) -> Expected:
        arrays = {name: ArraySpec("<f2", array.shape) for name, array in student.items()}
        return Expected(
            arrays={**arrays, TOKENS: ArraySpec("<i8", ())}, most_norm=10 * norm(student)
        )

    def _merged(self, sent: Arrays, replies: list[Reply]) -> Merged:
        """Of what the round changed; a device counts for no more tokens than its steps can have."""
        most = self.training.steps * self.training.batch * self.student.context
        shares = [float(np.clip(reply.arrays[TOKENS], 1, most)) for reply in replies]
        learnt = [
            {name: np.asarray(reply.arrays[name], np.float32) for name in sent} for reply in replies
        ]
        nothing = {name: np.zeros(array.shape, np.float32) for name, array in sent.items()}
        return combine(learnt, nothing, shares, [reply.device for reply in replies], self.aggregate)


def tiny() -> FedAvgText:
    """The smallest useful instance: forty tokens, two layers."""
    return FedAvgText(
        student=LanguageModel(name="llama:32x2", vocabulary=40, context=8),
        profile=trace("llama:32x2", steps=8, vocabulary=40),
        training=TokenTraining(steps=2, batch=2),
    )
