"""A server, devices, a network and disks in one process, driven by one seed; everything in between is the product's.

The network drops, repeats, reorders and cuts; a connection may be half open; processes crash and come back; what a disk
has not synchronised is lost or torn. At the end a plain reference computes, from the journaled outcomes alone, what
server and workers must be.
"""

import hashlib
import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from distilfleet.core.errors import AgainError, WireError
from distilfleet.core.types import Arrays, ArraySpec, Expected, Job, Load, Missed, Reply, Result, Usage, Wave
from distilfleet.net.coordinator import Coordinator, Outbound
from distilfleet.net.device_side import Begin, DeviceSide, Held, Prepare, Refused, Settle
from distilfleet.net.job_runner import JobHistory, JobRunner
from distilfleet.net.journal import Outcome
from distilfleet.net.protocol import Beat, Hello, Numbering, Welcome, branch_of
from distilfleet.net.server_side import Drop, ServerSide
from distilfleet.net.spool import SealedFile, Spool
from distilfleet.net.store import SqliteStore
from distilfleet.net.transfer import FlowControl

ROUNDS, WAVES, BEAT_S = 3, 2, 5.0
CHUNKS_BYTES = (64, 4096)
"""Small ones take several for a frame; in large ones a frame goes along with its offer."""
FAULTS_UNTIL_S, END_S = 240.0, 4000.0
SEALED_FILE = SealedFile()
BALLAST = np.zeros(64)
"""Makes a worker's state larger than a few jobs, so that these are kept in its place."""
REAL_DISKS = 10
"""In one of so many worlds devices have the product's own database."""
EXPECTED = Expected(arrays={"x": ArraySpec("<u8", (4,))})


class CrashError(Exception):
    """The process dies here."""


class BrokenError(AssertionError):
    """A promise is not kept."""


def mixed(*words: Any) -> int:
    return int.from_bytes(hashlib.blake2b(repr(words).encode(), digest_size=6).digest(), "little")


# --- disks ------------------------------------------------------------------------------------------------------


@dataclass
class MemoryJournal:
    """`Journal`, in transactions; with `synced` off the last ones may be lost in a crash."""

    rng: random.Random
    synced: bool = True
    log: list[tuple[str, Any]] = field(default_factory=list)
    safe: int = 0

    def record(self, outcomes: Sequence[Outcome]) -> None:
        self._write(("outcomes", tuple(outcomes)))

    def commit(self, run: str, number: int) -> None:
        self._write(("round", (run, number)))

    def _write(self, entry: tuple[str, Any]) -> None:
        self.log.append(entry)
        self.safe = len(self.log) if self.synced else self.safe

    def crash(self) -> None:
        self.log = self.log[: self.rng.randint(self.safe, len(self.log))]

    @property
    def committed(self) -> int:
        return max((value[1] for kind, value in self.log if kind == "round"), default=0)

    def _committed(self, run: str) -> int:
        return max((value[1] for kind, value in self.log if kind == "round" and value[0] == run), default=0)

    def rows(self) -> dict[str, Outcome]:
        return {o.key: o for kind, value in self.log if kind == "outcomes" for o in value}

    def verdicts(self, keys: Iterable[str]) -> Mapping[str, bool]:
        rows = self.rows()
        known = (rows[key] for key in keys if key in rows)
        return {o.key: not o.reason for o in known if o.reason or o.round <= self._committed(o.run)}

    def outcomes(self, run: str, number: int) -> Sequence[Outcome]:
        return [o for o in self.rows().values() if (o.run, o.round) == (run, number)]

    def branch_off(self, run: str, number: int) -> None:
        self._write(("branch", number))

    def branches(self, run: str) -> tuple[int, int]:
        rounds = [value for kind, value in self.log if kind == "branch"]
        return len(rounds), max(rounds, default=0)


@dataclass
class Disk:
    """Files: what is not synchronised may be torn in a crash."""

    rng: random.Random
    files: dict[str, bytes] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)

    def write(self, name: str, data: bytes) -> None:
        self.files[name] = data
        self.dirty.add(name)

    def sync(self, name: str) -> None:
        self.dirty.discard(name)

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)
        if old in self.dirty:
            self.dirty.discard(old)
            self.dirty.add(new)
        else:
            self.dirty.discard(new)

    def crash(self) -> None:
        for name in self.dirty:
            self.files[name] = self.files[name][: self.rng.randint(0, len(self.files[name]) - 1)]
        self.dirty.clear()


@dataclass
class Row:
    """A job that was done."""

    key: str
    held: Held | None
    job: bytes
    state: Arrays | None


