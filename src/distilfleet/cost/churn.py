"""Devices come and go: two states with constant hazards, one of them in step with the day.

A device that is there leaves with l = `leave_hz` x day(t), one that is away returns with r =
`return_hz`. After a period dt the former is away with l / (l + r) x (1 - exp(-(l + r) dt)), the
latter there with r / (l + r) x the same, so that two short periods are one long one. In the long
run r / (l + r) of the fleet is there.
"""

from dataclasses import dataclass

import numpy as np

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """Hazards of leaving and returning. The defaults are estimates, except the shape: FLGo's day
    curve, a sine."""

    leave_hz: float = 1 / 7200
    """Hazard that a device leaves that is there: estimate, once in two hours."""
    return_hz: float = 1 / 1800
    """Hazard that a device returns that is away: estimate, once in half an hour."""
    day_share: float = 0.5
    """How far the hazard of leaving swings around its mean over a day: estimate."""
    noon_s: float = 43_200.0
    """When that hazard is highest, on the fleet's clock."""

    @property
    def present_share(self) -> float:
        """Mean share of the fleet that is there, without the day."""
        return self.return_hz / (self.leave_hz + self.return_hz)

    def day(self, at_s: float) -> float:
        """1 on average, highest at noon."""
        return 1.0 + self.day_share * float(np.cos(2 * np.pi * (at_s - self.noon_s) / DAY_S))

    def lost_share(self, at_s: float, duration_s: float) -> float:
        """Chance that a device which is there leaves, if only briefly, within a period: that its
        job is lost."""
        return -float(np.expm1(-self.leave_hz * self.day(at_s) * duration_s))

    def after(
        self, present: np.ndarray, chance: np.ndarray, at_s: float, duration_s: float
    ) -> np.ndarray:
        """Who is there after a period that began at `at_s`; `chance` is uniform on 0 to 1, one for
        each device."""
        leave_hz = self.leave_hz * self.day(at_s)
        mixed = -float(np.expm1(-(leave_hz + self.return_hz) * duration_s)) / (
            leave_hz + self.return_hz
        )
        return np.where(present, chance >= leave_hz * mixed, chance < self.return_hz * mixed)


ALWAYS = Churn(leave_hz=0.0, return_hz=1.0, day_share=0.0)
"""Nobody leaves."""
