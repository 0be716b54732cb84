"""The real fleet: `core.types.Fleet` over sessions with agents. It measures where the simulated one prices.

A round runs in its own thread, sessions in another; between them nothing is shared but calls into the loop.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import numpy as np

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
    Tally,
    Usage,
    Wave,
)
from ..cost.energy import energy_j
from .hub import Hub

T = TypeVar("T")


class NetFleet:
    """Implements `core.types.Fleet`. A round's outcomes are committed when the next one begins, or by `finish`.

    Whoever drives it must have each round's checkpoint on disk before the next round: `checkpoint_every_s` of zero.
    """

    def __init__(
        self, devices: Mapping[DeviceId, Device], server: Device, hub: Hub, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._devices, self._server, self._hub, self._loop = devices, server, hub, loop
        self._ids = tuple(devices)
        self._before_s, self._began_s = 0.0, time.monotonic()
        self._mark_s = self._tally_s = self._began_s
        self._serving_s = 0.0
        self._answered: list[DeviceId] = []
        self._missed: list[Missed] = []

    def roster(self) -> Mapping[DeviceId, Device]:
        return self._devices

    def open(self, run: str, spec: bytes) -> None:
        """Tell all devices what run is on."""
        self._call(self._say_prepare(run, spec))

    def conditions(self, number: int) -> Conditions:
        self._call(self._say_begin(number))
        return Conditions(round=number, devices=self._devices, ids=self._ids)

    def adopt(self, plan: Plan) -> None:
        """Shares and clocks are the machines' own."""

    def start(self, wave: Wave) -> int:
        ticket = self._call(self._hub.start(wave))
        self._mark_s = time.monotonic()
        return ticket

    def collect(self, ticket: int) -> list[Result]:
        results = self._call(self._hub.collect(ticket))
        self._answered += [result.device for result in results if isinstance(result, Reply)]
        self._missed += [result for result in results if isinstance(result, Missed)]
        self._mark_s = time.monotonic()
        return results

    def work(self, load: Load) -> None:
        """What the server did since it last spoke with devices."""
        now_s = time.monotonic()
        self._serving_s, self._mark_s = self._serving_s + now_s - self._mark_s, now_s

    def tally(self) -> Tally:
        now_s, server = time.monotonic(), self._server
        lasting_s = max(now_s - self._tally_s, self._serving_s)
        server_j = float(energy_j(lasting_s, self._serving_s, 0.0, server.idle_w, server.busy_w, 0.0))
        tally = Tally(
            devices=self._call(self._take_usage()),
            server=Usage(busy_s=self._serving_s, energy_j=server_j),
            elapsed_s=self._before_s + now_s - self._began_s,
            answered=self._answered,
            missed=self._missed,
        )
        self._answered, self._missed, self._serving_s, self._tally_s = [], [], 0.0, now_s
        return tally

    def kept(self) -> Mapping[DeviceId, Arrays]:
        """What devices keep stays there."""
        return {}

    def snapshot(self) -> Arrays:
        return {"elapsed": np.array(self._before_s + time.monotonic() - self._began_s)}

    def restore(self, kept: Arrays) -> None:
        self._before_s, self._began_s = float(kept["elapsed"]), time.monotonic()

    def finish(self, number: int) -> None:
        """The last round's checkpoint is on disk."""
        self._call(self._say_commit(number))

    async def _say_prepare(self, run: str, spec: bytes) -> None:
        self._hub.say(self._hub.desk.prepare(run, spec))

    async def _say_begin(self, number: int) -> None:
        self._hub.say(self._hub.desk.begin(number))

    async def _say_commit(self, number: int) -> None:
        self._hub.say(self._hub.desk.commit(number))

    async def _take_usage(self) -> Usage:
        spent = self._hub.desk.spent
        used, spent.usage = spent.usage, Usage(measured=True)
        return used

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
