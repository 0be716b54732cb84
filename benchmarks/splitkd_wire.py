"""What split KD's steps take on the wire and in time, and what each saving costs in quality.

    python benchmarks/splitkd_wire.py            tables in Markdown: some ten minutes
    python benchmarks/splitkd_wire.py --quick    the same, smaller: seconds, and no figures to quote

A small LLaMA is really distilled into a smaller one over devices with links of 20 Mbit/s up and 50
down, three passes over their windows of text, once per scheme and seed; its steps are priced at
that run's own size. The same steps are then priced at the size of LLaMA-3.1-8B and 3.2-1B with 8
windows of 512 tokens: the method's own sessions and workers run in the simulated fleet, their
frames have the true size, their numbers are zeros, and the server's modules are left out. Both
devices and the server are the same at both sizes.

The plain scheme is the published one: half floats, one row per token, everything in sequence,
nothing remembered.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from distilfleet.core.engine import drive, rounds
from distilfleet.core.protocols import Worker
from distilfleet.core.types import (
    Arrays,
    Assignment,
    Dataset,
    Device,
    Expected,
    Job,
    LanguageProfile,
    Link,
    Usage,
    Wave,
)
from distilfleet.cost import catalogue
from distilfleet.data import text
from distilfleet.methods.splitkd.device import SplitWorker
from distilfleet.methods.splitkd.modules import DevicePart, Loss
from distilfleet.methods.splitkd.server import SplitKD
from distilfleet.methods.splitkd.settings import NOTHING, SplitSettings
from distilfleet.methods.splitkd.state import State
from distilfleet.methods.splitkd.steps import ClusterRun, ClusterSettings, Participant, Steps
from distilfleet.methods.splitkd.teacher_cache import TeacherCache
from distilfleet.nn.resident import copied
from distilfleet.nn.trace import trace
from distilfleet.plan.sample import Sample
from distilfleet.recipes.flags import TEXT, Language
from distilfleet.recipes.language import TextSetup, pretraining, text_setup
from distilfleet.sim.fleet import SimFleet, World

BOARD = "jetson-orin-nano-8g"
UP_BPS, DOWN_BPS = 20e6, 50e6
SERVER_FLOPS_PER_S = 60e12
"""Effective: estimate for a data-centre GPU at about 40 % of its peak."""
PASSES = 3
FROM_SCRATCH, FINE_TUNING = 2e-3, 3e-4
LARGE_BATCH, LARGE_CONTEXT = 8, 512
"""Windows and tokens of a step at the size of the large pair."""
EDGES = frozenset({"open", "begin", "end"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of the real run."""

    devices: int = 2
    batch: int = 32
    context: int = 64
    steps: int = 16
    """Of a round, which is a pass."""
    vocabulary: int = 1024
    pretrain_steps: int = 300
    tested: int = 256
    seeds: tuple[int, ...] = (1, 2, 3)
    priced_steps: int = 2
    """Of a pass, at the size of the large pair."""
    priced_batch: int = LARGE_BATCH
    """Windows of its steps."""


