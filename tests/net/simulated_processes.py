"""Processes of a simulated world, the server's and the devices': the product's machines, and what
would drive them."""

from collections.abc import Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any

from simulated_disks import MemoryStore, database, emptied
from simulated_network import Connection
from simulated_reference import ROUNDS, Adder, BrokenError, mixed

from distilfleet.core.errors import AgainError, WireError
from distilfleet.core.types import Arrays, Usage, Wave
from distilfleet.net.coordinator import Outbound
from distilfleet.net.device_side import Begin, Prepare, Refused, Settle
from distilfleet.net.protocol import Beat, Hello, Welcome, branch_of
from distilfleet.net.server_side import Drop
from distilfleet.net.spool import SealedFile
from distilfleet.net.store import SqliteStore

if TYPE_CHECKING:
    from simulated import World

BEAT_S = 5.0
SEALED_FILE = SealedFile()


class CrashError(Exception):
    """The process dies here."""


class ServerProcess:
    """Desk and sessions, a round under way, checkpoints."""

    def __init__(self, world: "World") -> None:
        self.world, self.up, self.done, self.life = world, False, False, 0
        self.told_committed = 0

    def boot(self) -> None:
        world, parts = self.world, self.world.parts
        self.up, self.life = True, self.life + 1
        self.connections: dict[str, Connection] = {}
        uploads = parts.flow_control(most_bytes=world.rng.choice((100, 200, 10_000)))
        downloads = parts.flow_control(most_bytes=world.rng.choice((100, 300, 10_000)))
        server = parts.server(
            uploads=uploads,
            downloads=downloads,
            now_s=world.now_s,
            beat_s=BEAT_S,
            chunk_bytes=world.chunk_bytes,
        )
        spool = parts.spool(most_bytes=world.rng.choice((0, 100, 10_000)), sealed_file=SEALED_FILE)
        # a job that nobody gets must hold up the run
        patience = {"patience_s": 60.0, "longest_s": inf}
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
            raise BrokenError(
                f"round {world.journal.committed} is committed, the checkpoint is of {self.number}"
            )
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
        self.steps = self.world.script(self.number + 1, self.state, devices).steps()
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
        """The run raises. The next one begins with the rounds that are left, so that one reference
        does for both."""
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
                said = self.coordinator.receive(
                    connection.device, connection.fence, message, self.world.now_s
                )
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

    def __init__(self, world: "World", name: str) -> None:
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
                self.world.after(
                    0.05, lambda: self.world.server.up and self.world.server._close(connection)
                )
            self.world.after(self.world.rng.uniform(0.1, 40), self.boot)

    def cut(self) -> None:
        """The network does not reach this device for a while."""
        self.cut_until_s = self.world.now_s + self.world.rng.uniform(1, 60)

    def connect(self, life: int) -> None:
        if self.up and life == self.life:
            self.connection = Connection(
                self.name, self.world.parts.numbering(), self.world.parts.numbering()
            )
            self.say([self.side.hello(self.world.now_s)])

    def closed(self, connection: Connection, pause_s: float = 0.0) -> None:
        if self.up and connection is self.connection:
            self.connection, self.side.open, life = None, False, self.life
            self.world.after(
                max(pause_s, self.world.rng.uniform(0.2, 3)), lambda: self.connect(life)
            )

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
            self.world.after(
                self.world.rng.uniform(20, 90) if slow else 1.0, lambda: self._worked(begin, life)
            )

    def _worked(self, begin: Begin, life: int) -> None:
        if not self.up or life != self.life:
            return
        self.busy = False
        if (
            self.side.running.get(begin.key) == begin.digest
            and self.world.now_s < self.world.closed_until_s
        ):
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
                self.world.carry(
                    self.connection, self.connection.device_line.write(message), up=True
                )


def unmetered(work: Callable[[], Arrays]) -> tuple[Arrays, Usage]:
    return work(), Usage()
