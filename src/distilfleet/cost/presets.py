"""Channels called good, normal and poor.

Placeholders, all of them estimates: the papers that use these words (arXiv 2412.00090 and
2501.17164) could not be read for their numbers. Exponents 2, 4 and 6 are what is remembered of
them; the bands of channel quality are thirds of the table. Whoever has the papers' tables corrects
this file and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .pathloss import RadioScene, log_distance
from .radio import STEP_DB, Cqi

ABOVE_LAST_DB = 2.0
"""Width of the last index, which has no next one: estimate, as the others are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A quality of channel: a band of indices, and the exponent of path loss that papers name."""

    name: str
    exponent: float
    lowest_cqi: int
    highest_cqi: int

    @property
    def scene(self) -> RadioScene:
        """For those who want distances: loss by this exponent alone."""
        return log_distance(self.exponent)

    def band_db(self, law: Cqi) -> tuple[float, float]:
        """Signal-to-noise ratios that report an index of the band."""
        bounds_db = [*law.thresholds_db.tolist(), float(law.thresholds_db[-1]) + ABOVE_LAST_DB]
        return bounds_db[self.lowest_cqi - 1] + STEP_DB, bounds_db[self.highest_cqi] - STEP_DB

    def snr_db(self, law: Cqi, normal: np.ndarray) -> np.ndarray:
        """Ratios within the band, around its middle; `normal` is standard normal, and half of the
        band one of it."""
        low_db, high_db = self.band_db(law)
        return np.asarray(
            np.clip(0.5 * (low_db + high_db) + 0.5 * (high_db - low_db) * normal, low_db, high_db)
        )

    def mean_bps_per_hz(self, law: Cqi) -> float:
        """Mean over the band's indices, each as likely."""
        return float(np.mean(law.efficiencies[self.lowest_cqi - 1 : self.highest_cqi]))


GOOD = Preset(name="good", exponent=2.0, lowest_cqi=11, highest_cqi=15)
NORMAL = Preset(name="normal", exponent=4.0, lowest_cqi=6, highest_cqi=10)
POOR = Preset(name="poor", exponent=6.0, lowest_cqi=1, highest_cqi=5)
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {preset.name: preset for preset in (GOOD, NORMAL, POOR)}
)