@dataclass
class MemoryStore:
    """`Store` of a device; survives its process."""

    rows: list[Row] = field(default_factory=list)

    def keys(self) -> list[str]:
        return [row.key for row in self.rows if row.held is not None]

    def held(self) -> Mapping[str, Held]:
        return {row.key: row.held for row in self.rows if row.held is not None}

    def history(self) -> JobHistory:
        at = max((i for i, row in enumerate(self.rows) if row.state is not None), default=-1)
        return JobHistory(self.rows[at].state if at >= 0 else None, [row.job for row in self.rows[at + 1 :]])

    def finish(self, key: str, held: Held, job: bytes, state: Arrays | None) -> None:
        self.rows.append(Row(key, held, job, state))

    def keep(self, keys: Sequence[str]) -> None:
        for row in self.rows:
            row.held = None if row.key in keys else row.held

    def take_back(self, key: str) -> None:
        self.rows = [row for row in self.rows if row.key != key or row.held is None]


@cache
def database(name: str, kind: type[SqliteStore]) -> SqliteStore:
    """One for all worlds, because to make one takes longer than a world does."""
    return kind(Path(":memory:"))


def emptied(store: SqliteStore) -> SqliteStore:
    store._base.executescript("delete from work; delete from runs")
    store.open_run("run")
    return store


# --- what is computed -------------------------------------------------------------------------------------------


@dataclass
class Adder:
    """A worker that remembers everything that it was asked."""

    total: int = 0

    def load(self, job: Job) -> Load:
        return Load()

    def handle(self, job: Job) -> Arrays:
        self.total = mixed(self.total, int(job.arrays["x"][0]))
        return {"x": np.full(4, self.total, np.uint64)}

    def snapshot(self) -> Arrays:
        return {"total": np.array(self.total, np.uint64), "ballast": BALLAST}

    def restore(self, kept: Arrays) -> None:
        self.total = int(kept["total"])


@dataclass(frozen=True)
class Told:
    """What a round does, for real and in the reference."""

    state: int
    number: int
    devices: tuple[str, ...]
    goal: int | None
    deadline_s: float | None
    leaving: bool
    """Whoever misses a wave is not asked again in its round."""
    minimum: int = 1

    def steps(self) -> Iterator[Any]:
        state, devices = self.state, self.devices
        for step in range(WAVES):
            jobs = [
                Job(id=f"{self.number}:{step}:{d}", device=d, op="add", arrays=asked(state), expected=EXPECTED)
                for d in devices
            ]
            goal = None if self.goal is None else min(self.goal, len(jobs))
            results = yield Wave(jobs=jobs, goal=goal, minimum=self.minimum, deadline_s=self.deadline_s)
            state = mixed(state, [said(result) for result in results])
            if self.leaving:
                devices = tuple(result.device for result in results if isinstance(result, Reply))
        return state


def asked(state: int) -> Arrays:
    return {"x": np.full(8, state, np.uint64)}


def said(result: Result) -> tuple[str, int]:
    return result.device, -1 if isinstance(result, Missed) else int(result.arrays["x"][0])


# --- the world --------------------------------------------------------------------------------------------------


@dataclass
class Parts:
    """What a planted bug replaces."""

    coordinator: type[Coordinator] = Coordinator
    server: type[ServerSide] = ServerSide
    side: type[DeviceSide] = DeviceSide
    runner: type[JobRunner] = JobRunner
    store: type[MemoryStore] = MemoryStore
    database: type[SqliteStore] = SqliteStore
    line: type[Numbering] = Numbering
    room: type[FlowControl] = FlowControl
    spool: type[Spool] = Spool
    journal_synced: bool = True
    checkpoint_synced: bool = True
    commit_first: bool = False


