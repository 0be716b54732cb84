"""What a round took: who answered, bytes, joules and seconds, predicted beside measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .types import DeviceId, Missed, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a round took, as the fleet priced or measured it."""

    devices: Usage
    server: Usage
    elapsed_s: float
    """On the fleet's clock, since the start of the run."""
    answered: Sequence[DeviceId]
    missed: Sequence[Missed]
    times: "Times | None" = None
    """When each job was where; a simulated fleet has none."""
    beside: "PredictedAgainstMeasured | None" = None
    """What a simulation says of the same jobs; of a real fleet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """When a job was where, in seconds since its round began, on the server's clock. None: it cannot be told.

    `sent_s` its offer went out; `received_s` the device had all of it; `begun_s` and `done_s` its work, by the device's
    own count from there; `offered_s` the answer was announced; `uploaded_s` the server had all of it.
    """

    job: str
    device: DeviceId
    sent_s: float
    received_s: float | None
    begun_s: float | None
    done_s: float | None
    offered_s: float
    uploaded_s: float
    down_bytes: int
    up_bytes: int
    busy_s: float
    energy_j: float
    """While it worked; by the board's meter if `metered`, else from its catalogue row and the seconds."""
    metered: bool
    flops: float | None = None
    moved_bytes: float | None = None
    """Of the work as the device declared it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """A round of a real fleet."""

    jobs: Sequence[Timed]
    server_s: Sequence[tuple[float, float]]
    """From when to when the server computed."""


Pair = tuple[float, float]
"""Measured, predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Sums over the jobs that devices of one kind answered."""

    jobs: int
    metered: int
    """Of which a power meter measured the joules."""
    down_s: Pair
    busy_s: Pair
    up_s: Pair
    busy_j: Pair
    """While they worked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedAgainstMeasured:
    """A round as a real fleet measured it, beside what a simulation says of the same jobs on the catalogue's rows."""

    round_s: Pair
    """From its first job to its last answer, or the server's last work."""
    server_s: Pair
    kinds: Mapping[str, Jobs]
