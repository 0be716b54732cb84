"""A cluster's steps: micro-batches of several devices in flight, forward and back.

A round of a cluster is a fixed number of steps, and a step is a few micro-batches. Micro-batches
are numbered through the round; such a number is a *slot*. Of a slot, each participant gets one job
`step`, and all of them together are one wave that is started and collected later, first in, first
out, so that several slots are under way at a time:

    launch(step)    one wave for each of the step's slots: the device runs its front and sends
                    smashed data
    micro_batch     collects the oldest wave; the server finishes the forward pass, gets the loss
                    (with labels that stay on devices, by a wave `loss` of its own), runs the
                    backward pass and has the gradients
    send_back       gradients of smashed data return to their devices
    modules.step    the server's optimiser steps, once all micro-batches of the step have added to
                    the gradient

A gradient never waits for a job that would not come anyway. That of a step's last micro-batch is
`due`: it goes along with the device's next job, of the next step or of the round's end, and says
`apply`, upon which the device's optimiser steps. Those of earlier micro-batches go at once, in jobs
whose slot is `NOTHING`: nobody waits for them until the round ends. Where the run is pipelined, the
next step is launched before this one's gradients are known, so what is due comes one step later.

Who does not answer, or sends what makes no sense, is a participant no longer until the round ends.
What it sent before stays in the server's gradient and in the counts.

Axes: B samples of a micro-batch, K samples of a device in the round, T tokens of a window, D width
of the student.
"""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...core.chance import stream
from ...core.errors import WireError
from ...core.prefix import prefixed, under
from ...core.types import (
    Arrays,
    ArraySpec,
    Assignment,
    Collect,
    DeviceId,
    Expected,
    Job,
    LayerProfile,
    Load,
    Reply,
    Result,
    Start,
    Wave,
    Work,
)
from . import codec
from .modules import DevicePart, Forwarded, Loss, ServerModules, Smashed
from .settings import NOTHING, SplitSettings
from .state import State
from .teacher_cache import TeacherCache

MOST_SMASHED = 1e5
"""Hidden states of decoders stay well below; a device that sends more is left out."""
SLACK = 10.0
"""Adam moves a weight by about its step size in a step; what was learnt may have this many times
that norm."""