@dataclass
class Connection:
    device: str
    server_line: Numbering
    device_line: Numbering
    alive: bool = True
    fence: int = 0
    last_s: tuple[float, float] = (0.0, 0.0)


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
        self.loss, self.twice, self.swap = (rng.choice((0, 0, 0.01, 0.03)) for _ in range(3))
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
        return self.server.done and not any(d.store.keys() for n, d in self.devices.items() if n != self.doomed)

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
        rng = self.rng
        target = self.server.hear if up else self.devices[connection.device].hear
        chance = rng.random() if self.faulty else 1.0
        if self.faulty and self.devices[connection.device].cut_until_s > self.now_s:
            return
        if chance < self.loss:
            return
        at_s = max(connection.last_s[up], self.now_s) + 0.01
        connection.last_s = (connection.last_s[0], at_s) if up else (at_s, connection.last_s[1])
        delay_s = at_s - self.now_s
        if chance < self.loss + self.swap:
            delay_s += rng.uniform(0, 8)
        self.after(delay_s, lambda: target(connection, data))
        if chance > 1 - self.twice and self.faulty:
            self.after(delay_s + rng.uniform(0, 3), lambda: target(connection, data))

    def _check(self) -> None:
        if not self.server.done:
            raise BrokenError(f"the run is at round {self.server.number} after {END_S} s")
        rows, state = self.journal.rows(), 0
        workers = {name: Adder() for name in self.names}
        for number in range(1, ROUNDS + 1):
            branch, devices = self.asked[number]
            state = replay(self.told(number, state, devices), branch, rows, workers)
        if state != self.server.state:
            raise BrokenError("the server is not what its journal says")
        for name, device in self.devices.items():
            if name != self.doomed and device.store.keys():
                raise BrokenError(f"{name} keeps answers that are settled")
            runner = JobRunner(Adder(), device.store, unmetered)
            runner.refresh()
            if name != self.doomed and runner.worker.total != workers[name].total:
                raise BrokenError(f"the worker of {name} is not what the journal says")

    def told(self, number: int, state: int, devices: tuple[str, ...]) -> Told:
        return Told(state, number, devices, self.goal, self.deadline_s, self.leaving, self.minimum)


def replay(told: Told, branch: str, rows: Mapping[str, Outcome], workers: Mapping[str, Adder]) -> int:
    """A round in plain Python, given the outcomes."""
    steps = told.steps()
    wave = next(steps)
    while True:
        results = []
        for job in wave.jobs:
            outcome = rows.get(f"{branch}/{job.id}")
            if outcome is None:
                raise BrokenError(f"the journal does not know {job.id}")
            if outcome.reason:
                results.append(Missed(job=job.id, device=job.device, reason=outcome.reason))
            else:
                arrays = workers[job.device].handle(job)
                results.append(Reply(job=job.id, device=job.device, arrays=arrays))
        try:
            wave = steps.send(results)
        except StopIteration as done:
            return done.value


def unmetered(work: Callable[[], Arrays]) -> tuple[Arrays, Usage]:
    return work(), Usage()


# --- processes --------------------------------------------------------------------------------------------------


