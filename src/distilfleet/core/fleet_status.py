"""A real fleet at one moment, as its server sees it: what the network tells and pages show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .types import DeviceId

Doing = Literal["away", "idle", "receiving", "working", "uploading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """One device, as it stands now."""

    id: DeviceId
    kind: str
    doing: Doing
    fence: int
    """Number of its session among all of this server process; 0 if it has not come yet."""
    silent_s: float | None
    """The time since it was last heard; None if it has not come yet."""
    up_bytes: int
    """What came from it since the server started."""
    down_bytes: int
    """What went to it since the server started."""
    up_bps: float
    """The rate over the last second or more in which anything came; 0 before."""
    down_bps: float
    """The rate over the last second or more in which anything went to it; 0 before."""
    battery_share: float | None = None
    """The charge of its battery; None if it does not say."""
    stopped: bool = False
    """Whether its agent said that it stops, and has not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStatus:
    """The whole fleet at one moment."""

    devices: tuple[DeviceStatus, ...]
    run: str
    """The run that devices were last told of; empty if none."""
    round: int
    """The round under way, or the last one."""
    jobs: int
    """How many jobs the waves under way have."""
    answered: int
    """How many of those jobs are answered so far."""
    missed: int
    """How many of those jobs were declined or rejected so far."""
    since_s: float
    """How long the oldest of these waves has been under way; 0 if there is none."""
    refused: Mapping[str, int]
    """Sessions that were refused or ended by the server, by reason."""
    late: int
    """How many answers came after their wave was over."""
    uploading_bytes: int
    """The room that uploads under way take."""
    room_bytes: int
    """The room that there is for uploads."""
    uploads_waiting: int
    """How many uploads wait for room."""
    clashes: Mapping[DeviceId, int] = field(default_factory=dict)
    """The devices whose identity two agents use, and how often one of the two came back since the
    server started."""
