"""The server's verbs of a real fleet: serve, enrol, and run on a fleet. A device's are in `join`.

A run is handed to the server as a file in its folder, so that a crash loses none: it stays in `queue` until it is
finished, and a server that starts goes on with the oldest.

    STATE/authority   keys, tokens, deny list      STATE/journal.sqlite   outcomes, committed rounds
    STATE/queue       what was asked for           STATE/runs             one directory per run
    STATE/done        what came of it
"""

import asyncio
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..core.disk import lock, write_atomically
from ..core.errors import ConfigError, Error, StorageError, WireError
from ..core.failpoint import reached
from ..core.types import Device, DeviceId
from ..cost import catalogue
from ..net.desk import Desk
from ..net.enrolment import Enrolled, read_request
from ..net.fleet import NetFleet
from ..net.hub import Hub
from ..net.identity import Authority
from ..net.journal import SqliteJournal
from ..net.keys import Peer
from ..net.memory import SERVER_ARENAS, settle_heap
from ..net.session import BEAT_S, Server
from ..net.spool import Spool
from ..net.transfer import Room
from ..net.transport import listen
from ..record.history import read
from ..record.run import create
from ..report.page import write_page
from .find import recipe
from .flags import flatten, unflatten
from .run import Run, about, train
from .take_up import take_up
from .told import about_of, facts_of

log = logging.getLogger(__name__)
ROOM_BYTES = 64 << 20
SPARE_CONNECTIONS = 256
"""Above two for each device."""
LOOK_S = 0.3
"""Between looks into a folder."""


class FleetFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`fleet.toml`: where the server is and who belongs to it."""

    address: str
    """HOST:PORT that devices connect to."""
    enrol_address: str
    """HOST:PORT that new devices enrol at."""
    devices: dict[str, str]
    """Id -> row of the catalogue, in the order of the fleet."""
    state: str = "fleet-state"
    """The server's folder, beside this file."""
    server: str = "server-rtx4060ti-16g"
    """The server's row of the catalogue."""
    listen: str = ""
    """HOST to listen on. Default: that of `address`."""
    patience_s: float = 60.0
    """How long a wave without a deadline waits for a device that is away."""
    beat_s: float = BEAT_S
    """Between signs of life; who is silent for three of these is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A fleet file and its folders."""

    file: FleetFile
    state: Path
    name: str

    def folder(self, name: str) -> Path:
        made = self.state / name
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        return made

    @property
    def devices(self) -> dict[DeviceId, Device]:
        return {name: replace(catalogue.device(kind, name), id=name) for name, kind in self.file.devices.items()}

    def listening(self, address: str) -> str:
        host, _, port = address.rpartition(":")
        return f"{self.file.listen or host}:{port}"


def place(path: Path) -> Place:
    """Raises ConfigError."""
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=FleetFile)
    except (OSError, msgspec.DecodeError) as fault:
        raise ConfigError(f"{path} is no fleet file: {fault}") from None
    if not file.devices:
        raise ConfigError(f"{path} names no devices; under [devices], write: pi-07 = 'rpi-4b'")
    return Place(file=file, state=path.parent / file.state, name=path.name)


# --- serve ------------------------------------------------------------------------------------------------------


def serve(path: Path, once: bool = False) -> None:
    """The server: for ever, or with `once` until the queue is empty."""
    settle_heap(SERVER_ARENAS)
    here = place(path)
    here.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(lock(here.state, "is in use by another server. Stop that one first.")), _online(here) as (hub, loop):
        log.info("ready: serving %d devices at %s", len(here.file.devices), here.file.address)
        reached("server.listening")
        while True:
            asked = sorted(here.folder("queue").glob("*.json"))
            if asked:
                _carry_out(here, asked[0], hub, loop)
            elif once:
                return
            else:
                time.sleep(LOOK_S)