class ServerProcess:
    """Desk and sessions, a round under way, checkpoints."""

    def __init__(self, world: World) -> None:
        self.world, self.up, self.done, self.life = world, False, False, 0
        self.told_committed = 0

    def boot(self) -> None:
        world, parts = self.world, self.world.parts
        self.up, self.life = True, self.life + 1
        self.connections: dict[str, Connection] = {}
        room = parts.room(most_bytes=world.rng.choice((100, 200, 10_000)))
        down = parts.room(most_bytes=world.rng.choice((100, 300, 10_000)))
        server = parts.server(
            uploads=room, downloads=down, now_s=world.now_s, beat_s=BEAT_S, chunk_bytes=world.chunk_bytes
        )
        spool = parts.spool(most_bytes=world.rng.choice((0, 100, 10_000)), sealed_file=SEALED_FILE)
        patience = {"patience_s": 60.0, "longest_s": inf}  # a job that nobody gets must hold up the run
        own = {
            "run": branch_of("run", world.journal.branches("run")[0]),
            "roster": world.names,
            "spool": spool,
            "asleep_s": 3 * BEAT_S,
            **patience,
        }
        self.coordinator = parts.coordinator(server=server, journal=world.journal, **own)
        self.number, self.state = self._checkpoint()
        if self.number < world.journal.committed:
            raise BrokenError(f"round {world.journal.committed} is committed, the checkpoint is of {self.number}")
        self.guarded(self._begin)
        life = self.life
        self.world.after(1.0, lambda: self._tick(life))

    def guarded(self, what: Callable[[], None]) -> None:
        try:
            what()
        except CrashError:
            self.kill()

    def failpoint(self) -> None:
        if self.world.faulty and self.world.rng.random() < self.world.crashes:
            raise CrashError

    def kill(self) -> None:
        if not self.up or not self.world.faulty:
            return
        self.up = self.done = False
        for connection in self.connections.values():
            self._close(connection)
        self.world.journal.crash()
        self.world.disk.crash()
        self.world.after(self.world.rng.uniform(0.1, 20), self.boot)

    def _checkpoint(self) -> tuple[int, int]:
        for number in range(ROUNDS, 0, -1):
            fields = self.world.disk.files.get(f"round-{number}", b"").split()
            if len(fields) == 2 and int(fields[1]) == mixed(int(fields[0])):
                return number, int(fields[0])
        return 0, 0

    def _begin(self) -> None:
        self.failpoint()
        self.say(self.coordinator.begin(self.number + 1))
        if self.number == ROUNDS:
            self.done = True
            return
        self._ask(self.world.names)

    def _begin_again(self) -> None:
        self.failpoint()
        devices, said = self.coordinator.begin_again()
        self.say(said)
        self._ask(tuple(devices))

    def _ask(self, devices: tuple[str, ...]) -> None:
        self.world.asked[self.number + 1] = self.coordinator.run, devices
        self.steps = self.world.told(self.number + 1, self.state, devices).steps()
        self._start(next(self.steps))

    def _start(self, wave: Wave) -> None:
        self.ticket, said = self.coordinator.start(wave, self.world.now_s)
        self.say(said)

    def _poll(self) -> None:
        if self.done:
            return
        try:
            results, said = self.coordinator.collect(self.ticket, self.world.now_s)
        except AgainError:
            self._begin_again()
            return
        if results is None:
            return
        self.failpoint()
        self.say(said)
        self.failpoint()
        try:
            wave = self.steps.send(results)
        except StopIteration as finished:
            self._finish(finished.value)
        else:
            self._start(wave)

    def _finish(self, state: int) -> None:
        world, number = self.world, self.number + 1
        if world.parts.commit_first:
            self.say(self.coordinator.commit(number))
            self.failpoint()
        self.coordinator.record()
        self.failpoint()
        world.disk.write("unfinished", f"{state} {mixed(state)}".encode())
        if world.parts.checkpoint_synced:
            self.failpoint()
            world.disk.sync("unfinished")
        self.failpoint()
        world.disk.rename("unfinished", f"round-{number}")
        self.number, self.state = number, state
        if number == world.fails_after:
            self.fail()
        self._begin()

    def fail(self) -> None:
        """The run raises. The next one begins with the rounds that are left, so that one reference does for both."""
        self.say(self.coordinator.abandon(self.number))
        self.say(self.coordinator.prepare("next", b"", self.world.names))

    def fail_and_begin(self) -> None:
        if not self.done:
            self.fail()
            self._begin()

    def _later(self, what: Callable[[], None]) -> bool:
        """Whether the process stands still; then it does that when it goes on."""
        still_s = self.world.asleep_until_s - self.world.now_s
        if still_s > 0:
            self.world.after(still_s, what)
        return still_s > 0

    def _tick(self, life: int) -> None:
        if not self.up or life != self.life or self._later(lambda: self._tick(life)):
            return
        self.guarded(lambda: (self.say(self.coordinator.tick(self.world.now_s)), self._poll())[0])
        self.world.after(BEAT_S, lambda: self._tick(life))

    def hear(self, connection: Connection, data: bytes) -> None:
        if not self.up or not connection.alive or self._later(lambda: self.hear(connection, data)):
            return
        self.guarded(lambda: self._hear(connection, data))
        for room in (self.coordinator.server.uploads, self.coordinator.server.downloads):
            if room.used_bytes > room.most_bytes and len(room.taken) > 1:
                raise BrokenError("more is under way than there is room for")

    def _hear(self, connection: Connection, data: bytes) -> None:
        try:
            message = connection.server_line.read(data)
            if message is None:
                return
            if isinstance(message, Hello):
                said = self._enter(connection, message)
            else:
                said = self.coordinator.receive(connection.device, connection.fence, message, self.world.now_s)
        except WireError:
            self._close(connection)
            return
        self.say(said)
        self._poll()

    def _enter(self, connection: Connection, hello: Hello) -> Outbound:
        older = self.connections.get(connection.device)
        connection.fence, said = self.coordinator.enter(hello, self.world.now_s)
        if not connection.fence:
            for one in said:
                self.world.carry(connection, connection.server_line.write(one.message), up=False)
            return []
        self.connections[connection.device] = connection
        if older is not None:
            self._close(older)
        return said

    def _close(self, connection: Connection) -> None:
        connection.alive = False
        self.say(self.coordinator.leave(connection.device, connection.fence) if self.up else [])
        if self.world.rng.random() < 0.7 or not self.world.faulty:
            self.world.after(0.05, lambda: self.world.devices[connection.device].closed(connection))

    def say(self, said: Outbound) -> None:
        for one in said:
            connection = self.connections.get(one.device)
            if connection is None or not connection.alive:
                continue
            if isinstance(one, Drop):
                self._close(connection)
            else:
                self.world.carry(connection, connection.server_line.write(one.message), up=False)


