"""The server's verbs of a real fleet: serve, enrol, and run on a fleet. A device's are in `join`.

A run is handed to the server as a file in its folder, so that a crash loses none: it stays in `queue` until it is
finished, and a server that starts goes on with the oldest.

    STATE/authority   keys, tokens, deny list      STATE/journal.sqlite   outcomes, committed rounds
    STATE/queue, stopped, done, faults: what was asked for and what came of it, see `record.queue`
    STATE/runs        one directory per run
"""

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec

from ..core.disk import lock, storing
from ..core.errors import ConfigError, Error, RecordError, WireError
from ..core.failpoint import reached
from ..core.types import Device, DeviceId
from ..core.watch import Moment
from ..cost import catalogue
from ..net.desk import Desk
from ..net.enrolment import Enrolled, read_request
from ..net.fleet import NetFleet
from ..net.hub import Hub
from ..net.identity import Authority
from ..net.journal import SqliteJournal
from ..net.keys import Peer
from ..net.memory import SERVER_ARENAS, settle_heap
from ..net.metrics import Totals, exposition
from ..net.session import Server
from ..net.spool import Spool
from ..net.transfer import Room
from ..net.transport import listen
from ..record.checkpoint import Checkpoint
from ..record.history import read, read_about, read_rounds
from ..record.queue import Entry, Queue
from ..record.run import Run as Record
from ..record.run import create
from ..report.page import page, write_page
from .board import Boards
from .console import Door, Site, door, shown
from .deaths import begin_attempt, give_way
from .experiment import Run
from .faults import ends_the_server, reason_of, stoppable
from .find import recipe
from .flags import Common, changed, flatten, option, unflatten
from .from_here import from_here, placed
from .http_server import Connections, DeniedError
from .place import Place, place, shows_secret
from .resume import check_data
from .roster import follow_fleet_file
from .run import Steps, about, train
from .sight import Sight, moments
from .take_up import take_up, tell_behind
from .told import about_of, facts_of
from .waiting import LetGoError, Waiting

log = logging.getLogger(__name__)
ROOM_BYTES = 64 << 20
SPARE_CONNECTIONS = 256
"""Above two for each device."""
SIMULATED = (
    *("devices", "device_kinds", "catalogue", "server", "group", "alpha", "skew", "channels", "bandwidth_hz"),
    *("offline_share", "label_counts_share", "poison", "poison_share", "memory_quota_bytes", "cohorts"),
)
"""Flags that say what devices there are, what they own and what surrounds them."""
STOPPING_S = 2.0
STOPPING = "this server stops; its runs go on when it is started again"
LOOK_S = 0.3
"""Between looks into a folder."""
MOST_MISSING = 5
"""Looks at a run that is nowhere: it may be on its way from one folder to another."""


# --- serve ------------------------------------------------------------------------------------------------------


def serve(path: Path, once: bool = False) -> None:
    """The server: for ever, or with `once` until the queue is empty."""
    settle_heap(SERVER_ARENAS)
    here, totals = place(path), Totals()
    here.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if warning := shows_secret(path, here.file):
        log.warning("%s", warning)
    held = lock(here.state, "is in use by another server. Stop that one first.")
    with closing(held), stoppable() as stopped, online(here, totals) as (hub, loop, _):
        reached("server.listening")
        log.info("ready: serving %d devices at %s", len(here.file.devices), here.address)
        give_way(here.queue)
        while True:
            hub.check()
            here.queue.tidy()
            _set_aside(here)
            waiting = here.queue.waiting()
            if waiting:
                _carry_out(_Doing(here, waiting[0], hub, loop, totals, stopped))
            elif once:
                return
            else:
                time.sleep(LOOK_S)


@contextmanager
def online(here: Place, totals: Totals) -> Iterator[tuple[Hub, asyncio.AbstractEventLoop, str]]:
    """Everything of a server but its rounds; where its page is."""
    entrance = door(here.page, here.file.page_token) if here.page else None
    with _sessions(here) as (hub, loop):
        if entrance is None:
            yield hub, loop, ""
            return
        with shown(_site(here, entrance, moments(hub, loop, here.file.devices), totals)) as address:
            if address:
                log.info("live page: %s", address)
            yield hub, loop, address