@contextmanager
def _online(here: Place) -> Iterator[tuple[Hub, asyncio.AbstractEventLoop]]:
    """Sessions and enrolment, in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    authority = Authority(here.folder("authority"))
    with closing(authority), closing(SqliteJournal(here.state / "journal.sqlite")) as journal:
        journal.begin()
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
    desk = Desk(server=server, journal=journal, patience_s=here.file.patience_s, spool=Spool(here.state))
    hub = Hub(desk=desk, enrolled=here.file.devices, denied=authority.denied)

    async def enrol(_peer: Peer | None, data: bytes) -> bytes:
        try:
            asked = read_request(data)
            certificate = authority.enrol(asked.device, asked.request, asked.proof, time.time())
        except WireError as fault:
            hub.count(f"enrolment: {fault}")
            raise
        return msgspec.msgpack.encode(Enrolled(certificate=certificate, address=here.file.address))

    async def renew(peer: Peer | None, data: bytes) -> bytes:
        if peer is None or peer.device not in here.file.devices or authority.denied(peer.device):
            hub.count("renewal: denied")
            raise WireError("denied")
        return authority.sign(peer.device, data, time.time())

    names = list({address.rpartition(":")[0] for address in (here.file.address, here.file.enrol_address)})
    keys = authority.server_keys(names, time.time())
    most = 2 * len(here.file.devices) + SPARE_CONNECTIONS
    sessions = await listen(here.listening(here.file.address), keys, {"Renew": renew}, hub.stream, most)
    enrolment = await listen(here.listening(here.file.enrol_address), keys, {"Enrol": enrol}, None, most)
    ticking = asyncio.create_task(hub.tick())

    async def stop() -> None:
        ticking.cancel()
        await enrolment.close()
        await sessions.close()

    return hub, stop


def _carry_out(here: Place, asked: Path, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
    """One run, from where it is to its end."""
    name = asked.stem
    try:
        _train(here, name, json.loads(asked.read_text()), hub, loop)
        result = {"error": ""}
    except StorageError:  # the run stays in the queue
        raise
    except Error as fault:
        log.warning("%s: %s", name, fault)
        result = {"error": str(fault)}
    write_atomically(here.folder("done") / asked.name, json.dumps(result).encode())
    reached("run.done")
    asked.unlink()


def _train(here: Place, name: str, asked: Mapping[str, Any], hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
    from .beside import Watched
    from .deploy import spec_of, write_spec

    fleet, journal = NetFleet(here.devices, _server(here), hub, loop), hub.desk.journal
    assert isinstance(journal, SqliteJournal)
    watched = Watched(inner=fleet, server=_server(here))
    run, folder = replace(built(here, asked), fleet=watched, checkpoint_every_s=0.0), here.folder("runs") / name
    found = take_up(folder, name, journal)
    if found is not None:
        record, start, name = found
    else:
        shutil.rmtree(folder, ignore_errors=True)
        told = about_of(about(run, asked["recipe"], asked["settings"], asked["started"]), here.name)
        record, start = create(folder, told, facts_of(run, list(here.devices))), None
    log.info("%s: %s", name, "begins" if start is None else f"goes on after round {start.round}")
    with closing(record):
        fleet.open(name, write_spec(spec_of(run.method, run.seed)))
        if start is None or start.round < run.rounds:
            for line in train(run, record, start, time.monotonic):
                log.info("%s: round %s of %s", name, line["round"], run.rounds)
        fleet.finish(run.rounds)
    write_page([read(folder)], folder / "report.html")


def built(here: Place, asked: Mapping[str, Any]) -> Run:
    """The run as its recipe has it for devices of these kinds; its simulated fleet is left aside."""
    found = recipe(asked["recipe"])
    if "poison" in asked["settings"]:
        raise ConfigError("--poison makes liars of simulated devices; leave it out with --fleet")
    kinds = tuple(here.file.devices.values())
    settings = {**asked["settings"], "devices": len(kinds), "device_kinds": kinds}
    return found.build(unflatten(found.flags, settings))


def _server(here: Place) -> Device:
    return catalogue.device(here.file.server, "server")


# --- run on a fleet ---------------------------------------------------------------------------------------------


def submit(path: Path, name: str, flags: Any) -> str:
    """Ask the server for a run; its name."""
    here, started = place(path), datetime.now(UTC)
    asked = {"recipe": name, "settings": flatten(flags), "started": f"{started:%Y-%m-%dT%H:%M:%SZ}"}
    built(here, asked)  # a mistake is told here, not in the server's log
    run = f"{Path(name.partition(':')[0]).stem}-{started:%Y%m%d-%H%M%S-%f}"
    write_atomically(here.folder("queue") / f"{run}.json", json.dumps(asked).encode())
    reached("run.submitted")
    return run


def follow(path: Path, run: str) -> Iterator[dict[str, Any]]:
    """Metrics of each round as it is finished. Raises ConfigError if the server could not do the run."""
    here, seen = place(path), 0
    metrics, done = here.state / "runs" / run / "metrics.jsonl", here.state / "done" / f"{run}.json"
    while True:
        over = done.exists()
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        for line in lines[seen:]:
            yield json.loads(line)
        seen = max(seen, len(lines))
        if over:
            break
        time.sleep(LOOK_S)
    error = json.loads(done.read_text())["error"]
    if error:
        raise ConfigError(f"the server could not do {run}: {error}")


def page_of(path: Path, run: str) -> Path:
    return place(path).state / "runs" / run / "report.html"


# --- flags ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeFlags:
    """The server of a real fleet: owns models and journal, takes runs from `distilfleet run RECIPE --fleet FILE`."""

    fleet: Path
    """The fleet file, for example fleet.toml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolFlags:
    """`enrol create` prints a one-time token for a device; `enrol deny` shuts it out until it gets a new one."""

    what: Literal["create", "deny"]
    """What to do."""
    device: str = ""
    """Id of the device, as the fleet file has it."""
    fleet: Path = Path("fleet.toml")
    """The fleet file."""
    hours: int = 24
    """That the token is good for."""


# --- enrol ----------------------------------------------------------------------------------------------------


def create_token(path: Path, device: DeviceId, lasting_s: float) -> str:
    """Raises ConfigError if the fleet file does not name the device."""
    here = place(path)
    if device not in here.file.devices:
        raise ConfigError(
            f"{path} does not name {device}; add it under [devices] with its kind, and restart the server"
        )
    with closing(Authority(here.folder("authority"))) as authority:
        kind, address = here.file.devices[device], here.file.enrol_address
        return authority.token(device, kind, address, lasting_s, time.time()).text()


def deny(path: Path, device: DeviceId) -> None:
    with closing(Authority(place(path).folder("authority"))) as authority:
        authority.deny(device)