Steps = Generator[Any, Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What a cluster's steps must know of the method."""

    split: SplitSettings
    loss: Loss
    pipelined: bool
    """Whether a step begins before the gradient of the one before has come."""
    has_teacher: bool
    adapters: bool
    """Whether adapters are trained, and the rest of the student is frozen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Participant:
    """A device that takes part, and the samples it is about to send."""

    device: DeviceId
    assignment: Assignment
    digests_K: np.ndarray
    lengths_K: np.ndarray


@dataclass(slots=True, kw_only=True)
class ClusterRun:
    """What goes on in a cluster until its round is over."""

    settings: ClusterSettings
    modules: ServerModules
    state: State
    number: int
    """The cluster's place in the plan."""
    cache: TeacherCache
    participants: dict[DeviceId, Participant] = field(default_factory=dict)
    """The devices that have answered every job so far."""
    due: dict[DeviceId, dict[str, np.ndarray]] = field(default_factory=dict)
    """Gradients that go along with the next job."""
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)
    """Slot and ticket of each micro-batch that is under way."""
    acknowledged: list[int] = field(default_factory=list)
    """Tickets of jobs that carried a gradient alone."""
    tokens: dict[DeviceId, int] = field(default_factory=dict)
    """How many tokens each device's samples have predicted so far."""
    uploads: int = 0
    """How many samples' teacher parts were sent so far."""
    cuts: dict[DeviceId, int] = field(default_factory=dict)
    """The cut of everybody who began, whether they are still there or not."""
    asked: dict[tuple[DeviceId, int], np.ndarray] = field(default_factory=dict)
    """The samples, by device and slot, of which the teacher's part was asked for."""

    # --- jobs

    def job(
        self,
        device: DeviceId,
        op: str,
        mark: str,
        arrays: Arrays,
        expected: Mapping[str, ArraySpec],
    ) -> Job:
        """A job of this round and cluster; `mark` makes its name the only one of its device."""
        most_norm = self.most_learnt(expected) if op == "end" else float("inf")
        return Job(
            id=f"{self.state.round}.{self.number}.{mark}.{device}",
            device=device,
            op=op,
            arrays=arrays,
            expected=Expected(arrays=expected, most_norm=most_norm),
        )

    def most_learnt(self, expected: Mapping[str, ArraySpec]) -> float:
        """Norm of what a device can have learnt in a round."""
        split = self.settings.split
        count = sum(int(np.prod(one.shape)) for one in expected.values())
        return SLACK * split.lr * split.steps * float(np.sqrt(count))

    def samples(self, slot: int) -> slice:
        """Which of a device's K samples a micro-batch has."""
        split = self.settings.split
        step, part = divmod(slot, split.micro_batches)
        sizes = [len(rows) for rows in np.array_split(np.arange(split.batch), split.micro_batches)]
        first = step * split.batch + sum(sizes[:part])
        return slice(first, first + sizes[part])

    def need(self, participant: Participant, slot: int) -> np.ndarray:
        """Of which samples the teacher's part is to come, [B]."""
        digests_B = participant.digests_K[self.samples(slot)]
        if not self.settings.has_teacher:
            return np.zeros(len(digests_B), bool)
        return ~self.cache.knows(digests_B)

    def step_share(self, step: int) -> float:
        """One over the positions that a step predicts, on all devices."""
        split = self.settings.split
        rows = slice(step * split.batch, (step + 1) * split.batch)
        counts = [positions(split, one.lengths_K[rows]) for one in self.participants.values()]
        return 1.0 / max(1, sum(counts))

    def step_job(self, participant: Participant, slot: int) -> Job:
        """A device's micro-batch, with the gradient that is due."""
        device = participant.device
        due = self.due.pop(device, {})
        need_B = self.need(participant, slot)
        self.asked[device, slot] = need_B
        arrays = {"slot": np.array(slot), "need": need_B, "apply": np.array(False), **due}
        answer = _smashed_spec(self.settings.split, participant.assignment, need_B)
        return self.job(device, "step", f"step{slot}", arrays, answer)

    def launch(self, step: int) -> Steps:
        """Start all micro-batches of a step."""
        count = self.settings.split.micro_batches
        for slot in range(step * count, (step + 1) * count):
            jobs = [self.step_job(one, slot) for one in self.participants.values()]
            ticket = yield Start(Wave(jobs=jobs))
            self.in_flight.append((slot, ticket))

    # --- training

    def train(self) -> Steps:
        """All steps of the round."""
        split = self.settings.split
        pipelined = self.settings.pipelined
        yield from self.launch(0)
        for step in range(split.steps):
            goes_on = step + 1 < split.steps
            if pipelined and goes_on:
                yield from self.launch(step + 1)
            share = self.step_share(step)
            for part in range(split.micro_batches):
                yield from self.micro_batch(share, last=part == split.micro_batches - 1)
            self.modules.step(share)
            if goes_on and not pipelined:
                yield from self.launch(step + 1)
        for ticket in self.acknowledged:
            self.keep_present((yield Collect(ticket)))

    def micro_batch(self, share: float, *, last: bool) -> Steps:
        """Collect the oldest micro-batch, and carry it forward and back."""
        slot, ticket = self.in_flight.popleft()
        parts = self.read((yield Collect(ticket)), slot)
        if not parts:
            return
        loss = self.settings.loss
        rng = stream(self.state.seed, "signals", self.state.round, self.number, slot)
        done = self.modules.forward(list(parts.values()), loss, self.cache, rng)
        yield Work(self.forward_load(parts))
        kept = None
        if self.settings.split.labels == "kept":
            kept = yield from self.losses_of(parts, done, slot, share)
        self.modules.backward(done, loss, kept)
        yield Work(self.backward_load(parts))
        self.note(parts)
        yield from self.send_back(parts, done, slot, share, last=last)

    def read(self, results: Sequence[Result], slot: int) -> dict[DeviceId, DevicePart]:
        """What devices sent; those whose part makes no sense are out of this round."""
        parts: dict[DeviceId, DevicePart] = {}
        for reply in self.keep_present(results):
            part = _read(self, reply, slot)
            if part is None:
                self.participants.pop(reply.device)
            else:
                parts[reply.device] = part
        return parts

    def losses_of(
        self, parts: Mapping[DeviceId, DevicePart], done: Forwarded, slot: int, share: float
    ) -> Steps:
        """Where labels stay on devices: each computes its cross-entropy from the last hidden
        states."""
        weight = share * (1.0 - self.settings.loss.kd_weight if self.settings.has_teacher else 1.0)
        jobs = [
            self.loss_job(device, done.hidden_of(i), slot, weight) for i, device in enumerate(parts)
        ]
        replies = {reply.device: reply for reply in self.keep_present((yield Wave(jobs=jobs)))}
        gradients = []
        for i, device in enumerate(parts):
            if device in replies:
                gradients.append(codec.decode(under("gradient", replies[device].arrays)))
            else:
                gradients.append(np.zeros_like(done.hidden_of(i)))
        return gradients

    def loss_job(self, device: DeviceId, hidden_ND: np.ndarray, slot: int, weight: float) -> Job:
        """A device's last hidden states, to be held against its labels."""
        arrays = {"slot": np.array(slot), "share": np.array(weight, np.float32)}
        arrays |= prefixed("hidden", codec.encode(hidden_ND, 16))
        shape = (hidden_ND.shape[0], hidden_ND.shape[1])
        gradient = codec.spec(shape, self.settings.split.gradient_bits)
        answer = {"nats": ArraySpec("<f4", ()), **prefixed("gradient", gradient)}
        return self.job(device, "loss", f"loss{slot}", arrays, answer)

    def send_back(
        self,
        parts: Mapping[DeviceId, DevicePart],
        done: Forwarded,
        slot: int,
        share: float,
        *,
        last: bool,
    ) -> Steps:
        """Gradients of the smashed data: alone, or, of a step's last micro-batch, with the job that
        comes next."""
        jobs = []
        for device, gradient in zip(parts, done.gradients(), strict=True):
            if device not in self.participants:
                continue
            back = self.gradient_arrays(self.participants[device], gradient, slot, share)
            if last:
                self.due[device] = {**back, "apply": np.array(True)}
            elif back:
                arrays = {"slot": np.array(NOTHING), "apply": np.array(False), **back}
                jobs.append(self.job(device, "step", f"back{slot}", arrays, {}))
        if jobs:
            self.acknowledged.append((yield Start(Wave(jobs=jobs))))

    def gradient_arrays(
        self, participant: Participant, gradient: np.ndarray, slot: int, share: float
    ) -> dict[str, np.ndarray]:
        """A gradient as it returns; nothing to a device that trains nothing."""
        split = self.settings.split
        if not split.train_rows and not participant.assignment.cut:
            return {}
        encoded = codec.encode(gradient, split.gradient_bits)
        return {
            "back_slot": np.array(slot),
            "share": np.array(share, np.float32),
            **prefixed("back", encoded),
        }

    def keep_present(self, results: Sequence[Result]) -> list[Reply]:
        """Those who answered; the others are out of this round."""
        for result in results:
            if not isinstance(result, Reply):
                self.participants.pop(result.device, None)
        return [
            result
            for result in results
            if isinstance(result, Reply) and result.device in self.participants
        ]

    def note(self, parts: Mapping[DeviceId, DevicePart]) -> None:
        """Add a micro-batch to the counts."""
        for device, part in parts.items():
            predicted = positions(self.settings.split, part.student.lengths_B)
            self.tokens[device] = self.tokens.get(device, 0) + predicted
            self.uploads += int(part.need_B.sum())

    # --- what it takes

    def forward_load(self, parts: Mapping[DeviceId, DevicePart]) -> Load:
        """What the server's forward pass of a micro-batch takes."""
        split = self.settings.split
        flops = 0.0
        for part in parts.values():
            flops += _tokens(part.student) * _forward_flops(
                split.student.layers[part.student.cut :]
            )
            if part.teacher is not None:
                layers = _forward_flops(split.teacher.layers[part.teacher.cut :])
                flops += _tokens(part.teacher) * (layers + split.teacher.head_flops)
        return Load(flops=flops)

    def backward_load(self, parts: Mapping[DeviceId, DevicePart]) -> Load:
        """Twice the forward pass of what is trained, half of it where weights are frozen; and the
        output table."""
        student = self.settings.split.student
        times = 1 if self.settings.adapters else 2
        flops = 0.0
        for part in parts.values():
            layers = _forward_flops(student.layers[part.student.cut :])
            flops += _tokens(part.student) * (times * layers + (1 + times) * student.head_flops)
        return Load(flops=flops)


