"""The simulated fleet: real workers and real frames, priced instead of timed.

Every job is encoded to its frame and decoded again, handled by its device's worker, and priced by
`cost` on the device's profile and link. A job that is missed - device offline, out of memory, past
the deadline, surplus to the goal - leaves no trace on its device: the worker is as before.

How devices share what is around them is the world's: with `surroundings`, the radio cells carry
what a round's plan gives each device, or equal parts, and heat, batteries and absence count;
without them, each device has its catalogue rate to itself. The server's own link is never the
bottleneck here.

Axes: J jobs of a wave.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import wire
from ..core.bundle import all_over_the_wire
from ..core.chance import stream
from ..core.errors import StarvedError
from ..core.prefix import prefixed, under
from ..core.protocols import DataOf, Method, Worker
from ..core.tally import Tally
from ..core.types import (
    Arrays,
    Conditions,
    Device,
    DeviceId,
    Job,
    Load,
    Missed,
    Plan,
    Reply,
    Result,
    Usage,
    Wave,
)
from ..core.unanswered import cannot_be_had, needed
from ..cost.cells import equal_shares
from ..cost.compute import compute_s
from ..cost.energy import energy_j
from ..cost.surroundings import Surroundings
from .clock import Clock
from .prices import Air, Frames, PricedJobs, Profiles, Spending

LEAST_BPS = float(np.finfo(float).tiny)
"""Rate of a device in outage, so that what it would send takes for ever instead of failing."""
PATIENCE_S = 60.0
"""What a round takes in which nobody could be reached: time must pass for somebody to come back."""
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
    """Shared cells, heat, batteries, who is there; None: every device has its own link and is
    always there."""


@dataclass(slots=True)
class _Ticket:
    results: list[Result]
    until_s: float


class SimFleet:
    """Implements `core.protocols.Fleet` in virtual time."""

    def __init__(
        self, devices: Mapping[DeviceId, Device], data: DataOf, method: Method[Any], world: World
    ) -> None:
        self._devices = devices
        self._data = data
        self._method = method
        self._world = world
        self._profiles = Profiles.of(devices)
        self._clock = Clock(np.zeros((3, len(devices))))
        self._cohort: Cohort | None = getattr(method, "cohort", None) if world.cohorts else None
        self._workers: dict[DeviceId, Worker] = {}
        self._tickets: dict[int, _Ticket] = {}
        self._waves = 0
        self._ids = tuple(devices)
        self._air = self._profiles.air
        self._server_clock_share = 1.0
        self._spending = Spending.nothing(len(devices))
        self._number = 0
        self._wanted = 1
        self._refused: dict[DeviceId, str] = {}
        """Why a device did not do the last job that it was asked for, by those that did not."""
        self._begin_tally()

    def roster(self) -> Mapping[DeviceId, Device]:
        return self._devices

    def conditions(self, number: int) -> Conditions:
        self._number = number
        around = self._world.surroundings
        if around is None:
            return Conditions(round=number, devices=self._devices, ids=self._ids)
        present = zip(self._ids, around.reachable.tolist(), strict=True)
        ids = tuple(device for device, there in present if there)
        spent_j = dict(zip(self._ids, self._spending.energy_j.tolist(), strict=True))
        return Conditions(
            round=number,
            devices=self._devices,
            ids=ids,
            channels=around.channels(ids),
            spent_j=spent_j,
        )

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
        self._book(called, results, until_s)
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
        self._clock.serve(
            float(
                compute_s(
                    load.flops, load.moved_bytes, speed_flops_per_s, server.memory_bytes_per_s
                )
            )
        )

    def tally(self) -> Tally:
        around = self._world.surroundings
        if around is not None and self._clock.now_s == self._since_s:
            self._clock.wait(self._since_s + PATIENCE_S)
        elapsed_s = self._clock.now_s - self._since_s
        tally = Tally(
            devices=self._used,
            server=self._server_usage(elapsed_s),
            elapsed_s=self._clock.now_s,
            answered=self._answered,
            missed=self._missed,
        )
        if around is not None:
            around.step(elapsed_s, self._spending.busy_s, self._spending.transmit_s)
        self._begin_tally()
        return tally

    def _server_usage(self, elapsed_s: float) -> Usage:
        """Power above idling goes with the cube of the clock, as in `cost.dvfs`."""
        server = self._world.server
        busy_s = self._clock.serving_s
        busy_w = server.idle_w + (server.busy_w - server.idle_w) * self._server_clock_share**3
        server_j = energy_j(elapsed_s, busy_s, 0.0, server.idle_w, busy_w, 0.0)
        return Usage(busy_s=busy_s, energy_j=float(server_j))

    def kept(self) -> Mapping[DeviceId, Arrays]:
        """In the order of the roster, so that a restored fleet's means have the same bits."""
        called = sorted(self._workers, key=self._profiles.index.__getitem__)
        snapshots = ((device, self._workers[device].snapshot()) for device in called)
        return {device: kept for device, kept in snapshots if kept}

    def snapshot(self) -> Arrays:
        state = {
            "free": self._clock.free_3N,
            "now": np.asarray(np.float64(self._clock.now_s)),
            "waves": np.asarray(np.int64(self._waves)),
        }
        around = self._world.surroundings
        if around is not None:
            state |= prefixed("around", around.snapshot())
        state |= {"spent": self._spending.energy_j, "until": self._spending.until_s}
        for device, kept in self.kept().items():
            number = self._profiles.index[device]
            state |= prefixed(f"worker/{number}", kept)
        return state

    def restore(self, kept: Arrays) -> None:
        self._clock = Clock(np.array(kept["free"]), float(kept["now"]))
        self._waves = int(kept["waves"])
        self._spending.energy_j = np.array(kept["spent"])
        self._spending.until_s = np.array(kept["until"])
        if self._world.surroundings is not None:
            self._world.surroundings.restore(under("around", kept))
        self._restore_workers(under("worker", kept))
        self._begin_tally()

    def _restore_workers(self, kept: Arrays) -> None:
        """Make those workers again that kept something; arrays are named by the device's number and
        their own name."""
        by_number: dict[int, dict[str, np.ndarray]] = {}
        for name, array in kept.items():
            number, _, own = name.partition("/")
            by_number.setdefault(int(number), {})[own] = array
        self._workers = {}
        for row, arrays in by_number.items():
            self._worker(self._ids[row]).restore(arrays)

    def _worker(self, device: DeviceId) -> Worker:
        worker = self._workers.get(device)
        if worker is None:
            worker = self._method.worker(
                self._devices[device], self._data(device), self._world.seed
            )
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
        """Drop workers that keep nothing, so that memory does not grow with every device that was
        ever called."""
        for job in jobs:
            if not self._workers[job.device].snapshot():
                del self._workers[job.device]

    def _book(self, called: "_Called", results: Sequence[Result], until_s: float) -> None:
        self._missed += [result for result in results if isinstance(result, Missed)]
        self._answered += [result.device for result in results if isinstance(result, Reply)]
        priced = called.priced
        self._clock.occupy(priced.index_J, priced.passage, until_s)
        spent = self._profiles.spent(priced, until_s, self._air, self._spending)
        self._spending.add(priced.index_J, spent)
        self._used += spent.usage(priced)

    def _begin_tally(self) -> None:
        self._used = Usage()
        self._since_s = self._clock.now_s
        self._clock.serving_s = 0.0
        self._spending.begin_round()
        self._answered: list[DeviceId] = []
        self._missed: list[Missed] = []


