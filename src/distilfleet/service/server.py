"""The server of a real fleet: it takes runs one after the other and carries them out on the devices
that enrolled.

A run is handed to the server as a file in its folder, so that a crash loses none: it stays in
`queue` until it is finished, and a server that starts goes on with the oldest.

    STATE/authority   keys, tokens, deny list      STATE/journal.sqlite   outcomes, committed rounds
    STATE/queue, stopped, done, faults: what was asked for and what came of it, see `record.queue`
    STATE/runs        one directory per run
"""

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from ..core.disk import lock, storing
from ..core.errors import WireError
from ..core.failpoint import reached
from ..core.fleet_status import FleetStatus
from ..net.coordinator import Coordinator
from ..net.enrolment import Enrolled, read_request
from ..net.fleet import NetFleet
from ..net.heap import SERVER_ARENAS, settle_heap
from ..net.identity import Authority
from ..net.journal import SqliteJournal
from ..net.keys import Peer
from ..net.metrics import Totals, exposition
from ..net.server_side import ServerSide
from ..net.session_server import SessionServer
from ..net.spool import Spool
from ..net.transfer import FlowControl
from ..net.transport import listen
from ..net.waiting import Standing
from ..recipes.resume import check_data
from ..record.checkpoint import Checkpoint
from ..record.history import read, read_about
from ..record.run import RunRecord, create, say_who_keeps
from ..report.page import page, write_page
from ..training.experiment import Experiment
from ..training.loop import Steps, about, train
from .ask import experiment_of, given_in
from .client import LOOK_S
from .deaths import begin_attempt, give_way
from .facts import about_of, facts_of, taken_for
from .faults import ends_the_server, reason_of, stoppable
from .fleet_file import FleetFolder, shows_secret
from .resume import take_up, tell_behind
from .roster import follow_fleet_file
from .waiting import LetGoError, Waiting
from .web.http_server import Connections, DeniedError
from .web.page_cache import PageCaches
from .web.site import Access, Site, access, shown
from .web.view import PageSource, moments

log = logging.getLogger(__name__)
ROOM_BYTES = 64 << 20
SPARE_CONNECTIONS = 256
"""Above two for each device."""
STOPPING_S = 2.0
STOPPING = "this server stops; its runs go on when it is started again"


def serve(here: FleetFolder, once: bool = False) -> None:
    """The server: for ever, or with `once` until the queue is empty."""
    settle_heap(SERVER_ARENAS)
    totals = Totals()
    here.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if warning := shows_secret(here):
        log.warning("%s", warning)
    held = lock(here.state, "is in use by another server. Stop that one first.")
    with closing(held), stoppable() as stopped, online(here, totals) as (session_server, loop, _):
        reached("server.listening")
        log.info("ready: serving %d devices at %s", len(here.file.devices), here.address)
        give_way(here.queue)
        while True:
            session_server.check()
            here.queue.tidy()
            _set_aside(here)
            waiting = here.queue.waiting()
            if waiting:
                _carry_out(_Doing(here, waiting[0], session_server, loop, totals, stopped))
            elif once:
                return
            else:
                time.sleep(LOOK_S)


@contextmanager
def online(
    here: FleetFolder, totals: Totals
) -> Iterator[tuple[SessionServer, asyncio.AbstractEventLoop, str]]:
    """Everything of a server but its rounds; where its page is."""
    entrance = access(here.page, here.file.page_token) if here.page else None
    with _sessions(here) as (session_server, loop):
        if entrance is None:
            yield session_server, loop, ""
            return
        with shown(
            _site(here, entrance, moments(session_server, loop, here.file.devices), totals)
        ) as address:
            if address:
                log.info("live page: %s", address)
            yield session_server, loop, address


def _site(
    here: FleetFolder, entrance: Access, moment: Callable[[], FleetStatus], totals: Totals
) -> Site:
    def report(name: str) -> bytes:
        if here.queue.entry(name) is None:
            raise DeniedError(404, f"there is no run {name}")
        return page([read(here.queue.record(name))])

    boards = PageCaches(PageSource(here.queue, moment, entrance.proof))
    connections = Connections()

    def metrics() -> bytes:
        return exposition(moment(), totals, connections.refusals.counts)

    return Site(entrance, boards, here.queue, metrics, report, connections)


