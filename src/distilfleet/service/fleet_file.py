"""`fleet.toml`, and the folders of its server."""

import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from ..core.errors import ConfigError
from ..core.types import Device, DeviceId
from ..cost import catalogue
from ..net.address import Address, host_of
from ..net.server_side import BEAT_S
from ..net.wave import LONGEST_S, PATIENCE_S
from ..record.queue import Queue

T = TypeVar("T")
LEAST_BEAT_S = 0.1
MOST_BEAT_S = 120.0
Seconds = Annotated[float, msgspec.Meta(gt=0.0)]


class FleetFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`fleet.toml`: where the server is and who belongs to it."""

    address: str
    """HOST:PORT that devices connect to."""
    enrol_address: str
    """HOST:PORT that new devices enrol at."""
    devices: dict[str, str]
    """Id -> row of the catalogue, or of your own, in the order of the fleet."""
    state: str = "fleet-state"
    """The server's folder, beside this file."""
    server: str = ""
    """The server's row of the catalogue. Default: none, and its joules are left out."""
    catalogue: str = ""
    """CSV file with kinds of your own boards, as `distilfleet calibrate` writes it, beside this
    file."""
    listen: str = ""
    """HOST to listen on. Default: that of `address`."""
    patience_s: Seconds = PATIENCE_S
    """How long a wave without a deadline waits for a device that is away."""
    longest_s: Seconds = LONGEST_S
    """How long a wave without a deadline may take: who is there and does not answer holds it up no
    longer."""
    beat_s: Seconds = BEAT_S
    """Seconds between signs of life; who is silent for three of these is away."""
    page: str = "localhost:7480"
    """HOST:PORT of the live page and /metrics; empty for none."""
    page_token: str = ""
    """Who has it may see the page; needed where other machines can reach it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFolder:
    """A fleet file and its folders."""

    path: Path
    """The fleet file."""
    file: FleetFile
    """What the fleet file says."""
    state: Path
    """The folder that its server keeps."""
    catalogue: Path | None
    """The rows of the fleet's own boards."""

    def folder(self, name: str) -> Path:
        made = self.state / name
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        return made

    @property
    def queue(self) -> Queue:
        return Queue(self.state)

    @property
    def devices(self) -> dict[DeviceId, Device]:
        return {
            name: catalogue.device(kind, name, extra=self.catalogue)
            for name, kind in self.file.devices.items()
        }

    @property
    def address(self) -> Address:
        return Address.read(self.file.address)

    @property
    def enrol_address(self) -> Address:
        return Address.read(self.file.enrol_address)

    @property
    def page(self) -> Address | None:
        return Address.read(self.file.page, least_port=0) if self.file.page else None

    def listening(self, address: Address) -> Address:
        return address.at(host_of(self.file.listen)) if self.file.listen else address


def fleet_folder(path: Path) -> FleetFolder:
    """Read the fleet file, once for each verb. Raises ConfigError."""
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=FleetFile)
    except OSError as fault:
        remedy = f"{fault.strerror}. Go to its folder, or give its path"
        raise ConfigError(f"the fleet file {path} cannot be read: {remedy}") from None
    except msgspec.DecodeError as fault:
        raise ConfigError(f"{path} is no fleet file: {fault}") from None
    if not file.devices:
        raise ConfigError(f"{path} names no devices; under [devices], write: pi-07 = 'rpi-4b'")
    own = path.parent / file.catalogue if file.catalogue else None
    _check(path, file, own)
    return FleetFolder(path=path, file=file, state=_own(path.parent / file.state), catalogue=own)


def _check(path: Path, file: FleetFile, own: Path | None) -> None:
    """What would go wrong later, and be harder to understand. Raises ConfigError."""
    ports = {
        _reachable(path, name, getattr(file, name)).port for name in ("address", "enrol_address")
    }
    if len(ports) == 1:
        raise ConfigError(
            f"{path}: address and enrol_address have the same port; they need one each"
        )
    if file.listen:
        _read(path, "listen", file.listen, _host)
    if file.page:
        _read(path, "page", file.page, lambda text: Address.read(text, least_port=0))
    if not LEAST_BEAT_S <= file.beat_s <= MOST_BEAT_S:
        raise ConfigError(
            f"{path}: beat_s = {file.beat_s:g}; write {LEAST_BEAT_S:g} to {MOST_BEAT_S:g} seconds: "
            "more often keeps links busy, and a link that is silent for longer is cut by the "
            "networks in between"
        )
    for kind in {*file.devices.values(), *filter(None, [file.server])}:
        try:
            catalogue.device(kind, kind, extra=own)
        except ConfigError as fault:
            mend = (
                ""
                if own
                else ". Name a file with rows of your own boards in it: catalogue = 'boards.csv'"
            )
            raise ConfigError(f"{path}: {fault}{mend}") from None


def shows_secret(here: FleetFolder) -> str:
    """A warning if other users of this machine can read the page's token; else empty."""
    if not here.file.page_token or not here.path.stat().st_mode & 0o077:
        return ""
    return (
        f"{here.path} has page_token, and other users of this machine can read it: chmod 600 "
        f"{here.path}"
    )


def _reachable(path: Path, name: str, text: str) -> Address:
    """Where devices find the server. Raises ConfigError."""
    address = _read(path, name, text, Address.read)
    if address.is_anywhere:
        remedy = (
            "is where a server listens, and no place where devices find it; write its name, and "
            "this in `listen`"
        )
        raise ConfigError(f"{path}: {name} = {text!r}: {address.host} {remedy}")
    return address


def _host(text: str) -> str:
    """Raises ConfigError."""
    try:
        return host_of(text)
    except ConfigError as fault:
        raise ConfigError(
            f"{fault}. Write a HOST alone, 0.0.0.0 or :: for all addresses of this machine; the "
            "ports are those of address and enrol_address"
        ) from None


def _read(path: Path, name: str, text: str, reader: Callable[[str], T]) -> T:
    """Raises ConfigError that says where in the file it is."""
    try:
        return reader(text)
    except ConfigError as fault:
        raise ConfigError(f"{path}: {name} = {fault}") from None


def _own(state: Path) -> Path:
    """What another user writes there the server could not write again. Raises ConfigError."""
    owner = state.stat().st_uid if state.exists() else os.geteuid()
    if owner != os.geteuid():
        raise ConfigError(
            f"{state} belongs to {_name_of(owner)}: run this as that user, for example with sudo -u"
        )
    return state


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