def _site(here: Place, entrance: Door, moment: Callable[[], Moment], totals: Totals) -> Site:
    def report(name: str) -> bytes:
        if here.queue.entry(name) is None:
            raise DeniedError(404, f"there is no run {name}")
        return page([read(here.queue.record(name))])

    boards = Boards(Sight(here.queue, moment, entrance.proof))
    connections = Connections()

    def metrics() -> bytes:
        return exposition(moment(), totals, connections.refusals.counts)

    return Site(entrance, boards, here.queue, metrics, report, connections)


@contextmanager
def _sessions(here: Place) -> Iterator[tuple[Hub, asyncio.AbstractEventLoop]]:
    """Sessions and enrolment, in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    authority = Authority(here.folder("authority"))
    with closing(authority), closing(SqliteJournal(here.state / "journal.sqlite")) as journal:
        journal.begin()
        tell_behind(here.queue, journal)
        hub, stop = asyncio.run_coroutine_threadsafe(_open(here, authority, journal), loop).result()
        try:
            yield hub, loop
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _open(here: Place, authority: Authority, journal: SqliteJournal) -> tuple[Hub, Callable[[], Any]]:
    server = Server(room=Room(ROOM_BYTES), now_s=time.monotonic(), beat_s=here.file.beat_s)
    desk = Desk(
        server=server,
        journal=journal,
        patience_s=here.file.patience_s,
        longest_s=here.file.longest_s,
        spool=Spool(here.state),
    )
    hub = Hub(desk=desk, enrolled=here.file.devices, denied=authority.denied)

    async def enrol(_peer: Peer | None, data: bytes) -> bytes:
        try:
            asked = read_request(data)
            certificate = authority.enrol(asked.device, asked.request, asked.proof, time.time())
        except WireError as fault:
            hub.count(f"enrolment: {fault}")
            raise
        log.info("enrolled: %s", asked.device)
        return msgspec.msgpack.encode(Enrolled(certificate=certificate, address=str(here.address)))

    async def renew(peer: Peer | None, data: bytes) -> bytes:
        if peer is None or peer.device not in here.file.devices or authority.denied(peer.device):
            hub.count("renewal: denied")
            raise WireError("denied")
        return authority.sign(peer.device, data, time.time())

    names = list({here.address.host, here.enrol_address.host})
    keys = authority.server_keys(names, time.time())
    most = 2 * len(here.file.devices) + SPARE_CONNECTIONS
    sessions = await listen(here.listening(here.address), keys, {"Renew": renew}, hub.stream, most)
    enrolment = await listen(here.listening(here.enrol_address), keys, {"Enrol": enrol}, None, most)
    ticking = asyncio.create_task(hub.tick())

    async def stop() -> None:
        ticking.cancel()
        await hub.farewell(STOPPING)
        await enrolment.close()
        await sessions.close()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:  # a round that nobody waits for any more
            task.cancel()
        if under_way:
            await asyncio.wait(under_way, timeout=STOPPING_S)

    return hub, stop


def _set_aside(here: Place, under_way: str = "") -> None:
    """Runs that wait and are to be stopped."""
    for name in here.queue.waiting():
        if name != under_way and here.queue.to_stop(name):
            here.queue.set_aside(name)


@dataclass(frozen=True, slots=True)
class _Doing:
    """One run, and the server that does it."""

    here: Place
    name: str
    hub: Hub
    loop: asyncio.AbstractEventLoop
    totals: Totals
    stopped: threading.Event
    """Whether somebody stops the server."""


def _carry_out(doing: _Doing) -> None:
    """One run, from where it is to its end or until it is stopped. Whatever it raises, it alone fails."""
    queue, name = doing.here.queue, doing.name
    reason = begin_attempt(queue, name)
    if reason:
        queue.close(name, reason)
        return
    try:
        finished, error = _train(doing), ""
    except BaseException as fault:
        if ends_the_server(fault, doing.stopped.is_set()):
            raise
        finished, error = True, reason_of(fault, queue.folder("faults") / f"{name}.log")
        log.warning("%s failed: %s", name, error)
    finally:  # this process has lived to see it
        queue.attempts(name).over()
    if finished:
        queue.close(name, error)
    else:
        log.info("%s: stopped", name)
        queue.set_aside(name)


def _train(doing: _Doing) -> bool:
    """Whether the run has all its rounds; not so if it was stopped."""
    from .beside import Watched
    from .deploy import spec_of, write_spec

    here, name = doing.here, doing.name
    waiting, journal = Waiting(here.queue, name), doing.hub.desk.journal
    waiting("")
    fleet = NetFleet(here.devices, server_of(here), doing.hub, doing.loop, waiting)
    assert isinstance(journal, SqliteJournal)
    watched = Watched(inner=fleet, server=server_of(here))
    asked, folder = here.queue.asked(name), here.queue.record(name)
    run, branch = replace(built(here, asked), fleet=watched, checkpoint_every_s=0.0), name
    found = take_up(folder, name, journal)
    if found is not None:
        record, start, branch = found
        _tell_roster(doing, record, run, start.round)
    else:
        _clear(folder)
        known = about_of(about(run, asked["recipe"], asked["settings"], asked["started"]), here.name)
        record, start = create(folder, known, facts_of(run, here.file.devices, here.file.server)), None
    log.info("%s: %s", name, "begins" if start is None else f"goes on after round {start.round}")
    with closing(record):
        if start is not None:
            check_data(folder, read_about(folder), run.about)
        fleet.open(branch, write_spec(spec_of(run.method, run.seed, run.data_spec)))
        done = _rounds_of(doing, run, fleet, train(run, record, start, time.monotonic), start)
    write_page([read(folder)], folder / "report.html")
    return done >= run.rounds


def _rounds_of(doing: _Doing, run: Run, fleet: NetFleet, steps: Steps, start: Checkpoint | None) -> int:
    """The last round that is on disk when the run is over, or to be stopped."""
    name, done, began_s = doing.name, 0 if start is None else start.round, time.monotonic()
    try:
        with closing(steps) as rounds:
            while done < run.rounds and not doing.here.queue.to_stop(name):
                line = next(rounds)
                done, took_s, began_s = line["round"], time.monotonic() - began_s, time.monotonic()
                log.info("%s: round %s of %s", name, done, run.rounds)
                doing.totals.add(line, took_s)
                _set_aside(doing.here, under_way=name)
                if doing.stopped.is_set():
                    raise KeyboardInterrupt  # the run had swallowed it
    except LetGoError:
        fleet.abandon(done)
        return done
    except BaseException as fault:
        if not ends_the_server(fault, doing.stopped.is_set()):
            fleet.abandon(done)
        raise
    fleet.finish(done)
    return done


def _tell_roster(doing: _Doing, record: Record, run: Run, last: int) -> None:
    """A run that goes on is that of the fleet file as it is now."""
    try:
        facts = facts_of(run, doing.here.file.devices, doing.here.file.server)
        note = follow_fleet_file(record, facts, run.about.get("models", {}), last)
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


def built(here: Place, asked: Mapping[str, Any]) -> Run:
    """The run as its recipe has it for devices of these kinds; its simulated fleet is left aside."""
    found = recipe(asked["recipe"])
    kinds = tuple(here.file.devices.values())
    settings = {**asked["settings"], "devices": len(kinds), "device_kinds": kinds, **_shares(found.flags())}
    if here.file.server:
        settings["server"] = here.file.server
    return found.build(unflatten(found.flags, settings))


def _shares(flags: Any) -> dict[str, float]:
    """The server's data, of which a real fleet gets nothing, need not suffice for as many devices as there are."""
    of_text = {"school_share", "context"} & flatten(flags).keys()
    return {} if of_text else {"alpha": inf}


