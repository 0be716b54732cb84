"""Predicted beside measured: the jobs of a real fleet's round, priced as `SimFleet` prices them.

The same waves go through the same virtual clock with the same prices, from the loads that devices
declare for their jobs and the sizes of the frames that travelled; only who answered is the real
fleet's. So a round in which nobody is missed is predicted to take exactly what it takes in
simulation, and what differs is the board, not the work.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..core import wire
from ..core.tally import Jobs, Pair, PredictedAgainstMeasured, Tally, Timed
from ..core.types import Conditions, Device, DeviceId, Job, Load, Missed, Reply, Result, Wave
from ..cost.compute import compute_s
from ..sim.clock import COMPUTE, DOWN, UP, Clock
from ..sim.prices import Frames, Profiles
from ..training.wrapped import WrappedFleet


@dataclass(slots=True)
class Called:
    """A wave, and what came of it, without the answers, which may lie on a disk."""

    deadline_s: float
    """0 without one."""
    frames: Mapping[str, int]
    """Bytes, by job."""
    answered: Sequence[str] = ()
    """Jobs."""
    late: bool = False
    """Whether it ended at its deadline."""


@dataclass(slots=True, kw_only=True)
class PredictingFleet(WrappedFleet):
    """A real fleet whose rounds are priced beside what they took."""

    server: Device
    _script: list[Load | tuple[str, int]] = field(default_factory=list)
    """What the round asked for, in order: ("start" or "collect", ticket), or the server's work."""
    _waves: dict[int, Called] = field(default_factory=dict)
    _began_s: float = 0.0
    _ended_s: float = 0.0

    def start(self, wave: Wave) -> int:
        if not self._script:
            self._began_s = time.monotonic()
        ticket = self.inner.start(wave)
        self._waves[ticket] = Called(
            wave.deadline_s or 0.0, {job.id: _frame_bytes(job) for job in wave.jobs}
        )
        self._script.append(("start", ticket))
        return ticket

    def collect(self, ticket: int) -> list[Result]:
        results = self.inner.collect(ticket)
        called = self._waves[ticket]
        called.answered = [one.job for one in results if isinstance(one, Reply)]
        called.late = any(isinstance(one, Missed) and one.reason == "deadline" for one in results)
        self._script.append(("collect", ticket))
        self._ended_s = time.monotonic()
        return results

    def work(self, load: Load) -> None:
        self.inner.work(load)
        self._script.append(load)
        self._ended_s = time.monotonic()

    def tally(self) -> Tally:
        tally = self.inner.tally()
        timed = {one.job: one for one in (tally.times.jobs if tally.times is not None else ())}
        priced = _Priced(self.inner.roster(), self.server, self._waves, timed)
        predicted_s = priced.play(self._script)
        prediction = PredictedAgainstMeasured(
            round_s=(max(0.0, self._ended_s - self._began_s), predicted_s),
            server_s=(tally.server.busy_s, priced.clock.serving_s),
            kinds=priced.kinds(),
        )
        self._script = []
        self._waves = {}
        self._began_s = 0.0
        self._ended_s = 0.0
        return replace(tally, prediction=prediction)

    def conditions(self, number: int) -> Conditions:
        self._script = []  # of a round that is done again
        self._waves = {}
        return self.inner.conditions(number)


class _Priced:
    """One round in virtual time."""

    def __init__(
        self,
        devices: Mapping[DeviceId, Device],
        server: Device,
        waves: Mapping[int, Called],
        timed: Mapping[str, Timed],
    ) -> None:
        self.devices = devices
        self.server = server
        self.waves = waves
        self.timed = timed
        self.profiles = Profiles.of(devices)
        self.clock = Clock(np.zeros((3, len(devices))))
        self.until_s: dict[int, float] = {}
        self.priced: list[tuple[Timed, np.ndarray]] = []
        """Jobs with their predicted seconds in each stage."""

    def play(self, script: Iterable[Load | tuple[str, int]]) -> float:
        """Seconds that the round is predicted to take."""
        for step in script:
            if isinstance(step, Load):
                self.clock.serve(self._server_s(step))
            elif step[0] == "start":
                self._start(step[1])
            else:
                self.clock.wait(self.until_s[step[1]])
        return self.clock.now_s

    def kinds(self) -> dict[str, Jobs]:
        by_kind: dict[str, list[tuple[Timed, np.ndarray]]] = {}
        for timed, seconds_3 in self.priced:
            by_kind.setdefault(self.devices[timed.device].kind, []).append((timed, seconds_3))
        return {kind: self._sums(own) for kind, own in by_kind.items()}

    def _server_s(self, load: Load) -> float:
        server = self.server
        return float(
            compute_s(
                load.flops, load.moved_bytes, server.speed_flops_per_s, server.memory_bytes_per_s
            )
        )

    def _start(self, ticket: int) -> None:
        called = self.waves[ticket]
        known = [self.timed[job] for job in called.answered if job in self.timed]
        timed_J = [one for one in known if one.flops is not None]
        index_J = np.array([self.profiles.index[one.device] for one in timed_J], np.int64)
        frames = Frames(
            down_bytes_J=np.array([called.frames[one.job] for one in timed_J]),
            up_bytes_J=np.array([one.up_bytes for one in timed_J]),
        )
        loads = list(map(_load, timed_J))
        seconds_3J = self.profiles.durations(index_J, loads, frames, self.profiles.air)
        passage = self.clock.pass_through(index_J, seconds_3J)
        waited_s = self.clock.now_s + called.deadline_s * called.late
        until_s = max([waited_s, *passage.finish_s.tolist()])
        self.clock.occupy(index_J, passage, until_s)
        self.until_s[ticket] = until_s
        self.priced += [(timed, seconds_3J[:, j]) for j, timed in enumerate(timed_J)]

    def _sums(self, own: Sequence[tuple[Timed, np.ndarray]]) -> Jobs:
        def pair(measured: Iterable[float], stage: int) -> Pair:
            return sum(measured), float(sum(seconds_3[stage] for _, seconds_3 in own))

        known = [timed for timed, _ in own]
        predicted_j = sum(
            self.devices[timed.device].busy_w * seconds_3[COMPUTE] for timed, seconds_3 in own
        )
        return Jobs(
            jobs=len(own),
            metered=sum(timed.metered for timed in known),
            down_s=pair(
                (
                    timed.received_s - timed.sent_s
                    for timed in known
                    if timed.received_s is not None
                ),
                DOWN,
            ),
            busy_s=pair((timed.busy_s for timed in known), COMPUTE),
            up_s=pair((timed.uploaded_s - timed.offered_s for timed in known), UP),
            busy_j=(sum(timed.energy_j for timed in known), float(predicted_j)),
        )


def _load(timed: Timed) -> Load:
    return Load(flops=timed.flops or 0.0, moved_bytes=timed.moved_bytes or 0.0)


def _frame_bytes(job: Job) -> int:
    """As simulated: a real fleet sends the announcement of the answer along."""
    return wire.head_bytes(job)[0] + wire.encoded_bytes(job.arrays)
