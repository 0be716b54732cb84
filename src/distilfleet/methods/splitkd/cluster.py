"""One cluster's part of a round: its devices' steps in parallel, and what comes of them.

Axes: B samples of a micro-batch, K samples of a device in the round, T tokens of a window, R rows of a device, V
vocabulary, D width of the student.
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
    Plan,
    Reply,
    Result,
    Start,
    Wave,
    Work,
)
from ...nn import split as splitting
from . import codec
from .device import DIGEST_BYTES, NOTHING, rows_present
from .learn import Forwarded, Part, Smashed, Studio
from .merge import merged
from .signals import Memory

if TYPE_CHECKING:
    from .server import SplitKD, State

MOST_SMASHED = 1e5
"""Hidden states of decoders stay well below; a device that sends more is left out."""
SLACK = 10.0
"""Adam moves a weight by about its step size in a step; what was learnt may have this many times that norm."""

Steps = Generator[Any, Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seat:
    """A device that takes part, and the samples it is about to send."""

    device: DeviceId
    how: Assignment
    digests_K: np.ndarray
    lengths_K: np.ndarray


@dataclass(slots=True, kw_only=True)
class Session:
    """What goes on in a cluster until its round is over."""

    method: "SplitKD"
    studio: Studio
    state: "State"
    number: int
    seats: dict[DeviceId, Seat]
    memory: Memory
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

    def need(self, seat: Seat, slot: int) -> np.ndarray:
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

    def step_job(self, seat: Seat, slot: int) -> Job:
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
        parts: dict[DeviceId, Part] = {}
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

    def losses_of(self, parts: Mapping[DeviceId, Part], done: Forwarded, slot: int, share: float) -> Steps:
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
        self, parts: Mapping[DeviceId, Part], done: Forwarded, slot: int, share: float, *, last: bool
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

    def note(self, parts: Mapping[DeviceId, Part]) -> None:
        for device, part in parts.items():
            counted = _counted(self.method, part.student.lengths_B)
            self.tokens[device] = self.tokens.get(device, 0) + counted
            self.uploads += int(part.need_B.sum())

    # --- what it takes

    def forward_load(self, parts: Mapping[DeviceId, Part]) -> Load:
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

    def backward_load(self, parts: Mapping[DeviceId, Part]) -> Load:
        """Twice the forward pass of what is trained, half of it where weights are frozen; and the output table."""
        split, times = self.method.split, 1 if self.method.lora_rank else 2
        flops = 0.0
        for part in parts.values():
            tokens = float(part.student.lengths_B.sum())
            layers = sum(layer.forward_flops for layer in split.student.layers[part.student.cut :])
            flops += tokens * (times * layers + (1 + times) * split.student.head_flops)
        return Load(flops=flops)


def train_cluster(
    method: "SplitKD", studio: Studio, state: "State", plan: Plan, cluster: tuple[int, Sequence[DeviceId]]
) -> Steps:
    """The state after this cluster's steps. Devices that do not answer are left out from then on."""
    number, devices = cluster
    session = Session(
        method=method,
        studio=studio,
        state=state,
        number=number,
        seats={},
        memory=Memory.of(method.loss.remember, state.signals),
    )
    yield from _open(session, devices)
    yield from _begin(session, plan, devices)
    if not session.seats:
        return session.state
    studio.begin(state.student, state.moments, method.split.lr)
    yield from session.train()
    replies = yield from _end(session)
    return replace(
        session.state,
        student=merged(studio, session.state, replies, session.cuts, session.tokens),
        moments=studio.moments(),
        signals=session.memory.stored(),
        tokens=session.state.tokens + sum(session.tokens.values()),
        uploads=session.state.uploads + session.uploads,
    )


