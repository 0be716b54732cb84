"""The simulated fleet: real workers and real frames, priced instead of timed.

Every job is encoded to its frame and decoded again, handled by its device's worker, and priced by `cost` on the
device's profile and link. A job that is missed - device offline, out of memory, past the deadline, surplus to the
goal - leaves no trace on its device: the worker is as before. The radio spectrum and the server's own link are not
shared here: a device's rate is its catalogue rate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import wire
from ..core.bundle import all_over_the_wire
from ..core.chance import stream
from ..core.errors import StarvedError
from ..core.protocols import DataOf, Method, Worker
from ..core.tally import Tally
from ..core.types import Arrays, Conditions, Device, DeviceId, Job, Load, Missed, Plan, Reply, Result, Usage, Wave
from ..core.unanswered import cannot_be_had, needed
from ..cost.cells import equal_shares
from ..cost.compute import compute_s
from ..cost.energy import energy_j
from ..cost.surroundings import Surroundings
from .clock import Clock, Passage
from .prices import Air, Profiles, Spent

PATIENCE_S = 60.0
"""Until the next round, where nobody could be reached in one: time must pass for somebody to come back."""
PASSING = frozenset({"offline", "deadline", "surplus"})
"""Reasons why an answer is missed that are no refusal: the next one may come."""
Cohort = Callable[[Sequence[Worker], Sequence[Job]], Sequence[Arrays]]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What surrounds the devices."""

    server: Device
    offline_share: float = 0.0
    """Share of jobs whose device does not answer the call."""
    cohorts: bool = True
    """Let a method train many devices in one batched computation."""
    seed: int = 0
    ignore_memory: bool = False
    """A counterfactual: devices train what they could not hold."""
    surroundings: Surroundings | None = None
    """Shared cells, heat, batteries, who is there; None: every device has its own link and is always there."""


@dataclass(slots=True)
class _Ticket:
    results: list[Result]
    until_s: float