def _tokens(smashed: Smashed) -> float:
    return float(smashed.lengths_B.sum())


def _forward_flops(layers: Sequence[LayerProfile]) -> float:
    return sum(layer.forward_flops for layer in layers)


def positions(split: SplitSettings, lengths: np.ndarray) -> int:
    """How many predictions samples of these lengths are judged by: one each of a classifier."""
    return len(lengths) if split.classes else int((lengths - 1).sum())


def _smashed_spec(
    split: SplitSettings, assignment: Assignment, need_B: np.ndarray
) -> dict[str, ArraySpec]:
    """What a device's answer to a job `step` looks like."""
    spec = _model_spec(split, "student", len(need_B), assignment)
    spec |= _model_spec(split, "teacher", int(need_B.sum()), assignment)
    if split.labels == "shared":
        shape = (len(need_B),) if split.classes else (len(need_B), split.context)
        spec["labels"] = ArraySpec("<i4", shape)
    return spec


def _model_spec(
    split: SplitSettings, whose: str, samples: int, assignment: Assignment
) -> dict[str, ArraySpec]:
    """One model's smashed data of so many samples."""
    if not samples:
        return {}
    of_student = whose == "student"
    cut = assignment.cut if of_student else assignment.teacher_cut
    width = split.student.width if of_student else split.teacher.width
    spec = codec.spec((samples * split.context, width), assignment.bits)
    if cut == 0 and split.sends_distinct:
        spec = {name: replace(one, at_most=bool(one.shape)) for name, one in spec.items()}
        spec["index"] = ArraySpec(
            codec.index_dtype(samples * split.context), (samples, split.context)
        )
    return prefixed(whose, spec)


