"""Why the same work takes longer today: other programs, drawn afresh, and heat, which stays."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

SUSTAINED_SHARE: Mapping[str, float] = MappingProxyType({"phone": 0.55})
"""Part of its speed that a hot device keeps, by family: estimate, 0.5 to 0.6 for phones after
minutes; others keep all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """A log-normal factor around 1 and a warming device. All figures are estimates."""

    spread_share: float = 0.15
    """Standard deviation of the factor's logarithm: what other programs take."""
    warming_s: float = 180.0
    """Time in which heat moves by 63 % towards that of the present load."""

    def heat(self, before: np.ndarray, busy_share: np.ndarray, duration_s: float) -> np.ndarray:
        """0 is cold, 1 is busy for long: h + (busy - h) (1 - exp(-dt / tau))."""
        moved = -float(np.expm1(-duration_s / self.warming_s))
        return np.asarray(before + moved * (busy_share - before))

    def slowdown(
        self, heat: np.ndarray, sustained_share: np.ndarray, normal: np.ndarray
    ) -> np.ndarray:
        """Seconds that a second of computing takes; `normal` is standard normal, one for each
        device."""
        hot = 1.0 + (1.0 / sustained_share - 1.0) * heat
        return np.asarray(hot * np.exp(self.spread_share * normal))


def sustained_share(family: str) -> float:
    """Share of its speed that a hot device of this family keeps."""
    return SUSTAINED_SHARE.get(family, 1.0)
