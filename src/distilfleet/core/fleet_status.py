"""A real fleet at one moment, as its server sees it: what the network tells and pages show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .types import DeviceId

Doing = Literal["away", "idle", "receiving", "working", "uploading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """One device."""

    id: DeviceId
    kind: str
    doing: Doing
    fence: int
    """Number of its session among all of this server process; 0 if it has not come yet."""
    silent_s: float | None
    """Since it was last heard; None if it has not come yet."""
    up_bytes: int
    """That came from it since the server started."""
    down_bytes: int
    up_bps: float
    """Over the last second or more in which anything came; 0 before."""
    down_bps: float
    battery_share: float | None = None
    """Charge of its battery, if it says so."""
    stopped: bool = False
    """Its agent said that it stops, and has not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStatus:
    """The whole fleet."""

    devices: tuple[DeviceStatus, ...]
    run: str
    """The run that devices were last told of; empty if none."""
    round: int
    jobs: int
    """Of the waves under way."""
    answered: int
    missed: int
    """Of those jobs, so far: declined or rejected."""
    since_s: float
    """That the oldest of these waves has been under way; 0 if there is none."""
    refused: Mapping[str, int]
    """Sessions that were refused or ended by the server, by reason."""
    late: int
    """Answers that came after their wave was over."""
    uploading_bytes: int
    """Room taken by uploads that are under way."""
    room_bytes: int
    """Room that there is for them."""
    uploads_waiting: int
    """Uploads that wait for room."""
    clashes: Mapping[DeviceId, int] = field(default_factory=dict)
    """Devices whose identity two agents use, and how often one of the two came back since the server started."""
