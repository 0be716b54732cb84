"""What a slower clock saves: power at a clock is a constant part and one with its cube.

P(f) = P_s + kappa f^3 with kappa = P_d / F^3 at the highest clock F. Work goes with f, so an
operation takes (P_s + kappa f^3) / (c f), least at f = (P_s / (2 kappa))^(1/3). Without the
constant part, as papers have it, an infinitely slow clock would look best. Clocks are shares of the
highest one throughout.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .catalogue import Entry

LOWEST_SHARE = 0.1
"""Share of the highest clock below which processors do not go: estimate (an H200 of 1,980 MHz idles
at 345)."""
STEPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRate:
    """A processor's power over its clocks."""

    static_w: float
    """Power of the processor or board at any clock."""
    dynamic_w: float
    """What full load adds at the highest clock."""
    top_hz: float
    lowest_share: float = LOWEST_SHARE

    @staticmethod
    def of(entry: Entry) -> "ClockRate":
        """A processor by a row's watts: an estimate, as leakage grows with heat and idle states go
        below P_s."""
        return ClockRate(
            static_w=entry.idle_w, dynamic_w=entry.busy_w - entry.idle_w, top_hz=entry.clock_hz
        )

    @property
    def best_share(self) -> float:
        """Clock of the least energy per operation, (P_s / (2 P_d))^(1/3), within the clocks that
        there are."""
        free = np.cbrt(self.static_w / (2 * self.dynamic_w)) if self.dynamic_w > 0 else 1.0
        return float(np.clip(free, self.lowest_share, 1.0))

    def steps(self, count: int = STEPS) -> np.ndarray:
        """Clocks worth trying, [count], from the best one for energy to the highest: slower ones
        are worse in all."""
        return np.linspace(self.best_share, 1.0, count)

    def power_w(self, clock_share: ArrayLike) -> np.ndarray:
        """Watts at these clocks, shares of the highest."""
        return np.asarray(self.static_w + self.dynamic_w * np.asarray(clock_share, float) ** 3)

    def busy_s(self, full_speed_s: ArrayLike, clock_share: ArrayLike) -> np.ndarray:
        """Seconds of work that takes `full_speed_s` at the highest clock. Memory is taken to slow
        down with it."""
        return np.asarray(np.asarray(full_speed_s, float) / np.asarray(clock_share, float))

    def energy_j(self, full_speed_s: ArrayLike, clock_share: ArrayLike) -> np.ndarray:
        """Joules of that work, the constant part included while it lasts."""
        return np.asarray(self.power_w(clock_share) * self.busy_s(full_speed_s, clock_share))