def _read(run: ClusterRun, reply: Reply, slot: int) -> DevicePart | None:
    """A device's part of a micro-batch; None if it makes no sense."""
    participant = run.participants[reply.device]
    assignment = participant.assignment
    chosen = run.samples(slot)
    lengths_B = participant.lengths_K[chosen]
    teacher_arrays = under("teacher", reply.arrays)
    teacher = None
    try:
        student = _smashed(under("student", reply.arrays), assignment.cut, lengths_B)
        need_B = run.asked.pop((reply.device, slot))
        if teacher_arrays:
            teacher = _smashed(teacher_arrays, assignment.teacher_cut, lengths_B[need_B])
    except WireError:
        return None
    labels = reply.arrays.get("labels")
    if labels is not None and not _plausible(labels, run.settings.split):
        return None
    return DevicePart(
        student=student,
        teacher=teacher,
        need_B=need_B,
        digests_B=participant.digests_K[chosen],
        labels=labels,
    )


def _plausible(labels: np.ndarray, split: SplitSettings) -> bool:
    classes = split.classes or split.student.vocabulary
    return bool(labels.max() < classes and labels.min() >= -1)


def _smashed(arrays: Arrays, cut: int, lengths_B: np.ndarray) -> Smashed:
    """Raises WireError."""
    values = codec.decode(arrays)
    index_BT = arrays.get("index")
    largest = np.abs(values).max(initial=0)
    if largest > MOST_SMASHED:
        raise WireError(f"smashed data reach {largest:.3g}, over {MOST_SMASHED:.3g}")
    if index_BT is not None and index_BT.size and index_BT.max() >= len(values):
        raise WireError(f"index {index_BT.max()} into {len(values)} rows")
    return Smashed(values=values, index_BT=index_BT, cut=cut, lengths_B=lengths_B)
