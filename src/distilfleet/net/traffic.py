"""Bytes of a device's sessions: how many there were, and how fast they came when last any did."""

from dataclasses import dataclass, field

from ..core.units import BITS_PER_BYTE

WINDOW_S = 1.0
"""A rate is taken over so long."""
LEAST_BYTES = 1000
"""A window with less says nothing of the link: beats and grants alone."""


@dataclass(slots=True)
class Direction:
    """One direction of it. A window opens with its first bytes, so that pauses do not count as a
    slow link."""

    total_bytes: int = 0
    rate_bps: float = 0.0
    """The rate in the last window that is over."""
    window_bytes: int = 0
    opened_s: float = 0.0

    def add(self, size_bytes: int, now_s: float) -> None:
        """So many bytes have just come or gone."""
        self.close(now_s)
        if not self.window_bytes:
            self.opened_s = now_s
        self.total_bytes += size_bytes
        self.window_bytes += size_bytes

    def close(self, now_s: float) -> None:
        """Now and then: the window is over if it has lasted long enough."""
        if self.window_bytes and now_s - self.opened_s >= WINDOW_S:
            if self.window_bytes >= LEAST_BYTES:
                self.rate_bps = BITS_PER_BYTE * self.window_bytes / WINDOW_S
            self.window_bytes = 0


@dataclass(slots=True)
class Traffic:
    """Both directions, over all sessions of a device."""

    up: Direction = field(default_factory=Direction)
    down: Direction = field(default_factory=Direction)