def server_of(here: Place) -> Device:
    """Of the kind that the fleet file names; else of a usual speed, with watts that nobody knows."""
    if here.file.server:
        return catalogue.device(here.file.server, "server")
    return replace(catalogue.device(Common().server, "server"), idle_w=nan, busy_w=nan)


# --- run on a fleet ---------------------------------------------------------------------------------------------


def submit(path: Path, name: str, flags: Any) -> str:
    """Ask the server for a run; its name."""
    here, started = place(path), datetime.now(UTC)
    asked = {"recipe": placed(name), "settings": from_here(flatten(flags)), "started": f"{started:%Y-%m-%dT%H:%M:%SZ}"}
    built(here, asked)  # a mistake is told here, not in the server's log
    run = f"{Path(name.partition(':')[0]).stem}-{started:%Y%m%d-%H%M%S-%f}"
    here.queue.ask(run, asked)
    reached("run.submitted")
    return run


def check_real(flags: Any) -> None:
    """Raises ConfigError for flags that only a simulated fleet obeys."""
    moot = [option(name) for name in SIMULATED if name in changed(flags)]
    if moot:
        raise ConfigError(
            f"{', '.join(moot)}: a real fleet has its devices, with their data and links, and simulates none; leave "
            f"{'it' if len(moot) == 1 else 'them'} out with --fleet"
        )


