"""A device's agent: enrols, connects, does jobs, and keeps its answers until they are committed.

One loop for words and one thread for work, so that beats go out while a job trains. What a worker
is, the agent is told by name and settings alone; `build` makes it from installed code.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import msgspec

from ..core.attempts import Attempts
from ..core.errors import ConfigError, Error, StorageError, WireError
from ..core.failpoint import reached
from ..core.protocols import Worker
from ..core.types import Arrays, Device, Job, Load, RunSpec, Usage
from ..cost.meters import Meter
from .caps import Account, Caps, refusal
from .device_side import Begin, DeviceOutput, DeviceSide, Held, Prepare, Refused, Settle
from .job_runner import DeclinedError, JobRunner
from .keys import Badge
from .outbox import Outbox
from .protocol import (
    AnyMessage,
    Beat,
    Chunk,
    Committed,
    Numbering,
    Received,
    Refuse,
    Welcome,
    parted,
    run_of,
    trunk_of,
)
from .renewal import keys_of, renewal_due
from .store import SqliteStore
from .transport import Connection, connect
from .wave import LATER

log = logging.getLogger(__name__)
FIRST_BACKOFF_S = 0.2
MOST_BACKOFF_S = 15.0
BACKOFF_GROWTH = 1.5
"""Pauses before another try are drawn between nothing and a bound that grows: a fleet is back soon
after its server, and not in one moment."""
ACCOUNT = "account.json"
ACCOUNT_S = 1.0
DIED = (
    "declined: the agent's process died {} times in a row in a job of this run, as where memory "
    "does not suffice; stop the agent and start it again to have it tried anew"
)
TRIES = "tries.json"
MOST_DEATHS = 10
"""A process that ended so often in a row in jobs of one run does no more of them."""
Build = Callable[[RunSpec], Worker]
"""Makes a worker on this device's own data. Raises ConfigError for what is not installed or not
allowed here."""


@dataclass(slots=True)
class Gauge:
    """Seconds on the wall and joules of a job: from the board's meter if it has one, else from its
    catalogue row."""

    device: Device
    meter: Meter | None = None

    def __call__(self, work: Callable[[], Arrays]) -> tuple[Arrays, Usage]:
        if self.meter is not None:
            self.meter.mean_w(1.0)
        began_s = time.perf_counter()
        arrays = work()
        busy_s = max(time.perf_counter() - began_s, 1e-9)
        mean_w = self.device.busy_w if self.meter is None else self.meter.mean_w(busy_s)
        return arrays, Usage(
            busy_s=busy_s, energy_j=mean_w * busy_s, measured=self.meter is not None
        )


@dataclass(slots=True)
class Agent:
    """One device's process."""

    badge: Badge
    folder: Path
    device: Device
    build: Build
    data_digest: Callable[[RunSpec], str] = lambda spec: ""
    """The digest of the data that this device trains on in a run."""
    caps: Caps = field(default_factory=Caps)
    meter: Meter | None = None
    battery_share: Callable[[], float | None] = lambda: None
    rng: Random = field(default_factory=Random)
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    """A random name that tells this agent from another one with the same identity."""
    side: DeviceSide = field(init=False)
    store: SqliteStore = field(init=False)
    runner: JobRunner | None = None
    run: str = ""
    why_not: str = f"{LATER}: no run is on"
    account: Account = field(init=False)
    account_timer: asyncio.TimerHandle | None = None
    attempts: Attempts = field(init=False)
    """How often in a row the process has died in jobs of a run."""
    building: bool = False
    """Whether the run's worker is on its way."""
    todo: "asyncio.Queue[Begin | Settle | Prepare]" = field(default_factory=asyncio.Queue)
    outbox: Outbox = field(default_factory=Outbox)
    retry_s: float = 0.0
    leaving: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while there is no session."""

    def __post_init__(self) -> None:
        self.store = SqliteStore(self.folder / "answers.sqlite")
        self.side = DeviceSide(self.badge.device, self.caps.job_bytes, dict(self.store.held()))
        self.over.set()
        self.account = Account.read(self.folder / ACCOUNT)
        self.attempts = Attempts(self.folder / TRIES)

    async def serve(self) -> None:
        """Until cancelled: connect, do what is asked, and again after a pause that grows with each
        failure."""
        working = asyncio.create_task(self._work())
        failures = 0
        try:
            while not working.done() and not self.leaving:
                self.retry_s = 0.0
                failures = 0 if await self._session(working) else failures + 1
                most_s = min(MOST_BACKOFF_S, FIRST_BACKOFF_S * BACKOFF_GROWTH ** min(failures, 20))
                await asyncio.sleep(max(self.retry_s, self.rng.uniform(0.02, most_s)))
            if not self.leaving:
                await working
        finally:
            working.cancel()

    async def leave(self) -> None:
        """Tell the server that this agent stops; returns when it has heard that. No session begins
        any more.

        Whoever stops it may have mended what ended it before.
        """
        self.leaving = True
        self.attempts.over()
        # also before the welcome: the server has a session from the hello on
        if not self.over.is_set():
            self.outbox.put(Refuse("stopped", 0.0))
            await self.over.wait()

    async def _session(self, working: "asyncio.Task[None]") -> bool:
        """One connection, to its end or that of the work; whether there was a session."""
        await self._renew_if_due()
        connection = await connect(self.badge.address, keys_of(self.folder), self.instance)
        if self.leaving:
            await connection.shut()
            return False
        self.outbox = Outbox()
        self.over.clear()
        self.outbox.put(self.side.hello(time.monotonic()))
        parts = (
            self._read(connection),
            self._write(connection),
            self._beat(),
            self._stay_certified(),
        )
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            await asyncio.wait([*tasks, working], return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened = self.side.open
            self.side.open = False
            self.over.set()
            await self._end(tasks)
            await connection.shut()
        if not opened and connection.fault and not self.retry_s:  # else it is told why already
            log.warning("no session at %s: %s", self.badge.address, connection.fault)
        return opened

    async def _end(self, tasks: Sequence["asyncio.Task[None]"]) -> None:
        """The parts of a session. Raises StorageError, which ends the process."""
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, StorageError):
                raise ended
            if isinstance(ended, Exception) and not isinstance(ended, ConnectionError):
                log.warning("session of %s: %r", self.badge.device, ended)

    async def _read(self, connection: Connection) -> None:
        numbering = Numbering()
        while (data := await connection.read()) is not None:
            parts = parted(data)
            self._moved(len(data) - sum(map(len, parts)))
            for part in parts:  # of which one may be an offer that the bytes after it are of
                self._moved(len(part))
                message = numbering.read(part)
                if message is not None:
                    self._receive(message)
            self.outbox.version = self.side.version if self.side.open else 0

    def _receive(self, message: AnyMessage) -> None:
        if isinstance(message, Welcome):
            log.info("connected to %s", self.badge.address)
        if isinstance(message, Committed):
            reached("settle.heard")
        self._act(self.side.receive(message, time.monotonic()))
        if isinstance(message, Received):
            reached("answer.received")

    async def _write(self, connection: Connection) -> None:
        while True:
            data, messages = await self.outbox.take()
            self._moved(len(data))
            await connection.write(data)
            if any(isinstance(message, Chunk) for message in messages):
                reached("answer.sent")

    async def _beat(self) -> None:
        while not self.side.over(time.monotonic()):
            if self.side.open:
                self.outbox.put(Beat(self.battery_share()))
            await asyncio.sleep(
                self.side.beat_s * self.rng.uniform(0.8, 1.0) if self.side.open else 1.0
            )

    async def _stay_certified(self) -> None:
        """A session may outlast the certificate that it came with."""
        while True:
            await asyncio.sleep(self.side.beat_s if self.side.open else 1.0)
            await self._renew_if_due()

    async def _renew_if_due(self) -> None:
        if renewal_due(self.folder, time.time()):
            from .enrolment import renew  # a library of nine megabytes, once in days

            with suppress(ConnectionError, WireError):
                await renew(self.badge, self.folder)

    def _act(self, outputs: Iterable[DeviceOutput]) -> None:
        for output in outputs:
            match output:
                case Begin() | Settle():
                    self.todo.put_nowait(output)
                case Prepare():
                    self._prepare(output)
                case Refused():
                    words = "the server ends the session" if self.side.open else "refused"
                    log.warning("%s: %s (again in %.0f s)", words, output.reason, output.retry_s)
                    self.retry_s = output.retry_s
                case _:
                    self.outbox.put(output)

    def _prepare(self, wanted: Prepare) -> None:
        """Have the worker of a run built, once, while words go on: a model may take minutes to
        load."""
        if wanted.run == self.run and (self.runner is not None or self.building):
            return
        self.run = wanted.run
        self.runner = None
        self.store.open_run(wanted.run)
        for key in self.side.held.keys() - set(self.store.keys()):
            del self.side.held[key]
        reached("run.joined")
        self.building = True
        self.todo.put_nowait(wanted)

    async def _build(self, wanted: Prepare) -> None:
        try:
            await self._have_built(wanted)
        except (Error, msgspec.DecodeError, RecursionError) as fault:
            self.why_not = f"declined: {fault}"
            log.warning("%s", self.why_not)
        except Exception as fault:
            self.why_not = f"declined: a fault of the device: {type(fault).__name__}"
            log.exception("run %s", wanted.run)
        finally:
            self.building = wanted.run != self.run and self.building

    async def _have_built(self, wanted: Prepare) -> None:
        spec = msgspec.msgpack.decode(wanted.spec, type=RunSpec)
        worker = await asyncio.to_thread(self.build, spec)
        if wanted.run == self.run:  # else another run is on by now
            self._check_data(self.data_digest(spec))
            self.runner = JobRunner(worker, self.store, Gauge(self.device, self.meter), self._check)

    def _check_data(self, digest: str) -> None:
        """Raises ConfigError for other data than those that the run was begun with here: its worker
        came from them."""
        begun = self.store.begun_with(digest)
        if begun != digest:
            log.warning(
                "the data of this device had the digest %s when it began this run, and have %s",
                begun,
                digest,
            )
            raise ConfigError(
                "this device's data have changed since it began this run: put the old ones back, "
                "or let it take part in the next one"
            )

    def _moved(self, size_bytes: int) -> None:
        """On the link; what is left bounds the jobs that are let in."""
        day = today()
        self.account.moved(size_bytes, day)
        self.side.most_bytes = int(
            min(self.caps.job_bytes, self.account.left_bytes(self.caps, day))
        )
        self.side.ever_bytes = int(min(self.caps.job_bytes, self.account.ever_bytes(self.caps)))

    def _check(self, job: Job, load: Load) -> None:
        """The owner's limits."""
        left_bytes = self.account.left_bytes(self.caps, today())
        reason = refusal(self.caps, self.account, self.device, load, time.localtime().tm_hour)
        if reason is not None:
            raise DeclinedError(reason)
        if load.up_bytes > left_bytes:
            when = LATER if load.up_bytes <= self.account.ever_bytes(self.caps) else "declined"
            raise DeclinedError(
                f"{when}: an answer of {load.up_bytes} bytes, and {left_bytes:.0f} may yet travel"
            )

    async def _work(self) -> None:
        """Jobs and what became of them, one after the other."""
        after: Begin | Settle | Prepare | None = None
        while True:
            task = after or await self.todo.get()
            after = None
            if isinstance(task, Prepare):
                await self._build(task)
            elif isinstance(task, Settle) and task.counted:
                keys, after = self._counted_too(task)
                self.store.keep(keys)
                reached("answer.settled")
            elif isinstance(task, Settle):
                self._settle(task)
                reached("answer.settled")
            elif self.side.running.get(task.key) == task.digest:
                await self._do(task)

    def _counted_too(self, first: Settle) -> tuple[list[str], Begin | Settle | Prepare | None]:
        """All that counted, for one write to the disk, and what comes after them: a round ends for
        all at once."""
        keys = [first.key]
        while not self.todo.empty():
            task = self.todo.get_nowait()
            if not (isinstance(task, Settle) and task.counted):
                return keys, task
            keys.append(task.key)
        return keys, None

    def _settle(self, task: Settle) -> None:
        """One that did not count: for the worker, or on disk alone for one of another run."""
        if self.runner is not None and trunk_of(run_of(task.key)) == trunk_of(self.run):
            self.runner.take_back(task.key)
        else:
            self.store.take_back(task.key)

    async def _do(self, task: Begin) -> None:
        runner = self.runner
        trunk = trunk_of(self.run)
        died = self.attempts.died(trunk)
        if runner is None or died >= MOST_DEATHS:
            self._decline(task, self.why_not if runner is None else DIED.format(died))
            return
        self.attempts.begin(trunk)
        waited_s = time.monotonic() - task.received_s
        reached("job.begun")
        try:
            held = await asyncio.to_thread(runner.handle, task.key, task.digest, task.data)
        except StorageError:  # ends the process
            raise
        except (DeclinedError, Error) as fault:
            self._decline(task, str(fault))
        except Exception as fault:
            log.exception("job %s", task.key)
            self._decline(task, f"declined: a fault of the device: {type(fault).__name__}")
        else:
            effort = replace(held.effort, waited_s=waited_s)
            self._answer(task, replace(held, effort=effort), runner)
        finally:
            self.attempts.over()

    def _decline(self, task: Begin, reason: str) -> None:
        self._act(self.side.decline(task.key, reason))

    def _answer(self, task: Begin, held: Held, runner: JobRunner) -> None:
        self._act(self.side.answer(task.key, held))
        if task.key not in self.side.held:  # called off while it ran
            runner.take_back(task.key)
        self.account.did(held.effort.busy_s)
        self._keep_account()

    def _keep_account(self) -> None:
        """Once a second at most: a job may take less time than this."""
        if self.account_timer is None:
            self.account_timer = asyncio.get_running_loop().call_later(
                ACCOUNT_S, self._write_account
            )

    def _write_account(self) -> None:
        self.account_timer = None
        with suppress(OSError):  # a disk that takes nothing ends the next job
            self.account.write(self.folder / ACCOUNT)


def today() -> str:
    """Local, as the owner counts days."""
    return time.strftime("%Y-%m-%d", time.localtime())
