"""A cluster's steps: micro-batches of several devices in flight, forward and back.

Axes: B samples of a micro-batch, K samples of a device in the round, T tokens of a window, D width of the
student.
"""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.chance import stream
from ...core.errors import WireError
from ...core.types import (
    Arrays,
    ArraySpec,
    Assignment,
    Collect,
    DeviceId,
    Expected,
    Job,
    Load,
    Reply,
    Result,
    Start,
    Wave,
    Work,
)
from . import codec
from .modules import DevicePart, Forwarded, ServerModules, Smashed
from .settings import NOTHING
from .teacher_cache import TeacherCache

if TYPE_CHECKING:
    from .server import SplitKD
    from .state import State

MOST_SMASHED = 1e5
"""Hidden states of decoders stay well below; a device that sends more is left out."""
SLACK = 10.0
"""Adam moves a weight by about its step size in a step; what was learnt may have this many times that norm."""

Steps = Generator[Any, Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Participant:
    """A device that takes part, and the samples it is about to send."""

    device: DeviceId
    how: Assignment
    digests_K: np.ndarray
    lengths_K: np.ndarray


@dataclass(slots=True, kw_only=True)
class ClusterRun:
    """What goes on in a cluster until its round is over."""

    method: "SplitKD"
    studio: ServerModules
    state: "State"
    number: int
    seats: dict[DeviceId, Participant]
    memory: TeacherCache
    due: dict[DeviceId, dict[str, np.ndarray]] = field(default_factory=dict)
    """Gradients that go along with the next job."""
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)
    """Slot and ticket of each micro-batch that is under way."""
    acknowledged: list[int] = field(default_factory=list)
    """Tickets of jobs that carried a gradient alone."""
    tokens: dict[DeviceId, int] = field(default_factory=dict)
    """Predicted so far."""
    uploads: int = 0
    cuts: dict[DeviceId, int] = field(default_factory=dict)
    """Of everybody who began, whether they are still there or not."""
    asked: dict[tuple[DeviceId, int], np.ndarray] = field(default_factory=dict)
    """Of which samples of a slot the teacher's part was asked for."""

    # --- jobs

    def job(self, device: DeviceId, op: str, mark: str, arrays: Arrays, expected: Mapping[str, ArraySpec]) -> Job:
        name = f"{self.state.round}.{self.number}.{mark}.{device}"
        most_norm = self.most_learnt(expected) if op == "end" else float("inf")
        return Job(
            id=name, device=device, op=op, arrays=arrays, expected=Expected(arrays=expected, most_norm=most_norm)
        )

    def most_learnt(self, expected: Mapping[str, ArraySpec]) -> float:
        """Norm of what a device can have learnt in a round."""
        count = sum(int(np.prod(one.shape)) for one in expected.values())
        return SLACK * self.method.split.lr * self.method.split.steps * float(np.sqrt(count))

    def samples(self, slot: int) -> slice:
        """Which of a device's K samples a micro-batch has."""
        split = self.method.split
        step, part = divmod(slot, split.micro_batches)
        sizes = [len(rows) for rows in np.array_split(np.arange(split.batch), split.micro_batches)]
        first = step * split.batch + sum(sizes[:part])
        return slice(first, first + sizes[part])

    def need(self, seat: Participant, slot: int) -> np.ndarray:
        """Of which samples the teacher's part is to come, [B]."""
        digests_B = seat.digests_K[self.samples(slot)]
        if self.method.teacher is None:
            return np.zeros(len(digests_B), bool)
        return ~self.memory.knows(digests_B)

    def step_share(self, step: int) -> float:
        """One over the positions that a step predicts, on all devices."""
        batch = self.method.split.batch
        rows = slice(step * batch, (step + 1) * batch)
        return 1.0 / max(1, sum(_counted(self.method, seat.lengths_K[rows]) for seat in self.seats.values()))

    def step_job(self, seat: Participant, slot: int) -> Job:
        due = self.due.pop(seat.device, {})
        need_B = self.asked[seat.device, slot] = self.need(seat, slot)
        arrays = {"slot": np.array(slot), "need": need_B, "apply": np.array(False), **due}
        return self.job(seat.device, "step", f"step{slot}", arrays, _smashed_spec(self.method, seat, need_B))

    def launch(self, step: int) -> Steps:
        for part in range(self.method.split.micro_batches):
            slot = step * self.method.split.micro_batches + part
            jobs = [self.step_job(seat, slot) for seat in self.seats.values()]
            ticket = yield Start(Wave(jobs=jobs))
            self.in_flight.append((slot, ticket))

    # --- training

    def train(self) -> Steps:
        split = self.method.split
        yield from self.launch(0)
        for step in range(split.steps):
            if self.method.late and step + 1 < split.steps:
                yield from self.launch(step + 1)
            share = self.step_share(step)
            for part in range(split.micro_batches):
                yield from self.micro_batch(share, last=part == split.micro_batches - 1)
            self.studio.step(share)
            if not self.method.late and step + 1 < split.steps:
                yield from self.launch(step + 1)
        for ticket in self.acknowledged:
            self.keep_present((yield Collect(ticket)))

    def micro_batch(self, share: float, *, last: bool) -> Steps:
        slot, ticket = self.in_flight.popleft()
        replies = self.keep_present((yield Collect(ticket)))
        parts: dict[DeviceId, DevicePart] = {}
        for reply in replies:
            part = _read(self, reply, slot)
            if part is None:
                self.seats.pop(reply.device)
            else:
                parts[reply.device] = part
        if not parts:
            return
        rng = stream(self.state.seed, "signals", self.state.round, self.number, slot)
        done = self.studio.forward(list(parts.values()), self.method.loss, self.memory, rng)
        yield Work(self.forward_load(parts))
        kept = (yield from self.losses_of(parts, done, slot, share)) if self.method.split.labels == "kept" else None
        self.studio.backward(done, self.method.loss, kept)
        yield Work(self.backward_load(parts))
        self.note(parts)
        yield from self.send_back(parts, done, slot, share, last=last)

    def losses_of(self, parts: Mapping[DeviceId, DevicePart], done: Forwarded, slot: int, share: float) -> Steps:
        """Where labels stay on devices: each computes its cross-entropy from the last hidden states."""
        split, jobs = self.method.split, []
        weight = share * (1.0 - self.method.loss.kd_weight if self.method.teacher is not None else 1.0)
        for i, device in enumerate(parts):
            hidden = done.hidden_of(i)
            arrays = {"slot": np.array(slot), "share": np.array(weight, np.float32)}
            arrays |= codec.named("hidden", codec.encode(hidden, 16))
            spec = codec.named("gradient", codec.spec((hidden.shape[0], hidden.shape[1]), split.gradient_bits))
            jobs.append(self.job(device, "loss", f"loss{slot}", arrays, {"nats": ArraySpec("<f4", ()), **spec}))
        came = {reply.device: reply for reply in self.keep_present((yield Wave(jobs=jobs)))}
        return [
            codec.decode(codec.part(came[device].arrays, "gradient"))
            if device in came
            else np.zeros_like(done.hidden_of(i))
            for i, device in enumerate(parts)
        ]

    def send_back(
        self, parts: Mapping[DeviceId, DevicePart], done: Forwarded, slot: int, share: float, *, last: bool
    ) -> Steps:
        """Gradients of the smashed data: alone, or, of a step's last micro-batch, with the job that comes next."""
        jobs = []
        for device, gradient in zip(parts, done.gradients(), strict=True):
            if device not in self.seats:
                continue
            seat = self.seats[device]
            back: dict[str, np.ndarray] = {}
            if self.method.split.train_rows or seat.how.cut:
                encoded = codec.encode(gradient, self.method.split.gradient_bits)
                back = {
                    "back_slot": np.array(slot),
                    "share": np.array(share, np.float32),
                    **codec.named("back", encoded),
                }
            if last:
                self.due[device] = {**back, "apply": np.array(True)}
            elif back:
                arrays = {"slot": np.array(NOTHING), "apply": np.array(False), **back}
                jobs.append(self.job(device, "step", f"back{slot}", arrays, {}))
        if jobs:
            self.acknowledged.append((yield Start(Wave(jobs=jobs))))

    def keep_present(self, results: Sequence[Result]) -> list[Reply]:
        """Those who answered; the others are out of this round."""
        for result in results:
            if not isinstance(result, Reply):
                self.seats.pop(result.device, None)
        return [result for result in results if isinstance(result, Reply) and result.device in self.seats]

    def note(self, parts: Mapping[DeviceId, DevicePart]) -> None:
        for device, part in parts.items():
            counted = _counted(self.method, part.student.lengths_B)
            self.tokens[device] = self.tokens.get(device, 0) + counted
            self.uploads += int(part.need_B.sum())

    # --- what it takes

    def forward_load(self, parts: Mapping[DeviceId, DevicePart]) -> Load:
        split = self.method.split
        flops = 0.0
        for part in parts.values():
            tokens = float(part.student.lengths_B.sum())
            flops += tokens * sum(layer.forward_flops for layer in split.student.layers[part.student.cut :])
            if part.teacher is not None:
                tokens = float(part.teacher.lengths_B.sum())
                layers = sum(layer.forward_flops for layer in split.teacher.layers[part.teacher.cut :])
                flops += tokens * (layers + split.teacher.head_flops)
        return Load(flops=flops)

    def backward_load(self, parts: Mapping[DeviceId, DevicePart]) -> Load:
        """Twice the forward pass of what is trained, half of it where weights are frozen; and the output table."""
        split, times = self.method.split, 1 if self.method.lora_rank else 2
        flops = 0.0
        for part in parts.values():
            tokens = float(part.student.lengths_B.sum())
            layers = sum(layer.forward_flops for layer in split.student.layers[part.student.cut :])
            flops += tokens * (times * layers + (1 + times) * split.student.head_flops)
        return Load(flops=flops)


