"""A server, devices, a network and disks in one process, driven by one seed; everything in between
is the product's.

The network drops, repeats, reorders and cuts; a connection may be half open; processes crash and
come back; what a disk has not synchronised is lost or torn. At the end a plain reference computes,
from the journaled outcomes alone, what server and workers must be.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from simulated_disks import Disk, MemoryJournal, MemoryStore
from simulated_network import Connection, Network
from simulated_processes import DeviceProcess, ServerProcess, unmetered
from simulated_reference import ROUNDS, Adder, BrokenError, Script, replay

from distilfleet.net.coordinator import Coordinator
from distilfleet.net.device_side import DeviceSide
from distilfleet.net.job_runner import JobRunner
from distilfleet.net.protocol import Numbering
from distilfleet.net.server_side import ServerSide
from distilfleet.net.spool import Spool
from distilfleet.net.store import SqliteStore
from distilfleet.net.transfer import FlowControl

CHUNKS_BYTES = (64, 4096)
"""Small ones take several for a frame; in large ones a frame goes along with its offer."""
FAULTS_UNTIL_S, END_S = 240.0, 4000.0
REAL_DISKS = 10
"""In one of so many worlds devices have the product's own database."""


@dataclass
class Parts:
    """What a planted bug replaces."""

    coordinator: type[Coordinator] = Coordinator
    server: type[ServerSide] = ServerSide
    side: type[DeviceSide] = DeviceSide
    runner: type[JobRunner] = JobRunner
    store: type[MemoryStore] = MemoryStore
    database: type[SqliteStore] = SqliteStore
    numbering: type[Numbering] = Numbering
    flow_control: type[FlowControl] = FlowControl
    spool: type[Spool] = Spool
    journal_synced: bool = True
    checkpoint_synced: bool = True
    commit_first: bool = False


class World:
    """One run under one seed. `run` raises BrokenError where a promise is broken."""

    def __init__(self, seed: int, parts: Parts | None = None) -> None:
        self.rng, self.parts, self.now_s = random.Random(seed), parts or Parts(), 0.0
        self.real_disks = seed % REAL_DISKS == 0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.events = 0
        rng = self.rng
        self.names = tuple(f"d{i}" for i in range(rng.randint(2, 3)))
        self.doomed = rng.choice(self.names) if rng.random() < 0.15 else None
        self.chunk_bytes = rng.choice(CHUNKS_BYTES)
        self.network = Network(rng, *(rng.choice((0, 0, 0.01, 0.03)) for _ in range(3)))
        self.crashes = rng.choice((0.0, 0.02, 0.1))
        self.goal = rng.choice((None, None, len(self.names) - 1))
        self.deadline_s = rng.choice((None, 30.0, 80.0))
        self.leaving = rng.random() < 0.3
        self.asked: dict[int, tuple[str, tuple[str, ...]]] = {}
        """By round: its branch, and who was asked."""
        self.minimum = 1
        self.asleep_until_s = 0.0
        """The server stands still, and hears later what is said to it."""
        self.closed_until_s = 0.0
        """Devices put off what they are asked to do."""
        self.fails_after: int | None = None
        """The round after whose checkpoint the run raises."""
        self.schedule: Callable[[], None] = self._schedule_faults
        self.disk, self.journal = Disk(rng), MemoryJournal(rng, self.parts.journal_synced)
        self.server = ServerProcess(self)
        self.devices = {name: DeviceProcess(self, name) for name in self.names}

    @property
    def faulty(self) -> bool:
        return self.now_s < FAULTS_UNTIL_S

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        self.events += 1
        heapq.heappush(self.queue, (self.now_s + delay_s, self.events, what))

    def run(self) -> "World":
        self.server.boot()
        for device in self.devices.values():
            device.boot()
        self.schedule()
        while self.queue and self.now_s < END_S and not self._over():
            self.now_s, _, what = heapq.heappop(self.queue)
            what()
        self._check()
        return self

    def _over(self) -> bool:
        return self.server.done and not any(
            d.store.keys() for n, d in self.devices.items() if n != self.doomed
        )

    def _schedule_faults(self) -> None:
        rng = self.rng
        for _ in range(rng.choice((0, 1, 2, 4))):
            self.after(rng.uniform(0, FAULTS_UNTIL_S), self.server.kill)
        for _ in range(rng.choice((0, 1, 2, 4))):
            self.after(rng.uniform(0, FAULTS_UNTIL_S), self.devices[rng.choice(self.names)].kill)
        for _ in range(rng.choice((0, 1, 2))):
            self.after(rng.uniform(0, FAULTS_UNTIL_S), self.devices[rng.choice(self.names)].cut)

    def carry(self, connection: Connection, data: bytes, up: bool) -> None:
        """One message over the faulty network."""
        device = self.devices[connection.device]
        target = self.server.hear if up else device.hear
        is_cut = device.cut_until_s > self.now_s
        for delay_s in self.network.delays_s(connection, up, self.now_s, self.faulty, is_cut):
            self.after(delay_s, lambda: target(connection, data))

    def _check(self) -> None:
        if not self.server.done:
            raise BrokenError(f"the run is at round {self.server.number} after {END_S} s")
        rows, state = self.journal.rows(), 0
        workers = {name: Adder() for name in self.names}
        for number in range(1, ROUNDS + 1):
            branch, devices = self.asked[number]
            state = replay(self.script(number, state, devices), branch, rows, workers)
        if state != self.server.state:
            raise BrokenError("the server is not what its journal says")
        for name, device in self.devices.items():
            if name != self.doomed and device.store.keys():
                raise BrokenError(f"{name} keeps answers that are settled")
            runner = JobRunner(Adder(), device.store, unmetered)
            runner.refresh()
            if name != self.doomed and runner.worker.total != workers[name].total:
                raise BrokenError(f"the worker of {name} is not what the journal says")

    def script(self, number: int, state: int, devices: tuple[str, ...]) -> Script:
        return Script(
            state, number, devices, self.goal, self.deadline_s, self.leaving, self.minimum
        )
