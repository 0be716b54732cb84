"""Tokens that let devices in, and the list of those that are shut out."""

import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from ..core.errors import ConfigError
from ..core.types import DeviceId
from ..net.identity import Authority
from .fleet_file import FleetFolder

ENDING = ".token"


def create_token(folder: FleetFolder, device: DeviceId, lasting_s: float) -> str:
    """Raises ConfigError if the fleet file does not name the device."""
    _check_named(folder, device)
    with closing(Authority(folder.folder("authority"))) as authority:
        kind = folder.file.devices[device]
        address = str(folder.enrol_address)
        return authority.token(device, kind, address, lasting_s, time.time()).text()


def create_tokens(fleet: FleetFolder, out: Path, lasting_s: float) -> list[Path]:
    """A file with a token for each device, that its owner alone can read; none is written over.

    Raises ConfigError if one of the files is there already, before any is written.
    """
    files = {device: out / f"{quote(device, safe='')}{ENDING}" for device in fleet.file.devices}
    taken = next((file for file in files.values() if file.exists()), None)
    if taken is not None:
        raise ConfigError(f"{taken} is there already; name another --out, or remove the old tokens")
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    for device, file in files.items():
        token = create_token(fleet, device, lasting_s)
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(f"{token}\n", encoding="ascii")
    return list(files.values())


def deny(folder: FleetFolder, device: DeviceId) -> None:
    """Raises ConfigError if the fleet file does not name the device, which may be a slip of the
    pen."""
    _check_named(folder, device)
    with closing(Authority(folder.folder("authority"))) as authority:
        authority.deny(device)


def _check_named(folder: FleetFolder, device: DeviceId) -> None:
    if not device:
        raise ConfigError(f"say with --device which one of {folder.path}")
    if device not in folder.file.devices:
        raise ConfigError(
            f"{folder.path} does not name {device}; add it under [devices] with its kind, and "
            "restart the server"
        )