FULL = Size()
TINY = Size(batch=4, context=16, steps=2, vocabulary=300, pretrain_steps=2, tested=4, seeds=(1,))
QUICK = replace(TINY, priced_steps=1, priced_batch=4)
OWN = Language(teacher="llama:128x4", student="llama:64x2")
LARGE = ("llama-3.1-8b", "llama-3.2-1b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    name: str
    split: Mapping[str, Any]
    remembers: bool = True
    pipelined: bool = False


PLAIN: dict[str, Any] = {"bits": 16, "gradient_bits": 16, "micro_batches": 1, "distinct": False}
BYTE = PLAIN | {"bits": 8, "gradient_bits": 8}
PARTS = BYTE | {"micro_batches": 4}
ROWS = PARTS | {"distinct": True}
SCHEMES = (
    Scheme(name="plain, as published", split=PLAIN, remembers=False),
    Scheme(name="+ 8 bits both ways", split=BYTE, remembers=False),
    Scheme(name="+ teacher remembered (sampled ids)", split=BYTE),
    Scheme(name="+ 4 micro-batches in flight", split=PARTS),
    Scheme(name="+ distinct rows", split=ROWS),
    Scheme(name="+ gradients a step late", split=ROWS, pipelined=True),
    Scheme(name="on time, 4 bits up", split=ROWS | {"bits": 4}),
    Scheme(name="on time, one layer on devices", split=ROWS | {"cut": 1}),
)
PLAIN_SCHEME, WANTED, ON_TIME, LATE = SCHEMES[0], SCHEMES[3], SCHEMES[4], SCHEMES[5]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    size = QUICK if parser.parse_args().quick else FULL
    torch.set_num_threads(1)
    learnt = {
        scheme.name: [learn(scheme, Task.of(size, seed)) for seed in size.seeds]
        for scheme in SCHEMES
    }
    priced = {
        scheme.name: price(scheme, size.priced_steps, batch=size.priced_batch) for scheme in SCHEMES
    }
    print(table(learnt, priced, size))
    print()
    print(late_table(learnt, size))


# --- devices --------------------------------------------------------------------------------------


def fleet_of(count: int) -> dict[str, Device]:
    board = catalogue.device(BOARD, "")
    link = Link(
        up_bps=UP_BPS,
        down_bps=DOWN_BPS,
        latency_s=board.link.latency_s,
        transmit_w=board.link.transmit_w,
    )
    return {f"device-{i}": replace(board, id=f"device-{i}", link=link) for i in range(count)}


def world() -> World:
    server = catalogue.device("server-h200-sxm", "server")
    return World(server=replace(server, speed_flops_per_s=SERVER_FLOPS_PER_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """By a device in a step, or, at the ends of rounds, by a device in a round."""

    seconds_s: float
    up_bytes: float
    down_bytes: float

    @staticmethod
    def of(seconds_s: float, used: Usage, steps: int, devices: int) -> "Spent":
        each = steps * devices
        return Spent(
            seconds_s=seconds_s / steps,
            up_bytes=used.up_bytes / each,
            down_bytes=used.down_bytes / each,
        )


# --- the real run ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """What all schemes of a seed learn from: the same windows in the same order, one teacher, one
    student."""

    size: Size
    seed: int
    setup: TextSetup
    state: State
    """Teacher and student before the first round."""

    @staticmethod
    @cache
    def of(size: Size, seed: int) -> "Task":
        common = replace(TEXT, devices=size.devices, device_kinds=(BOARD,), seed=seed)
        setup = text_setup(
            common,
            replace(
                OWN,
                context=size.context,
                vocabulary=size.vocabulary,
                pretrain_steps=size.pretrain_steps,
            ),
        )
        return Task(
            size=size, seed=seed, setup=setup, state=method_of(PLAIN_SCHEME, size, setup).init(seed)
        )

    def data(self, device: str) -> Dataset:
        """As many windows as a pass takes."""
        number = int(device.rpartition("-")[2])
        return self.setup.private[number].take(np.arange(self.size.batch * self.size.steps))

    @property
    def test(self) -> Dataset:
        return self.setup.test.take(np.arange(self.size.tested))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learnt:
    nats: float
    """Held out, per token."""
    teacher_nats: float
    step: Spent
    ends: Spent
    """Of a round: rows and layers that are averaged."""
    state: State


def learn(
    scheme: Scheme, task: Task, state: State | None = None, lr: float = FROM_SCRATCH
) -> Learnt:
    size, method = task.size, method_of(scheme, task.size, task.setup, lr)
    devices = fleet_of(size.devices)
    fleet = Watched(SimFleet(devices, task.data, method, replace(world(), seed=task.seed)))
    planner = Sample(per_round=size.devices, seed=task.seed)
    state = state or task.state
    # A round trains them in place, and every scheme begins with them.
    state = replace(state, student=copied(state.student), moments=copied(state.moments))
    for one in rounds(method, planner, fleet, state, range(1, PASSES + 1)):
        state = one.state
    quality = method.evaluate(state, {}, task.test)
    return Learnt(
        nats=quality["small_loss"],
        teacher_nats=quality["large_loss"],
        step=Spent.of(*fleet.spent("steps"), PASSES * size.steps, size.devices),
        ends=Spent.of(*fleet.spent("ends"), PASSES, size.devices),
        state=state,
    )


def method_of(scheme: Scheme, size: Size, setup: TextSetup, lr: float = FROM_SCRATCH) -> SplitKD:
    profiles = setup.profiles
    split = SplitSettings(
        teacher=profiles[setup.teacher.name],
        student=profiles[setup.student.name],
        batch=size.batch,
        steps=size.steps,
        context=size.context,
        lr=lr,
        **scheme.split,
    )
    pretrain_steps = replace(OWN, pretrain_steps=size.pretrain_steps)
    return SplitKD(
        teacher=setup.teacher,
        student=setup.student,
        split=split,
        loss=Loss(teacher_cache="ids" if scheme.remembers else "none"),
        pipelined=scheme.pipelined,
        pretraining_data=setup.pretraining_data,
        pretraining=pretraining(pretrain_steps),
    )


class Watched:
    """Any simulated fleet, which tells its steps from the ends of rounds. Implements
    `core.protocols.Fleet`."""

    def __init__(self, inner: SimFleet) -> None:
        self._inner, self._now, self._since_s = inner, "ends", 0.0
        self._spent = {"steps": (0.0, Usage()), "ends": (0.0, Usage())}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def start(self, wave: Wave) -> int:
        kind = "ends" if wave.jobs[0].op in EDGES else "steps"
        if kind != self._now:
            self._settle()
            self._now = kind
        return self._inner.start(wave)

    def spent(self, kind: str) -> tuple[float, Usage]:
        self._settle()
        return self._spent[kind]

    def _settle(self) -> None:
        tally, (seconds_s, used) = self._inner.tally(), self._spent[self._now]
        self._spent[self._now] = seconds_s + tally.elapsed_s - self._since_s, used + tally.devices
        self._since_s = tally.elapsed_s


# --- the large pair -------------------------------------------------------------------------------


def price(
    scheme: Scheme, steps: int, devices: int = FULL.devices, batch: int = LARGE_BATCH
) -> Spent:
    """Steps of three passes at the size of the large pair, by the method's session in the simulated
    fleet."""
    teacher, student = (_traced(name) for name in LARGE)
    split = SplitSettings(
        teacher=teacher,
        student=student,
        batch=batch,
        steps=PASSES * steps,
        context=LARGE_CONTEXT,
        **scheme.split,
    )
    roster, sized = fleet_of(devices), Sized(split=split)
    fleet = SimFleet(
        roster,
        lambda device: _windows(int(device.rpartition("-")[2]), steps * batch),
        sized,
        world(),
    )
    run = _cluster_run(
        scheme, split, {device: sized.participant(fleet, device) for device in roster}
    )
    began_s = fleet.tally().elapsed_s
    drive(_all_of(run), fleet)
    tally = fleet.tally()
    return Spent.of(tally.elapsed_s - began_s, tally.devices, split.steps, devices)


def _all_of(run: ClusterRun) -> Steps:
    """The steps, and the last one's gradient, which a round would send along with its end."""
    yield from run.train()
    due = {device: run.due.pop(device) for device in run.participants}
    jobs = [
        run.job(device, "step", "last", {"slot": np.array(NOTHING), **back}, {})
        for device, back in due.items()
    ]
    yield Wave(jobs=jobs)


@cache
def _traced(name: str) -> LanguageProfile:
    return trace(name, steps=LARGE_CONTEXT)


@cache
def _long_text() -> text.TextSource:
    """Real windows, so that as many rows repeat as they do in text; a vocabulary of 32,000 is asked
    for."""
    return text.load(
        "stdlib",
        text.Wanted(context=LARGE_CONTEXT, vocabulary=32_000, devices=FULL.devices, seed=1),
    )


def _windows(number: int, count: int) -> Dataset:
    return _long_text().data(number).dataset().take(np.arange(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """A method that has only a device half: the real worker, told to begin with tables of zeros."""

    split: SplitSettings

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        worker = SplitWorker(
            device=device, data=data, split=self.split, seed=seed, front_of=lambda *_: Through()
        )
        worker.handle(self._begin(worker))
        return worker

    def participant(self, fleet: SimFleet, device: str) -> Participant:
        """What a device says when it begins; asked of a worker like the one that the fleet will
        make."""
        worker = SplitWorker(
            device=fleet.roster()[device],
            data=_windows(
                int(device.rpartition("-")[2]), self.split.steps // PASSES * self.split.batch
            ),
            split=self.split,
            seed=0,
            front_of=lambda *_: Through(),
        )
        told = worker.handle(self._begin(worker))
        assignment = Assignment(cut=self.split.cut, bits=self.split.bits)
        return Participant(
            device=device,
            assignment=assignment,
            digests_K=told["digests"],
            lengths_K=told["lengths"],
        )

    def _begin(self, worker: SplitWorker) -> Job:
        plan = {"cut": self.split.cut, "teacher_cut": 0, "bits": self.split.bits, "first_step": 0}
        arrays: dict[str, np.ndarray] = {name: np.array(value) for name, value in plan.items()}
        for whose, profile in (("student", self.split.student), ("teacher", self.split.teacher)):
            arrays[f"{whose}_rows"] = np.zeros((len(worker.ids), profile.width), np.float16)
        return Job(
            id="begin",
            device=worker.device.id,
            op="begin",
            arrays=arrays,
            expected=Expected(arrays={}),
        )


class Through:
    """A front that hands on what it gets; its work is priced by the worker. Implements
    `device.Front`."""

    def begin(self, weights: Arrays) -> None:
        pass

    def forward(self, slot: int, x_BTD: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        return x_BTD

    def backward(
        self, slot: int, x_BTD: np.ndarray, lengths_B: np.ndarray, gradient_BTD: np.ndarray
    ) -> np.ndarray:
        return gradient_BTD

    def step(self) -> None:
        pass

    def learnt(self) -> Arrays:
        return {}

    def snapshot(self) -> Arrays:
        return {}

    def restore(self, kept: Arrays) -> None:
        pass


@dataclass(slots=True)
class Blank:
    """The server's modules left out: gradients of the right shape, and samples noted as known."""

    parts: Sequence[DevicePart] = field(default_factory=list)

    def forward(
        self, parts: Sequence[DevicePart], loss: Loss, cache: TeacherCache, rng: np.random.Generator
    ) -> "Blank":
        for part in parts:
            cache.add(part.digests_B[part.need_B], {})
        return Blank(parts)

    def gradients(self) -> Iterator[np.ndarray]:
        return (np.zeros_like(part.student.values) for part in self.parts)

    def backward(self, done: "Blank", loss: Loss, kept: object) -> None:
        pass

    def step(self, share: float) -> None:
        pass


def _cluster_run(
    scheme: Scheme, split: SplitSettings, participants: dict[str, Participant]
) -> ClusterRun:
    loss = Loss(teacher_cache="ids" if scheme.remembers else "none")
    settings = ClusterSettings(
        split=split, loss=loss, pipelined=scheme.pipelined, has_teacher=True, adapters=False
    )
    state = State(
        seed=0,
        round=1,
        student={},
        moments={},
        teacher={},
        present={},
        holders=(),
        signals={},
        tokens=0,
        uploads=0,
    )
    modules: Any = Blank()
    return ClusterRun(
        settings=settings,
        modules=modules,
        state=state,
        number=0,
        participants=participants,
        cache=TeacherCache.of(loss.teacher_cache, {}),
    )


# --- tables ---------------------------------------------------------------------------------------


def table(learnt: Mapping[str, Sequence[Learnt]], priced: Mapping[str, Spent], size: Size) -> str:
    own = {name: runs[0].step for name, runs in learnt.items()}
    rows = [
        f"| {name} | {spread([run.nats for run in runs])} | {cells(own, name, 1e3)} | "
        f"{cells(priced, name, 1e6)} |"
        for name, runs in learnt.items()
    ]
    entries, large = (
        _long_text().tokenizer.vocabulary,
        f"{size.priced_batch} x {LARGE_CONTEXT} tokens",
    )
    tokens, runs = size.batch * size.context, learnt[PLAIN_SCHEME.name]
    return "\n".join(
        [
            f"{size.devices} devices ({BOARD}) at {UP_BPS / 1e6:g} / {DOWN_BPS / 1e6:g} Mbit/s, "
            f"{fleet_of(1)['device-0'].link.latency_s * 1e3:g} ms one way; server of "
            f"{SERVER_FLOPS_PER_S / 1e12:g} TFLOP/s. Own size: {OWN.teacher} to {OWN.student}, "
            f"{tokens:,} tokens of a device in a step, {PASSES} passes of {size.steps} steps, "
            f"seeds {', '.join(map(str, size.seeds))}; teacher "
            f"{spread([run.teacher_nats for run in runs])} nats. Large: {LARGE[0]} to {LARGE[1]}, "
            f"{large}, cut by a tokenizer of {entries:,} entries. Bytes are a device's, per step, "
            "mean of the passes.",
            "",
            "| scheme | held-out nats | own size: kB up / down | s a step | | 8B/1B: MB up / down "
            "| s a step | |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            verdict(learnt, priced),
            "",
            ends(learnt),
        ]
    )


def cells(of: Mapping[str, Spent], name: str, unit: float) -> str:
    plain, one = of[PLAIN_SCHEME.name], of[name]
    return (
        f"{one.up_bytes / unit:.3g} / {one.down_bytes / unit:.3g} | {one.seconds_s:.3g} | "
        f"{plain.seconds_s / one.seconds_s:.1f}x"
    )


def verdict(learnt: Mapping[str, Sequence[Learnt]], priced: Mapping[str, Spent]) -> str:
    plain, wanted = learnt[PLAIN_SCHEME.name], learnt[WANTED.name]
    apart = [ours.nats - theirs.nats for ours, theirs in zip(wanted, plain, strict=True)]
    own = plain[0].step.seconds_s / wanted[0].step.seconds_s
    large = priced[PLAIN_SCHEME.name].seconds_s / priced[WANTED.name].seconds_s
    return (
        f"8 bits, a remembered teacher and micro-batches: steps {own:.1f} times shorter at the "
        f"run's own size and {large:.1f} times with the 8B/1B loads (at least 3 wanted), held-out "
        f"loss {np.mean(apart):+.4f} nats ({min(apart):+.4f} to {max(apart):+.4f}; at most 0.01 "
        "wanted)."
    )


def ends(learnt: Mapping[str, Sequence[Learnt]]) -> str:
    plain = learnt[PLAIN_SCHEME.name][0].ends
    return (
        "Not in the steps: the ends of a round, where rows are sent out and averaged and the last "
        f"gradient goes back, take {plain.seconds_s:.3g} s at the run's own size "
        f"({plain.up_bytes / 1e3:.3g} kB up, {plain.down_bytes / 1e3:.3g} down)."
    )


def late_table(learnt: Mapping[str, Sequence[Learnt]], size: Size) -> str:
    """From scratch as above; fine-tuning goes on with those students, on time or late."""
    tasks = [Task.of(size, seed) for seed in size.seeds]
    trained = [run.state for run in learnt[ON_TIME.name]]
    rows = [_late_row("from scratch", FROM_SCRATCH, learnt[ON_TIME.name], learnt[LATE.name])]
    begun = [
        replace(state, round=0, moments={}, holders=(), signals={}, present={}) for state in trained
    ]
    on_time, late = (
        [learn(scheme, task, state, FINE_TUNING) for task, state in zip(tasks, begun, strict=True)]
        for scheme in (ON_TIME, LATE)
    )
    rows.append(_late_row(f"{PASSES} passes more of that student", FINE_TUNING, on_time, late))
    head = (
        "| gradients a step late | step size | on time, nats | late, nats | cost |\n"
        "|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows)


def _late_row(name: str, lr: float, on_time: Sequence[Learnt], late: Sequence[Learnt]) -> str:
    cost = [b.nats - a.nats for a, b in zip(on_time, late, strict=True)]
    nats = (spread([run.nats for run in runs]) for runs in (on_time, late))
    return (
        f"| {name} | {lr:g} | {' | '.join(nats)} | {np.mean(cost):+.4f} ({min(cost):+.4f} to "
        f"{max(cost):+.4f}) |"
    )


def spread(values: Sequence[float]) -> str:
    """Mean, and the lowest and highest."""
    return f"{np.mean(values):.3f}" + (
        f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    )


if __name__ == "__main__":
    main()