def _smashed_spec(method: "SplitKD", seat: Participant, need_B: np.ndarray) -> dict[str, ArraySpec]:
    split = method.split
    spec: dict[str, ArraySpec] = {}
    for whose, samples, cut in (
        ("student", len(need_B), seat.how.cut),
        ("teacher", int(need_B.sum()), seat.how.teacher_cut),
    ):
        if not samples:
            continue
        width = (split.student if whose == "student" else split.teacher).width
        plain = codec.spec((samples * split.context, width), seat.how.bits)
        if cut == 0 and split.sends_distinct:
            plain = {name: replace(one, at_most=bool(one.shape)) for name, one in plain.items()}
            plain["index"] = ArraySpec(codec.index_dtype(samples * split.context), (samples, split.context))
        spec |= codec.named(whose, plain)
    if split.labels == "shared":
        shape = (len(need_B),) if split.classes else (len(need_B), split.context)
        spec["labels"] = ArraySpec("<i4", shape)
    return spec


def _read(session: ClusterRun, reply: Reply, slot: int) -> DevicePart | None:
    """A device's part of a micro-batch; None if it makes no sense."""
    split, seat = session.method.split, session.seats[reply.device]
    chosen = session.samples(slot)
    lengths_B = seat.lengths_K[chosen]
    has_teacher = any(name.startswith("teacher/") for name in reply.arrays)
    try:
        student = _smashed(codec.part(reply.arrays, "student"), seat.how.cut, lengths_B)
        need_B = session.asked.pop((reply.device, slot))
        teacher = (
            _smashed(codec.part(reply.arrays, "teacher"), seat.how.teacher_cut, lengths_B[need_B])
            if has_teacher
            else None
        )
    except WireError:
        return None
    labels = reply.arrays.get("labels")
    classes = split.classes or split.student.vocabulary
    if labels is not None and (labels.max() >= classes or labels.min() < -1):
        return None
    return DevicePart(student=student, teacher=teacher, need_B=need_B, digests_B=seat.digests_K[chosen], labels=labels)


def _smashed(arrays: Arrays, cut: int, lengths_B: np.ndarray) -> Smashed:
    """Raises WireError."""
    values, index_BT = codec.decode(arrays), arrays.get("index")
    if values.size and np.abs(values).max() > MOST_SMASHED:
        raise WireError(f"smashed data reach {np.abs(values).max():.3g}, over {MOST_SMASHED:.3g}")
    if index_BT is not None and index_BT.size and index_BT.max() >= len(values):
        raise WireError(f"index {index_BT.max()} into {len(values)} rows")
    return Smashed(values=values, index_BT=index_BT, cut=cut, lengths_B=lengths_B)


def _counted(method: "SplitKD", lengths: np.ndarray) -> int:
    return len(lengths) if method.split.classes else int((lengths - 1).sum())