def listed(queue: Queue) -> list[dict[str, str]]:
    """All runs, with how far they are."""
    return [
        {
            "name": entry.name,
            "state": entry.state,
            "rounds": _rounds(queue.record(entry.name)),
            "error": entry.error,
            "waits": entry.waits,
        }
        for entry in queue.entries()
    ]


def _rounds(folder: Path) -> str:
    try:
        return f"{len(read_rounds(folder))} of {read_about(folder)['rounds']}"
    except RecordError:
        return "-"


def goes_on(queue: Queue, name: str) -> str:
    """Where a run that is resumed goes on, as far as its record tells."""
    files = sorted(queue.record(name).glob("checkpoints/round-*.safetensors"))
    done = int(files[-1].stem[-8:]) if files else 0
    return f"it goes on after round {done}, behind what waits there" if done else "it begins, behind what waits there"


class StoppedError(Error):
    """The run that is followed was stopped, and can be resumed."""


class FailedError(Error):
    """The run that is followed failed; why is in the message."""


def unheard(_words: str) -> None:
    """Nobody asks."""


def follow(path: Path, run: str, hear: Callable[[str], None] = unheard) -> Iterator[dict[str, Any]]:
    """Metrics of each round as it is finished; what devices it waits for is heard, and "" when they are back.

    Raises FailedError if the server could not do the run, StoppedError if somebody stopped it.
    """
    queue, seen, missing, waits = place(path).queue, 0, 0, ""
    again = f"distilfleet runs resume {run} --fleet {path}"
    while missing < MOST_MISSING:
        entry = queue.entry(run)
        lines = _whole_lines(queue.record(run) / "metrics.jsonl")
        yield from lines[seen:]
        seen, missing = max(seen, len(lines)), 0 if entry is not None else missing + 1
        if entry is not None and entry.waits != waits:
            waits = entry.waits
            hear(waits)
        match entry:
            case Entry(state="finished"):
                return
            case Entry(state="failed", error=error):
                raise FailedError(f"{run} failed after round {seen}: {error}. Once that is mended, it goes on: {again}")
            case Entry(state="stopped"):
                raise StoppedError(f"{run} was stopped after round {seen}; it goes on with: {again}")
        time.sleep(LOOK_S)
    raise FailedError(f"{run} is not with the server any more: somebody took its file out of {queue.state / 'queue'}")


def _whole_lines(metrics: Path) -> list[dict[str, Any]]:
    """Of rounds so far; none of a record that is damaged, since the server says so."""
    try:
        return [dict(line) for line in read_rounds(metrics.parent)]
    except RecordError:
        return []


def served_now(path: Path) -> bool:
    """Whether a server holds the folder."""
    here = place(path)
    try:
        lock(here.folder("."), "").close()
    except RecordError:
        return True
    return False


def page_of(path: Path, run: str) -> Path:
    return place(path).queue.record(run) / "report.html"


# --- flags ------------------------------------------------------------------------------------------------------


# --- enrol ----------------------------------------------------------------------------------------------------


def create_token(path: Path, device: DeviceId, lasting_s: float) -> str:
    """Raises ConfigError if the fleet file does not name the device."""
    here = place(path)
    _check_named(here, path, device)
    with closing(Authority(here.folder("authority"))) as authority:
        kind, address = here.file.devices[device], str(here.enrol_address)
        return authority.token(device, kind, address, lasting_s, time.time()).text()


def deny(path: Path, device: DeviceId) -> None:
    """Raises ConfigError if the fleet file does not name the device, which may be a slip of the pen."""
    here = place(path)
    _check_named(here, path, device)
    with closing(Authority(here.folder("authority"))) as authority:
        authority.deny(device)


def _check_named(here: Place, path: Path, device: DeviceId) -> None:
    if not device:
        raise ConfigError(f"say with --device which one of {path}")
    if device not in here.file.devices:
        raise ConfigError(
            f"{path} does not name {device}; add it under [devices] with its kind, and restart the server"
        )