@dataclass(slots=True, kw_only=True)
class _Called:
    """The jobs of a wave whose devices took the call, as they arrived, with their prices."""

    jobs: list[Job]
    positions_J: np.ndarray
    """Places of the jobs in the wave."""
    priced: PricedJobs
    refused: dict[int, Missed]
    """Why a job never started, by its place in the wave."""

    @staticmethod
    def of(wave: Wave, fleet: SimFleet) -> "_Called":
        """Deliver a wave's jobs. Raises ValueError for two jobs of one device."""
        index_J = _numbers(wave.jobs, fleet._profiles.index)
        received, down_bytes_J = _deliver(wave.jobs)
        loads = [fleet._worker(job.device).load(job) for job in received]
        fits_J = _fits(index_J, loads, fleet)
        accepts_J = fits_J & _reached(index_J, fleet)
        taken_J = np.flatnonzero(accepts_J)
        turned_away = np.flatnonzero(~accepts_J).tolist()
        return _Called(
            jobs=[received[place] for place in taken_J],
            positions_J=taken_J,
            priced=_priced(
                fleet, index_J[taken_J], [loads[place] for place in taken_J], down_bytes_J[taken_J]
            ),
            refused={
                place: _refusal(wave.jobs[place], bool(fits_J[place])) for place in turned_away
            },
        )


def _numbers(jobs: Sequence[Job], index: Mapping[DeviceId, int]) -> np.ndarray:
    index_J = np.array([index[job.device] for job in jobs], np.int64)
    if len(np.unique(index_J)) != len(index_J):
        raise ValueError("a wave has at most one job per device")
    return index_J


def _fits(index_J: np.ndarray, loads: Sequence[Load], fleet: SimFleet) -> np.ndarray:
    """Which of these devices can hold what their jobs take."""
    memory_J = np.array([load.memory_bytes for load in loads])
    return np.asarray(
        (memory_J <= fleet._profiles.memory_bytes[index_J]) | fleet._world.ignore_memory
    )


def _reached(index_J: np.ndarray, fleet: SimFleet) -> np.ndarray:
    """Which of these devices take the call."""
    world = fleet._world
    drawn_J = stream(world.seed, "offline", fleet._waves).random(len(index_J))
    reached_J = drawn_J >= world.offline_share
    if world.surroundings is not None:
        reached_J &= world.surroundings.reachable[index_J]
    return np.asarray(reached_J)


