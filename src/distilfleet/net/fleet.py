"""The real fleet: `core.protocols.Fleet` over sessions with agents. It measures where the simulated
one prices.

A round runs in its own thread, sessions in another; between them nothing is shared but calls into
the loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from math import inf
from typing import Any, TypeVar

import numpy as np

from ..core.errors import AgainError
from ..core.failpoint import reached
from ..core.tally import Tally, Timed, Times
from ..core.types import (
    Arrays,
    Conditions,
    Device,
    DeviceId,
    Load,
    Missed,
    Plan,
    Reply,
    Result,
    Usage,
    Wave,
)
from ..cost.energy import energy_j
from .loops import begin
from .mark import marked
from .session_server import SessionServer
from .waiting import Standing

log = logging.getLogger(__name__)
T = TypeVar("T")
POLL_S = 0.5
"""A wave that is not over is looked at again after so long."""
Waiting = Callable[[Standing], None]
"""Hears how a round stands, again and again while it is not over, and that it goes on; what it
raises ends it."""


def ignore(_standing: Standing) -> None:
    """Nobody asks."""


class NetFleet:
    """Implements `core.protocols.Fleet`. A round's outcomes are committed when the next one begins,
    or by `finish`.

    Whoever drives it must have each round's checkpoint on disk before the next round:
    `checkpoint_every_s` of zero.
    """

    def __init__(
        self,
        devices: Mapping[DeviceId, Device],
        server: Device,
        session_server: SessionServer,
        loop: asyncio.AbstractEventLoop,
        waiting: Waiting = ignore,
    ) -> None:
        self._devices = devices
        self._server = server
        self._session_server = session_server
        self._loop = loop
        self._waiting = waiting
        self._ids = tuple(devices)
        self._before_s = 0.0
        self._began_s = inf
        self._mark_s = self._tally_s = self._round_s = 0.0
        self._serving: list[tuple[float, float]] = []
        self._waves = 0
        self._started: dict[int, Future[int]] = {}
        """The session server's ticket for each of ours."""
        self._answered: list[DeviceId] = []
        self._missed: list[Missed] = []

    def roster(self) -> Mapping[DeviceId, Device]:
        return self._devices

    def open(self, run: str, spec: bytes) -> None:
        """Tell all devices what run is on."""
        self._call(lambda: self._prepare(run, spec))

    def present(self) -> Sequence[DeviceId]:
        """Who is connected now."""
        return self._call(self._ask_present)

    def conditions(self, number: int) -> Conditions:
        ids = self._call(lambda: self._begin_round(number))
        self._answered = []
        self._missed = []
        self._started = {}
        self._round_s = now_s = time.monotonic()
        if self._began_s == inf:  # what came before, as to train a teacher, is not the fleet's
            self._began_s = self._tally_s = self._mark_s = now_s
        return Conditions(round=number, devices=self._devices, ids=ids)

    def adopt(self, plan: Plan) -> None:
        """Who takes part, and how many must. Shares and clocks are the machines' own."""
        self._call(lambda: self._plan(plan))

    def start(self, wave: Wave) -> int:
        """Returns at once: jobs are written and sent while the round goes on."""
        self._waves += 1
        self._started[self._waves] = self._begin(lambda: self._session_server.start(wave))
        self._mark_s = time.monotonic()
        return self._waves

    def collect(self, ticket: int) -> list[Result]:
        """Raises AgainError if other devices are to have the round, StarvedError if none can."""
        theirs = self._started.pop(ticket).result()
        try:
            results = self._results(self._begin(lambda: self._session_server.collect(theirs)))
        except AgainError as fault:
            log.warning("%s", fault)
            raise
        self._answered += [result.device for result in results if isinstance(result, Reply)]
        self._missed += [result for result in results if isinstance(result, Missed)]
        self._mark_s = time.monotonic()
        return results

    def work(self, load: Load) -> None:
        """What the server did since it last spoke with devices."""
        now_s = time.monotonic()
        self._serving.append((self._mark_s, now_s))
        self._mark_s = now_s

    def tally(self) -> Tally:
        now_s = time.monotonic()
        used, times = self._call(self._take_usage)
        tally = Tally(
            devices=used,
            server=self._server_usage(now_s),
            elapsed_s=self._elapsed_s(now_s),
            answered=self._answered,
            missed=self._missed,
            times=self._times(times),
        )
        self._answered = []
        self._missed = []
        self._serving = []
        self._tally_s = now_s
        return tally

    def _server_usage(self, now_s: float) -> Usage:
        """As modelled: a server draws its power at work while it computes, and else its idle
        power."""
        serving_s = sum(end_s - begin_s for begin_s, end_s in self._serving)
        lasting_s = max(now_s - self._tally_s, serving_s)
        server_j = energy_j(
            lasting_s, serving_s, 0.0, self._server.idle_w, self._server.busy_w, 0.0
        )
        return Usage(busy_s=serving_s, energy_j=float(server_j))

    def kept(self) -> Mapping[DeviceId, Arrays]:
        """What devices keep stays there."""
        return {}

    def snapshot(self) -> Arrays:
        run, counted = self._call(self._record)
        return {"elapsed": np.array(self._elapsed_s(time.monotonic())), **marked(run, counted)}

    def restore(self, kept: Arrays) -> None:
        self._before_s = float(kept["elapsed"])
        self._began_s = inf

    def finish(self, number: int) -> None:
        """The last round's checkpoint is on disk."""
        self._call(lambda: self._commit(number))

    def abandon(self, number: int) -> None:
        """The run failed after this round, whose checkpoint is on disk: nothing of what came since
        is wanted."""
        self._call(lambda: self._abandon(number))

    def _results(self, coming: "Future[list[Result]]") -> list[Result]:
        """Once they are there; until then whoever wants to know hears how the round stands."""
        while not wait([coming], POLL_S).done:
            self._waiting(self._call(self._ask_standing))
        self._waiting(Standing())
        return coming.result()

    async def _ask_present(self) -> Sequence[DeviceId]:
        side = self._session_server.coordinator.server
        now_s = time.monotonic()
        return [device for device in self._ids if not side.away_s(device, now_s)]

    async def _ask_standing(self) -> Standing:
        return self._session_server.coordinator.standing()

    async def _plan(self, plan: Plan) -> None:
        self._session_server.coordinator.plan(plan)

    async def _prepare(self, run: str, spec: bytes) -> None:
        self._session_server.dispatch(
            self._session_server.coordinator.prepare(run, spec, self._ids)
        )
        reached("run.opened")

    async def _begin_round(self, number: int) -> Sequence[DeviceId]:
        """Whom to ask: everybody, or of a round that is done again those who can have it."""
        coordinator = self._session_server.coordinator
        ids: Sequence[DeviceId] = self._ids
        if coordinator.number == number:
            ids, outbound = coordinator.begin_again()
        else:
            outbound = coordinator.begin(number)
        self._session_server.dispatch(outbound)
        reached("round.begun")
        return ids

    async def _record(self) -> tuple[str, Mapping[str, DeviceId]]:
        coordinator = self._session_server.coordinator
        coordinator.record()
        return coordinator.run, dict(coordinator.counted)

    async def _commit(self, number: int) -> None:
        self._session_server.dispatch(self._session_server.coordinator.commit(number))

    async def _abandon(self, number: int) -> None:
        self._session_server.dispatch(self._session_server.coordinator.abandon(number))

    async def _take_usage(self) -> tuple[Usage, list[Timed]]:
        reported = self._session_server.coordinator.reported
        used = reported.usage
        reported.usage = Usage(measured=True)
        times = reported.times
        reported.times = []
        return used, times

    def _elapsed_s(self, now_s: float) -> float:
        """Since the first round began, without the time that no server was there."""
        return self._before_s + max(0.0, now_s - self._began_s)

    def _times(self, jobs: Sequence[Timed]) -> Times:
        began_s = self._round_s
        server_s = [(begin_s - began_s, end_s - began_s) for begin_s, end_s in self._serving]
        return Times(jobs=[since(began_s, one) for one in jobs], server_s=server_s)

    def _call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._begin(work).result()

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> "Future[T]":
        return begin(self._loop, work)


def since(began_s: float, timed: Timed) -> Timed:
    """The same on a clock that begins then."""

    def on_it(at_s: float | None) -> float | None:
        return None if at_s is None else at_s - began_s

    return replace(
        timed,
        sent_s=timed.sent_s - began_s,
        received_s=on_it(timed.received_s),
        begun_s=on_it(timed.begun_s),
        done_s=on_it(timed.done_s),
        offered_s=timed.offered_s - began_s,
        uploaded_s=timed.uploaded_s - began_s,
    )