class DeviceProcess:
    """Session, bench and disk of a device."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.store: MemoryStore | SqliteStore = world.parts.store()
        if world.real_disks:
            self.store = emptied(database(name, world.parts.database))
        self.cut_until_s, self.up, self.life, self.connection = 0.0, False, 0, None

    def boot(self) -> None:
        if self.name == self.world.doomed and self.world.now_s > 40:
            return
        self.up, self.life = True, self.life + 1
        parts = self.world.parts
        self.runner = parts.runner(Adder(), self.store, self.metered)
        self.side = parts.side(
            device=self.name,
            most_bytes=10_000,
            held=dict(self.store.held()),
            chunk_bytes=self.world.chunk_bytes,
            beat_s=BEAT_S,
        )
        self.todo: list[Begin] = []
        self.busy = False
        self.connect(self.life)
        self._beat(self.life)

    def kill(self) -> None:
        if self.up and self.world.faulty:
            self.up = False
            if self.connection is not None and self.world.rng.random() < 0.5:
                connection = self.connection
                self.world.after(0.05, lambda: self.world.server.up and self.world.server._close(connection))
            self.world.after(self.world.rng.uniform(0.1, 40), self.boot)

    def cut(self) -> None:
        """The network does not reach this device for a while."""
        self.cut_until_s = self.world.now_s + self.world.rng.uniform(1, 60)

    def connect(self, life: int) -> None:
        if self.up and life == self.life:
            self.connection = Connection(self.name, self.world.parts.line(), self.world.parts.line())
            self.say([self.side.hello(self.world.now_s)])

    def closed(self, connection: Connection, pause_s: float = 0.0) -> None:
        if self.up and connection is self.connection:
            self.connection, self.side.open, life = None, False, self.life
            self.world.after(max(pause_s, self.world.rng.uniform(0.2, 3)), lambda: self.connect(life))

    def _beat(self, life: int) -> None:
        if not self.up or life != self.life:
            return
        if self.name == self.world.doomed and self.world.now_s > 40:
            self.up = False
            return
        if self.connection is not None and self.side.over(self.world.now_s):
            self.closed(self.connection)
        elif self.connection is not None and self.side.open:
            self.say([Beat()])
        self.world.after(BEAT_S, lambda: self._beat(life))

    def hear(self, connection: Connection, data: bytes) -> None:
        if not self.up or connection is not self.connection:
            return
        try:
            message = connection.device_line.read(data)
            outputs = [] if message is None else self.side.receive(message, self.world.now_s)
        except WireError:
            self.closed(connection)
            return
        self.act(outputs)

    def act(self, outputs: Iterable[Any]) -> None:
        for output in outputs:
            match output:
                case Begin():
                    self.todo.append(output)
                    self._work()
                case Settle():
                    self._check_commit(output)
                    if output.counted:
                        self.store.keep([output.key])
                    else:
                        self.runner.take_back(output.key)
                case Refused():
                    self.closed(self.connection, output.retry_s)
                case Prepare() | Welcome():
                    pass
                case _:
                    self.say([output])

    def _check_commit(self, settle: Settle) -> None:
        number = int(settle.key.partition("/")[2].partition(":")[0])
        if settle.counted and self.world.server._checkpoint()[0] < number:
            raise BrokenError(f"{settle.key} is told as committed before its checkpoint")

    def _work(self) -> None:
        if self.todo and not self.busy:
            self.busy, begin, life = True, self.todo.pop(0), self.life
            slow = self.world.rng.random() < 0.1 and self.world.faulty
            self.world.after(self.world.rng.uniform(20, 90) if slow else 1.0, lambda: self._worked(begin, life))

    def _worked(self, begin: Begin, life: int) -> None:
        if not self.up or life != self.life:
            return
        self.busy = False
        if self.side.running.get(begin.key) == begin.digest and self.world.now_s < self.world.closed_until_s:
            self.act(self.side.decline(begin.key, "later: not now"))
        elif self.side.running.get(begin.key) == begin.digest:
            held = self.runner.handle(begin.key, begin.digest, begin.data)
            if self.world.faulty and self.world.rng.random() < self.world.crashes:
                self.kill()
                return
            self.act(self.side.answer(begin.key, held))
        self._work()

    def metered(self, work: Callable[[], Arrays]) -> tuple[Arrays, Usage]:
        """Of a long job the state is kept, of short ones the jobs."""
        return work(), Usage(busy_s=self.world.rng.choice((0.0, 0.3, 2.0)))

    def say(self, messages: Iterable[Any]) -> None:
        for message in messages:
            if self.connection is not None:
                self.world.carry(self.connection, self.connection.device_line.write(message), up=True)