def _priced(
    fleet: SimFleet, index_J: np.ndarray, loads: Sequence[Load], down_bytes_J: np.ndarray
) -> PricedJobs:
    up_bytes_J = np.array([load.up_bytes for load in loads])
    frames = Frames(down_bytes_J=down_bytes_J, up_bytes_J=up_bytes_J)
    duration_3J = fleet._profiles.durations(index_J, loads, frames, fleet._air)
    passage = fleet._clock.pass_through(index_J, duration_3J)
    return PricedJobs(index_J=index_J, frames=frames, passage=passage)


def _settle(
    called: _Called, wave: Wave, now_s: float, run: Callable[[Sequence[Job]], list[Result]]
) -> tuple[list[Result], float]:
    """Who answers, in job order, and when the wave ends.

    Devices are taken as they finish: until the goal if they are in time, until the minimum if they
    are late. A rejected answer counts for neither.
    """
    finish_J = called.priced.passage.finish_s
    limit_s = np.inf if wave.deadline_s is None else now_s + wave.deadline_s
    queue = np.argsort(finish_J, kind="stable")
    results: dict[int, Result] = {}
    answers = 0
    while len(batch := _next_up(queue, finish_J, limit_s, wave, answers)):
        queue = queue[len(batch) :]
        came = run([called.jobs[j] for j in batch])
        answers += sum(isinstance(result, Reply) for result in came)
        results.update(zip(batch.tolist(), came, strict=True))
    enough = answers >= _goal(wave)
    until_s = _end(finish_J, list(results), enough, limit_s, now_s)
    return _in_job_order(called, results, "surplus" if enough else "deadline"), until_s


def _goal(wave: Wave) -> int:
    return len(wave.jobs) if wave.goal is None else wave.goal


def _next_up(
    queue: np.ndarray, finish_J: np.ndarray, limit_s: float, wave: Wave, answers: int
) -> np.ndarray:
    """The jobs that are taken next, all of them in time or all late, in job order; none where
    enough have answered."""
    if not len(queue):
        return queue
    in_time = bool(finish_J[queue[0]] <= limit_s)
    wanted = _goal(wave) if in_time else wave.minimum
    next_up = queue[: max(0, wanted - answers)]
    alike = (finish_J[next_up] <= limit_s) == in_time
    return np.sort(next_up[alike])


def _in_job_order(called: _Called, results: Mapping[int, Result], reason: str) -> list[Result]:
    """For each job of the wave, its result, why it never started, or that it came too late for this
    reason."""
    settled: dict[int, Result] = dict(called.refused)
    positions = called.positions_J.tolist()
    for j, job in enumerate(called.jobs):
        settled[positions[j]] = results.get(j) or Missed(
            job=job.id, device=job.device, reason=reason
        )
    return [settled[position] for position in range(len(settled))]


def _end(
    finish_J: np.ndarray, came: Sequence[int], enough: bool, limit_s: float, now_s: float
) -> float:
    """The last answer; the deadline where answers are still missing and there is one."""
    last_s = float(finish_J[came].max()) if came else now_s
    complete = enough or len(came) == len(finish_J)
    if complete or not np.isfinite(limit_s):
        return last_s
    return max(last_s, limit_s)


def _deliver(jobs: Sequence[Job]) -> tuple[list[Job], np.ndarray]:
    """The jobs as their devices decode them, and the bytes of each frame. Shared arrays are encoded
    once."""
    bodies = {id(job.arrays): wire.encode_body(job.arrays) for job in _first_of_each(jobs)}
    arrays = {shared: wire.decode_body(body) for shared, body in bodies.items()}
    received = []
    sizes = []
    for job in jobs:
        body = bodies[id(job.arrays)]
        head = wire.job_head(job, body)
        received.append(wire.receive_job(head, arrays[id(job.arrays)], job.expected))
        sizes.append(len(head) + len(body))
    return received, np.array(sizes)


def _first_of_each(jobs: Sequence[Job]) -> Iterable[Job]:
    """One job for each mapping of arrays, which several may share."""
    return {id(job.arrays): job for job in reversed(jobs)}.values()


def _shared(around: Surroundings, index: Mapping[DeviceId, int], plan: Plan) -> Air:
    """Rates of a plan's devices in their cells: by its shares, or, where it has none, in equal
    parts."""
    rows = np.array([index[device] for device in plan.devices], np.int64)
    up_share = _equal_shares(around, rows)
    down_share = up_share.copy()
    if plan.assignments:
        given = [plan.assignments[device] for device in plan.devices]
        up_share[rows] = [one.uplink_share for one in given]
        down_share[rows] = [one.downlink_share for one in given]
    return Air(
        up_bps=np.maximum(around.up_bps * up_share, LEAST_BPS),
        down_bps=np.maximum(around.down_bps * down_share, LEAST_BPS),
        slowdown=np.asarray(around.slowdown, float),
        up_share=np.asarray(up_share, float),
    )


def _equal_shares(around: Surroundings, rows: np.ndarray) -> np.ndarray:
    taking = np.zeros(len(around.cell), bool)
    taking[rows] = True
    return equal_shares(around.cell, taking, around.cells)


def _refusal(job: Job, fits: bool) -> Missed:
    return Missed(job=job.id, device=job.device, reason="offline" if fits else "memory")