@contextmanager
def _sessions(here: FleetFolder) -> Iterator[tuple[SessionServer, asyncio.AbstractEventLoop]]:
    """Sessions and enrolment, in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    authority = Authority(here.folder("authority"))
    with closing(authority), closing(SqliteJournal(here.state / "journal.sqlite")) as journal:
        journal.begin()
        tell_behind(here.queue, journal)
        session_server, stop = asyncio.run_coroutine_threadsafe(
            _open(here, authority, journal), loop
        ).result()
        try:
            yield session_server, loop
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _open(
    here: FleetFolder, authority: Authority, journal: SqliteJournal
) -> tuple[SessionServer, Callable[[], Any]]:
    """The server of sessions, which listens now, and what ends it."""
    session_server = _session_server(here, authority, journal)
    certifying = _Certifying(here, authority, session_server)
    names = list({here.address.host, here.enrol_address.host})
    keys = authority.server_keys(names, time.time())
    most = 2 * len(here.file.devices) + SPARE_CONNECTIONS
    sockets = here.listening(here.address)
    sessions = await listen(sockets, keys, {"Renew": certifying.renew}, session_server.stream, most)
    sockets = here.listening(here.enrol_address)
    enrolment = await listen(sockets, keys, {"Enrol": certifying.enrol}, None, most)
    ticking = asyncio.create_task(session_server.tick())

    async def stop() -> None:
        ticking.cancel()
        await session_server.farewell(STOPPING)
        await enrolment.close()
        await sessions.close()
        await _cancel_tasks()

    return session_server, stop


def _session_server(
    here: FleetFolder, authority: Authority, journal: SqliteJournal
) -> SessionServer:
    file = here.file
    server = ServerSide(uploads=FlowControl(ROOM_BYTES), now_s=time.monotonic(), beat_s=file.beat_s)
    coordinator = Coordinator(
        server=server,
        journal=journal,
        patience_s=file.patience_s,
        longest_s=file.longest_s,
        spool=Spool(here.state),
    )
    return SessionServer(coordinator=coordinator, enrolled=file.devices, denied=authority.denied)


@dataclass(frozen=True, slots=True)
class _Certifying:
    """What gives devices their certificates."""

    here: FleetFolder
    authority: Authority
    session_server: SessionServer

    async def enrol(self, _peer: Peer | None, data: bytes) -> bytes:
        """The certificate of a device that has a token. Raises WireError."""
        try:
            asked = read_request(data)
            now_s = time.time()
            certificate = self.authority.enrol(asked.device, asked.request, asked.proof, now_s)
        except WireError as fault:
            self.session_server.count(f"enrolment: {fault}")
            raise
        log.info("enrolled: %s", asked.device)
        enrolled = Enrolled(certificate=certificate, address=str(self.here.address))
        return msgspec.msgpack.encode(enrolled)

    async def renew(self, peer: Peer | None, data: bytes) -> bytes:
        """The next certificate of a device that has one. Raises WireError."""
        if peer is None or not self._is_welcome(peer.device):
            self.session_server.count("renewal: denied")
            raise WireError("denied")
        return self.authority.sign(peer.device, data, time.time())

    def _is_welcome(self, device: str) -> bool:
        return device in self.here.file.devices and not self.authority.denied(device)


async def _cancel_tasks() -> None:
    """End what is left under way: a round that nobody waits for any more."""
    under_way = asyncio.all_tasks() - {asyncio.current_task()}
    for task in under_way:
        task.cancel()
    if under_way:
        await asyncio.wait(under_way, timeout=STOPPING_S)


def _set_aside(here: FleetFolder, under_way: str = "") -> None:
    """Runs that wait and are to be stopped."""
    for name in here.queue.waiting():
        if name != under_way and here.queue.to_stop(name):
            here.queue.set_aside(name)


@dataclass(frozen=True, slots=True)
class _Doing:
    """One run, and the server that does it."""

    here: FleetFolder
    name: str
    session_server: SessionServer
    loop: asyncio.AbstractEventLoop
    totals: Totals
    stopped: threading.Event
    """Whether somebody stops the server."""


def _carry_out(doing: _Doing) -> None:
    """One run, from where it is to its end or until it is stopped. Whatever it raises, it alone
    fails."""
    queue = doing.here.queue
    name = doing.name
    reason = begin_attempt(queue, name)
    if reason:
        queue.close(name, reason)
        return
    try:
        finished = _train(doing)
        error = ""
    except BaseException as fault:
        if ends_the_server(fault, doing.stopped.is_set()):
            raise
        finished = True
        error = reason_of(fault, queue.folder("faults") / f"{name}.log")
        log.warning("%s failed: %s", name, error)
    finally:  # this process has lived to see it
        queue.attempts(name).over()
    if finished:
        queue.close(name, error)
    elif queue.to_stop(name):
        log.info("%s: stopped", name)
        queue.set_aside(name)
    else:
        queue.put_last(name)


def _train(doing: _Doing) -> bool:
    """Whether the run has all its rounds; not so if it was stopped or gave way."""
    from .prediction import PredictingFleet
    from .spec import spec_of, write_spec

    here = doing.here
    name = doing.name
    waiting = Waiting(here.queue, name)
    journal = doing.session_server.coordinator.journal
    waiting(Standing())
    assert isinstance(journal, SqliteJournal)
    asked = here.queue.asked(name)
    folder = here.queue.record(name)
    branch = name
    experiment = replace(experiment_of(here, asked), checkpoint_every_s=0.0)
    fleet = NetFleet(
        experiment.devices, experiment.server, doing.session_server, doing.loop, waiting
    )
    watched = PredictingFleet(inner=fleet, server=experiment.server)
    found = take_up(folder, name, journal)
    if found is not None:
        record, start, branch = found
        _tell_roster(doing, record, experiment, start.round)
    else:
        _clear(folder)
        asked_for = about(experiment, asked["recipe"], asked["settings"], asked["started"])
        asked_for["given"] = given_in(asked)
        known = about_of(asked_for, here.path.name, taken_for(experiment, here.file.server))
        record = create(folder, known, facts_of(experiment, here.file))
        start = None
    log.info("%s: %s", name, "begins" if start is None else f"goes on after round {start.round}")
    with closing(record):
        if start is not None:
            check_data(folder, read_about(folder), experiment.about)
        fleet.open(
            branch, write_spec(spec_of(experiment.method, experiment.seed, experiment.data_spec))
        )
        steps = train(experiment, watched, record, start, time.monotonic)
        done = _rounds_of(doing, experiment, fleet, steps, start)
    write_page([read(folder)], folder / "report.html")
    return done >= experiment.rounds


def _rounds_of(
    doing: _Doing,
    experiment: Experiment,
    fleet: NetFleet,
    steps: Steps,
    start: Checkpoint | None,
) -> int:
    """The last round that is on disk when the run is over, is to be stopped or gives way."""
    name = doing.name
    last = experiment.rounds
    keep_every = int(doing.here.queue.asked(name)["settings"].get("keep_every", 0))
    done = 0 if start is None else start.round
    began_s = time.monotonic()
    try:
        with closing(steps) as rounds:
            while done < last and not doing.here.queue.to_stop(name):
                line = next(rounds)
                if line["round"] == 0:
                    continue  # what the models knew before
                done = line["round"]
                took_s = time.monotonic() - began_s
                began_s = time.monotonic()
                log.info("%s: round %s of %s", name, done, last)
                doing.totals.add(line, took_s)
                _set_aside(doing.here, under_way=name)
                if doing.stopped.is_set():
                    raise KeyboardInterrupt  # the run had swallowed it
                if keep_every and 0 < done < last and done % keep_every == 0:
                    _hand_out(doing, experiment, fleet, done)
            if done >= last:
                if start is not None and done == start.round:
                    fleet.conditions(done + 1)  # a server that ended before it could hand out
                _hand_out(doing, experiment, fleet, done)
    except LetGoError:
        fleet.abandon(done)
        return done
    except BaseException as fault:
        if not ends_the_server(fault, doing.stopped.is_set()):
            fleet.abandon(done)
        raise
    fleet.finish(done)
    return done


def _hand_out(doing: _Doing, experiment: Experiment, fleet: NetFleet, number: int) -> None:
    """Devices keep their models; the run's record says which do."""
    from .hand_out import hand_out

    folder = doing.here.queue.record(doing.name)
    said = hand_out(experiment, fleet, folder, number)
    if said:
        log.info("%s: %s", doing.name, said)
        say_who_keeps(folder, said)


def _tell_roster(doing: _Doing, record: RunRecord, experiment: Experiment, last: int) -> None:
    """A run that goes on is that of the fleet file as it is now."""
    try:
        facts = facts_of(experiment, doing.here.file)
        note = follow_fleet_file(record, facts, experiment.about.get("models", {}), last)
    except BaseException:
        record.close()
        raise
    if note:
        log.warning("%s: %s", doing.name, note)


def _clear(folder: Path) -> None:
    """What is left of a run that has to begin anew."""
    with storing(folder):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)
