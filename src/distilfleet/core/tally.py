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
    """The time since the start of the run, on the fleet's clock."""
    answered: Sequence[DeviceId]
    missed: Sequence[Missed]
    times: "Times | None" = None
    """When each job was where; None of a simulated fleet."""
    prediction: "PredictedAgainstMeasured | None" = None
    """What a simulation says of the same jobs; None of a simulated fleet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """When a job was where, in seconds since its round began, on the server's clock. None: it
    cannot be told.

    `sent_s` its offer went out; `received_s` the device had all of it; `begun_s` and `done_s` its
    work, by the device's own count from there; `offered_s` the answer was announced; `uploaded_s`
    the server had all of it.
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
    """What the work took, by the board's meter if `metered`, else from its catalogue row and the
    seconds."""
    metered: bool
    """Whether a power meter of the board measured the joules."""
    flops: float | None = None
    """The operations of the work, as the device declared it before; None if it did not."""
    moved_bytes: float | None = None
    """What the work moves between memory and processor, as the device declared it before; None if
    it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When each job of a real fleet's round was where, and when the server computed."""

    jobs: Sequence[Timed]
    server_s: Sequence[tuple[float, float]]
    """The spans in which the server computed: begin and end of each, in order."""


Pair = tuple[float, float]
"""Measured, predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Sums over the jobs that devices of one kind answered."""

    jobs: int
    metered: int
    """How many of them a power meter measured the joules of."""
    down_s: Pair
    busy_s: Pair
    up_s: Pair
    busy_j: Pair
    """The energy of the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedAgainstMeasured:
    """A round as a real fleet measured it, beside what a simulation says of the same jobs on the
    catalogue's rows."""

    round_s: Pair
    """The seconds from its first job to its last answer, or to the server's last work."""
    server_s: Pair
    kinds: Mapping[str, Jobs]
