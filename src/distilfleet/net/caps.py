"""What a device's owner allows, and the account of what the device did, kept over restarts.

Bytes are those of the session's messages in both directions, TLS not counted. A job is declined if
its answer might go beyond what is left; only words that keep a session alive go beyond it.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path

import msgspec

from ..core.types import Device, Load
from ..cost.compute import compute_s
from .wave import LATER


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What is beyond these is declined with a reason."""

    job_bytes: int = 256 << 20
    """The largest job that the device takes."""
    job_s: float | None = None
    """The longest job, as its load is priced on this board before it begins."""
    jobs: int | None = None
    busy_s: float | None = None
    hours: tuple[int, int] = (0, 24)
    """The hours of the day in which the device works, local time: from, until; (22, 6) is a
    night."""
    day_bytes: int | None = None
    total_bytes: int | None = None

    def at(self, hour: int) -> bool:
        """Whether the device works at this hour."""
        first, last = self.hours
        return first <= hour < last if first <= last else hour >= first or hour < last


class Account(msgspec.Struct, kw_only=True):
    """What the device did since it was enrolled."""

    jobs: int = 0
    busy_s: float = 0.0
    total_bytes: int = 0
    day: str = ""
    day_bytes: int = 0

    @classmethod
    def read(cls, file: Path) -> "Account":
        """Anew if there is none that can be read: the owner may delete it."""
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return cls()

    def write(self, file: Path) -> None:
        """A power cut may take the last jobs' worth along."""
        new = file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self))
        new.replace(file)

    def moved(self, size_bytes: int, day: str) -> None:
        """So many bytes have travelled, in either direction, on this day."""
        if day != self.day:
            self.day = day
            self.day_bytes = 0
        self.total_bytes = self.total_bytes + size_bytes
        self.day_bytes = self.day_bytes + size_bytes

    def did(self, busy_s: float) -> None:
        """One more job is done, which took so long."""
        self.jobs = self.jobs + 1
        self.busy_s = self.busy_s + busy_s

    def left_bytes(self, caps: Caps, day: str) -> float:
        """That may yet travel today."""
        today = self.day_bytes if day == self.day else 0
        return min(
            self.ever_bytes(caps), inf if caps.day_bytes is None else max(0, caps.day_bytes - today)
        )

    def ever_bytes(self, caps: Caps) -> float:
        """That may yet travel on all days together, and at most on one."""
        left_bytes = (
            inf if caps.total_bytes is None else max(0, caps.total_bytes - self.total_bytes)
        )
        return min(left_bytes, inf if caps.day_bytes is None else caps.day_bytes)


def refusal(caps: Caps, account: Account, device: Device, load: Load, hour: int) -> str | None:
    """Why this job is not for this device; None if it is. What passes by itself comes last, and
    begins with `LATER`."""
    if caps.jobs is not None and account.jobs >= caps.jobs:
        return f"declined: {caps.jobs} jobs are done"
    if caps.busy_s is not None and account.busy_s >= caps.busy_s:
        return f"declined: {caps.busy_s:g} s of work are done"
    if load.memory_bytes > device.memory_bytes:
        return "memory"
    lasting_s = float(
        compute_s(load.flops, load.moved_bytes, device.speed_flops_per_s, device.memory_bytes_per_s)
    )
    if caps.job_s is not None and lasting_s > caps.job_s:
        return f"declined: {lasting_s:.3g} s of work, more than {caps.job_s:g} s for one job"
    if not caps.at(hour):
        return f"{LATER}: only from {caps.hours[0]} to {caps.hours[1]} o'clock"
    return None