class SimFleet:
    """Implements `core.protocols.Fleet` in virtual time."""

    def __init__(self, devices: Mapping[DeviceId, Device], data: DataOf, method: Method[Any], world: World) -> None:
        self._devices, self._data, self._method, self._world = devices, data, method, world
        self._profiles = Profiles.of(devices)
        self._clock = Clock(np.zeros((3, len(devices))))
        self._cohort: Cohort | None = getattr(method, "cohort", None) if world.cohorts else None
        self._workers: dict[DeviceId, Worker] = {}
        self._tickets: dict[int, _Ticket] = {}
        self._waves = 0
        self._ids = tuple(devices)
        self._air, self._server_clock_share = self._profiles.air, 1.0
        self._spent = Spent.nothing(len(devices))
        self._number, self._wanted = 0, 1
        self._refused: dict[DeviceId, str] = {}
        """Those that did not do the last job that they were asked for, and why."""
        self._begin_tally()

    def roster(self) -> Mapping[DeviceId, Device]:
        return self._devices

    def conditions(self, number: int) -> Conditions:
        self._number = number
        around = self._world.surroundings
        if around is None:
            return Conditions(round=number, devices=self._devices, ids=self._ids)
        present = around.reachable
        ids = tuple(device for device, there in zip(self._ids, present.tolist(), strict=True) if there)
        spent_j = dict(zip(self._ids, self._spent.energy_j.tolist(), strict=True))
        return Conditions(round=number, devices=self._devices, ids=ids, channels=around.channels(ids), spent_j=spent_j)

    def adopt(self, plan: Plan) -> None:
        self._server_clock_share = plan.server_clock_share
        self._wanted = min(max(1, plan.minimum), len(plan.devices))
        if self._world.surroundings is not None:
            self._air = _shared(self._world.surroundings, self._profiles.index, plan)

    def start(self, wave: Wave) -> int:
        """Devices begin; what comes of it is settled here and handed out by `collect`."""
        self._waves += 1
        called = _Called.of(wave, self)
        results, until_s = _settle(called, wave, self._clock.now_s, self._run)
        self._forget(wave.jobs)
        self._account(called, results, until_s)
        self._tickets[self._waves] = _Ticket(results, until_s)
        return self._waves

    def collect(self, ticket: int) -> list[Result]:
        """Raises StarvedError if too few devices are left that do what they are asked."""
        done = self._tickets.pop(ticket)
        self._clock.wait(done.until_s)
        self._note_refusals(done.results)
        return done.results

    def work(self, load: Load) -> None:
        server = self._world.server
        speed_flops_per_s = server.speed_flops_per_s * self._server_clock_share
        self._clock.serve(float(compute_s(load.flops, load.moved_bytes, speed_flops_per_s, server.memory_bytes_per_s)))

    def tally(self) -> Tally:
        if self._world.surroundings is not None and self._clock.now_s == self._since_s:
            self._clock.wait(self._since_s + PATIENCE_S)
        server, elapsed_s = self._world.server, self._clock.now_s - self._since_s
        busy_s = self._clock.serving_s
        busy_w = server.idle_w + (server.busy_w - server.idle_w) * self._server_clock_share**3  # as in cost.dvfs
        server_j = float(energy_j(elapsed_s, busy_s, 0.0, server.idle_w, busy_w, 0.0))
        tally = Tally(
            devices=self._used,
            server=Usage(busy_s=busy_s, energy_j=server_j),
            elapsed_s=self._clock.now_s,
            answered=self._answered,
            missed=self._missed,
        )
        if self._world.surroundings is not None:
            self._world.surroundings.step(elapsed_s, self._spent.busy_s, self._spent.transmit_s)
        self._begin_tally()
        return tally

    def kept(self) -> Mapping[DeviceId, Arrays]:
        """In the order of the roster, so that a restored fleet's means have the same bits."""
        called = sorted(self._workers, key=self._profiles.index.__getitem__)
        snapshots = ((device, self._workers[device].snapshot()) for device in called)
        return {device: kept for device, kept in snapshots if kept}

    def snapshot(self) -> Arrays:
        state = {"free": self._clock.free_3N, "now": np.float64(self._clock.now_s), "waves": np.int64(self._waves)}
        number = self._profiles.index
        around = {} if self._world.surroundings is None else self._world.surroundings.snapshot()
        state |= {f"around/{name}": array for name, array in around.items()}
        state |= {"spent": self._spent.energy_j, "until": self._spent.until_s}
        workers = {f"worker/{number[d]}/{name}": a for d, kept in self.kept().items() for name, a in kept.items()}
        return {**{name: np.asarray(value) for name, value in state.items()}, **workers}

    def restore(self, kept: Arrays) -> None:
        self._clock = Clock(np.array(kept["free"]), float(kept["now"]))
        self._waves = int(kept["waves"])
        ids = tuple(self._devices)
        by_device: dict[DeviceId, dict[str, np.ndarray]] = {}
        for name, array in kept.items():
            if name.startswith("worker/"):
                number, _, rest = name.removeprefix("worker/").partition("/")
                by_device.setdefault(ids[int(number)], {})[rest] = array
        self._spent.energy_j, self._spent.until_s = np.array(kept["spent"]), np.array(kept["until"])
        if self._world.surroundings is not None:
            self._world.surroundings.restore(
                {name.removeprefix("around/"): array for name, array in kept.items() if name.startswith("around/")}
            )
        self._workers = {}
        for device, arrays in by_device.items():
            self._worker(device).restore(arrays)
        self._begin_tally()

    def _worker(self, device: DeviceId) -> Worker:
        worker = self._workers.get(device)
        if worker is None:
            worker = self._method.worker(self._devices[device], self._data(device), self._world.seed)
            self._workers[device] = worker
        return worker

    def _note_refusals(self, results: Sequence[Result]) -> None:
        for result in results:
            if isinstance(result, Reply):
                self._refused.pop(result.device, None)
            elif result.reason not in PASSING:
                self._refused[result.device] = result.reason
        devices = len(self._devices)
        if self._refused and devices - len(self._refused) < self._wanted:
            needs = needed(self._wanted, devices)
            raise StarvedError(cannot_be_had(self._number, self._refused, devices, needs))

    def _run(self, jobs: Sequence[Job]) -> list[Result]:
        """Handle jobs as they arrive over the wire and let their replies in, or not."""
        workers = [self._worker(job.device) for job in jobs]
        if self._cohort is not None and len(jobs) > 1:
            outputs = self._cohort(workers, jobs)
        else:
            outputs = [worker.handle(job) for worker, job in zip(workers, jobs, strict=True)]
        return all_over_the_wire(jobs, outputs)

    def _forget(self, jobs: Sequence[Job]) -> None:
        """Drop workers that keep nothing, so that memory does not grow with every device that was ever called."""
        for job in jobs:
            if not self._workers[job.device].snapshot():
                del self._workers[job.device]

    def _account(self, called: "_Called", results: Sequence[Result], until_s: float) -> None:
        self._missed += [result for result in results if isinstance(result, Missed)]
        self._answered += [result.device for result in results if isinstance(result, Reply)]
        self._clock.occupy(called.index_J, called.passage, until_s)
        sent = called.down_bytes_J, called.up_bytes_J
        self._used += self._profiles.usage((called.index_J, called.passage), sent, until_s, self._air, self._spent)

    def _begin_tally(self) -> None:
        self._used, self._since_s = Usage(), self._clock.now_s
        self._clock.serving_s = 0.0
        self._spent.begin_round()
        self._answered: list[DeviceId] = []
        self._missed: list[Missed] = []