def _open(session: Session, devices: Sequence[DeviceId]) -> Steps:
    """Ask new devices which rows occur there."""
    state, vocabulary = session.state, session.method.split.student.vocabulary
    spec = {"present": ArraySpec("|u1", (-(-vocabulary // 8),))}
    new = [device for device in devices if device not in state.present]
    if new:
        jobs = [session.job(device, "open", "open", {}, spec) for device in new]
        results = yield Wave(jobs=jobs)
        present = {result.device: np.array(result.arrays["present"]) for result in results if isinstance(result, Reply)}
        session.state = replace(state, present={**state.present, **present})


def _begin(session: Session, plan: Plan, devices: Sequence[DeviceId]) -> Steps:
    """Send rows and fronts; learn which samples will come."""
    method, split = session.method, session.method.split
    known = [device for device in devices if device in session.state.present]
    hows = {device: plan.assignments.get(device) or Assignment(cut=split.cut, bits=split.bits) for device in known}
    samples = split.steps * split.batch
    spec = {"digests": ArraySpec("|u1", (samples, DIGEST_BYTES)), "lengths": ArraySpec("<i4", (samples,))}
    jobs = [session.job(device, "begin", "begin", _sent(session, device, hows[device]), spec) for device in known]
    results = (yield Wave(jobs=jobs)) if jobs else []
    for result in results:
        if isinstance(result, Reply) and _plausible(result.arrays["lengths"], split.context):
            session.seats[result.device] = Seat(
                device=result.device,
                how=hows[result.device],
                digests_K=np.array(result.arrays["digests"]),
                lengths_K=np.array(result.arrays["lengths"]),
            )
    session.cuts = {device: seat.how.cut for device, seat in session.seats.items()}
    if method.teacher is not None:
        session.state = replace(session.state, holders=tuple({*session.state.holders, *session.seats}))


def _sent(session: Session, device: DeviceId, how: Assignment) -> dict[str, np.ndarray]:
    """Of the student: rows and layers before the cut; of the teacher the same, if the device has no rows yet."""
    split, state, studio = session.method.split, session.state, session.studio
    ids_R = rows_present(state.present[device], split.student.vocabulary)
    table = splitting.parts(studio.student, trainable=False).embedding[0]
    student_VD = state.student.get(table)
    if student_VD is None:
        student_VD = splitting.token_table(studio.student).detach().numpy()
    first_step = (state.round - 1) * split.steps
    arrays = {
        "cut": np.array(how.cut),
        "teacher_cut": np.array(how.teacher_cut),
        "bits": np.array(how.bits),
        "first_step": np.array(first_step),
        "student_rows": student_VD[ids_R].astype(np.float16),
    }
    for name in splitting.parts(studio.student).front(how.cut):
        arrays[f"student/{name}"] = state.student[name].astype(np.float16)
    if split.labels == "kept":
        arrays["head"] = state.student[head_name(studio)].astype(np.float16)
    if studio.teacher is not None and device not in state.holders and split.tables == "rows":
        arrays["teacher_rows"] = splitting.token_table(studio.teacher).detach().numpy()[ids_R].astype(np.float16)
    return arrays


def _end(session: Session) -> Steps:
    """What devices have learnt."""
    split = session.method.split
    jobs = []
    for device, seat in session.seats.items():
        ids_R = rows_present(session.state.present[device], split.student.vocabulary)
        spec: dict[str, ArraySpec] = {}
        if split.train_rows:
            spec |= {
                "rows": ArraySpec("<f2", (len(ids_R), split.student.width)),
                "seen": ArraySpec("<i4", (len(ids_R),)),
            }
        if split.labels == "kept":
            spec["head"] = ArraySpec("<f2", session.state.student[head_name(session.studio)].shape)
        for name in splitting.parts(session.studio.student).front(seat.how.cut):
            spec[f"student/{name}"] = ArraySpec("<f2", session.state.student[name].shape)
        jobs.append(session.job(device, "end", "end", session.due.pop(device, {}), spec))
    results = (yield Wave(jobs=jobs)) if jobs else []
    return session.keep_present(results)


def head_name(studio: Studio) -> str:
    """Of the output table's weight."""
    return splitting.parts(studio.student, trainable=False).head[0]


def _smashed_spec(method: "SplitKD", seat: Seat, need_B: np.ndarray) -> dict[str, ArraySpec]:
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


def _read(session: Session, reply: Reply, slot: int) -> Part | None:
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
    return Part(student=student, teacher=teacher, need_B=need_B, digests_B=seat.digests_K[chosen], labels=labels)


def _smashed(arrays: Arrays, cut: int, lengths_B: np.ndarray) -> Smashed:
    """Raises WireError."""
    values, index_BT = codec.decode(arrays), arrays.get("index")
    if values.size and np.abs(values).max() > MOST_SMASHED:
        raise WireError(f"smashed data reach {np.abs(values).max():.3g}, over {MOST_SMASHED:.3g}")
    if index_BT is not None and index_BT.size and index_BT.max() >= len(values):
        raise WireError(f"index {index_BT.max()} into {len(values)} rows")
    return Smashed(values=values, index_BT=index_BT, cut=cut, lengths_B=lengths_B)


def _plausible(lengths_K: np.ndarray, context: int) -> bool:
    return bool(len(lengths_K) and lengths_K.min() >= 1 and lengths_K.max() <= context)


def _counted(method: "SplitKD", lengths: np.ndarray) -> int:
    return len(lengths) if method.split.classes else int((lengths - 1).sum())
