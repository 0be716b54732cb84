"""Tokens that let devices in, and the list of those that are shut out."""

import time
from contextlib import closing

from ..core.errors import ConfigError
from ..core.types import DeviceId
from ..net.identity import Authority
from .fleet_file import FleetFolder


def create_token(here: FleetFolder, device: DeviceId, lasting_s: float) -> str:
    """Raises ConfigError if the fleet file does not name the device."""
    _check_named(here, device)
    with closing(Authority(here.folder("authority"))) as authority:
        kind = here.file.devices[device]
        address = str(here.enrol_address)
        return authority.token(device, kind, address, lasting_s, time.time()).text()


def deny(here: FleetFolder, device: DeviceId) -> None:
    """Raises ConfigError if the fleet file does not name the device, which may be a slip of the
    pen."""
    _check_named(here, device)
    with closing(Authority(here.folder("authority"))) as authority:
        authority.deny(device)


def _check_named(here: FleetFolder, device: DeviceId) -> None:
    if not device:
        raise ConfigError(f"say with --device which one of {here.path}")
    if device not in here.file.devices:
        raise ConfigError(
            f"{here.path} does not name {device}; add it under [devices] with its kind, and "
            "restart the server"
        )