@dataclass(slots=True, kw_only=True)
class _Called:
    """The jobs of a wave whose devices took the call, as they arrived, with their prices."""

    jobs: list[Job]
    positions_J: np.ndarray
    """In the wave."""
    index_J: np.ndarray
    """In the fleet."""
    down_bytes_J: np.ndarray
    up_bytes_J: np.ndarray
    passage: Passage
    refused: dict[int, Missed]
    """By position: why it never started."""

    @staticmethod
    def of(wave: Wave, fleet: SimFleet) -> "_Called":
        profiles, jobs = fleet._profiles, wave.jobs
        index = np.array([profiles.index[job.device] for job in jobs], np.int64)
        if len(np.unique(index)) != len(index):
            raise ValueError("a wave has at most one job per device")
        received, down_bytes = _deliver(jobs)
        loads = [fleet._worker(job.device).load(job) for job in received]
        memory = np.array([load.memory_bytes for load in loads])
        fits = (memory <= profiles.memory_bytes[index]) | fleet._world.ignore_memory
        reached = stream(fleet._world.seed, "offline", fleet._waves).random(len(jobs)) >= fleet._world.offline_share
        if fleet._world.surroundings is not None:
            reached &= fleet._world.surroundings.reachable[index]
        taken, turned = np.flatnonzero(fits & reached), np.flatnonzero(~(fits & reached))
        chosen, loads = index[taken], [loads[i] for i in taken]
        sent = down_bytes[taken], np.array([load.up_bytes for load in loads])
        return _Called(
            jobs=[received[i] for i in taken],
            positions_J=taken,
            index_J=chosen,
            down_bytes_J=sent[0],
            up_bytes_J=sent[1],
            passage=fleet._clock.pass_through(chosen, profiles.durations(chosen, loads, sent, fleet._air)),
            refused={i: _refusal(jobs[i], bool(fits[i])) for i in turned.tolist()},
        )


def _settle(
    called: _Called, wave: Wave, now_s: float, run: Callable[[Sequence[Job]], list[Result]]
) -> tuple[list[Result], float]:
    """Who answers, in job order, and when the wave ends.

    Devices are taken as they finish: until the goal if they are in time, until the minimum if they are late. A
    rejected answer counts for neither.
    """
    finish_J = called.passage.finish_s
    limit_s = np.inf if wave.deadline_s is None else now_s + wave.deadline_s
    goal = len(wave.jobs) if wave.goal is None else wave.goal
    queue = np.argsort(finish_J, kind="stable")
    results: dict[int, Result] = {}
    answers = 0
    while len(queue):
        in_time = finish_J[queue[0]] <= limit_s
        wanted = max(0, (goal if in_time else wave.minimum) - answers)
        next_up = queue[:wanted]
        batch = np.sort(next_up[(finish_J[next_up] <= limit_s) == in_time])
        if not len(batch):
            break
        queue = queue[len(batch) :]
        came = run([called.jobs[j] for j in batch])
        answers += sum(isinstance(result, Reply) for result in came)
        results.update(zip(batch.tolist(), came, strict=True))
    until_s = _end(finish_J, list(results), answers >= goal, limit_s, now_s)
    return _in_job_order(called, results, "surplus" if answers >= goal else "deadline"), until_s


def _in_job_order(called: _Called, results: Mapping[int, Result], late: str) -> list[Result]:
    settled: dict[int, Result] = dict(called.refused)
    for j, (job, position) in enumerate(zip(called.jobs, called.positions_J.tolist(), strict=True)):
        settled[position] = results.get(j) or Missed(job=job.id, device=job.device, reason=late)
    return [settled[position] for position in range(len(settled))]


def _end(finish_J: np.ndarray, came: Sequence[int], enough: bool, limit_s: float, now_s: float) -> float:
    last_s = float(finish_J[list(came)].max()) if came else now_s
    if enough or len(came) == len(finish_J):
        return last_s
    return max(last_s, limit_s) if np.isfinite(limit_s) else last_s


def _deliver(jobs: Sequence[Job]) -> tuple[list[Job], np.ndarray]:
    """The jobs as their devices decode them, and the bytes of each frame. Shared arrays are encoded once."""
    bodies: dict[int, tuple[wire.Body, Arrays]] = {}
    received, sizes = [], []
    for job in jobs:
        if id(job.arrays) not in bodies:
            body = wire.encode_body(job.arrays)
            bodies[id(job.arrays)] = body, wire.decode_body(body)
        body, arrays = bodies[id(job.arrays)]
        head = wire.job_head(job, body)
        received.append(wire.receive_job(head, arrays, job.expected))
        sizes.append(len(head) + len(body))
    return received, np.array(sizes)


def _shared(around: Surroundings, index: Mapping[DeviceId, int], plan: Plan) -> Air:
    """Rates of a plan's devices in their cells: by its shares, or, where it has none, in equal parts."""
    rows = np.array([index[device] for device in plan.devices], np.int64)
    taking = np.zeros(len(index), bool)
    taking[rows] = True
    up_share = down_share = equal_shares(around.cell, taking, around.cells)
    if plan.assignments:
        up_share, down_share = up_share.copy(), down_share.copy()
        given = [plan.assignments[device] for device in plan.devices]
        up_share[rows] = [one.uplink_share for one in given]
        down_share[rows] = [one.downlink_share for one in given]
    least = np.finfo(float).tiny
    return Air(
        up_bps=np.maximum(around.up_bps * up_share, least),
        down_bps=np.maximum(around.down_bps * down_share, least),
        slowdown=np.asarray(around.slowdown, float),
        up_share=np.asarray(up_share, float),
    )


def _refusal(job: Job, fits: bool) -> Missed:
    return Missed(job=job.id, device=job.device, reason="offline" if fits else "memory")
