"""From a signal's strength to bits per second: noise, fading, link adaptation, outage and
retransmissions.

Rate laws are interchangeable: each gives the bits per second and hertz at a signal-to-noise ratio,
and their mean under Rayleigh fading without drawing anything, which is what a planner wants. Ratios
are in dB at the edges, as everywhere in radio; powers of fading are plain factors around 1.
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

THERMAL_DBM_PER_HZ = -174.0
"""Noise of a resistor at 290 K, 10 lg(k T / 1 mW)."""
AWGN_DB = (-9.2, -7.2, -4.9, -2.5, 0.5, 2.3, 4.2, 6.0, 7.8, 9.7, 11.6, 13.3, 14.9, 17.0, 19.0)
"""Signal over noise at which each index of CQI table 1 loses one block in ten, without fading. From
index 4 on, ours from the block error tables of Sionna 2.2.0 (PDSCH table 1, blocks of 2,000 bits);
1 to 3 an estimate at the same distance from Shannon's limit."""
FADING_DB = (
    -1.89,
    -0.82,
    0.95,
    2.95,
    4.90,
    7.39,
    8.89,
    11.02,
    13.32,
    14.68,
    16.62,
    18.91,
    21.58,
    24.88,
    29.32,
)
"""The same for a fading channel: MathWorks, 5G NR CQI reporting, as used by AIMM 2.0.3. Needs no
margin."""
_TABLE_1 = (
    0.1523, 0.2344, 0.3770, 0.6016, 0.8770, 1.1758, 1.4766, 1.9141,
    2.4063, 2.7305, 3.3223, 3.9023, 4.5234, 5.1152, 5.5547,
)  # fmt: skip
_TABLE_2 = (
    0.1523, 0.3770, 0.8770, 1.4766, 1.9141, 2.4063, 2.7305, 3.3223,
    3.9023, 4.5234, 5.1152, 5.5547, 6.2266, 6.9141, 7.4063,
)  # fmt: skip
_HIGH_AWGN_DB = (20.8, 22.9, 24.8)
"""Of the 256QAM rows of table 2: the first two ours from Sionna's PDSCH table 2, the last an
estimate, extrapolated."""
STEP_DB = 0.1
QUANTILES = 16_384
NODES = np.linspace(-32.0, 4.0, 721)
"""Logarithms of an exponential variable: the trapezium rule on them errs by less than 1e-9."""


class RateLaw(Protocol):
    """Bits per second and hertz, as a function of the signal-to-noise ratio."""

    def bps_per_hz(self, snr_db: np.ndarray) -> np.ndarray:
        """Rate of one transmission at this ratio in dB."""
        ...

    def expected_bps_per_hz(self, mean_snr_db: np.ndarray) -> np.ndarray:
        """Mean over Rayleigh fading around a mean ratio."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shannon:
    """`factor` x log2(1 + snr / `distance`): the limit itself by default.

    Mogensen et al., "LTE capacity compared to the Shannon bound", VTC 2007: see `ATTENUATED`.
    """

    gain_share: float = 1.0
    distance_db: float = 0.0

    def bps_per_hz(self, snr_db: np.ndarray) -> np.ndarray:
        return self._of(ratio(snr_db - self.distance_db))

    def expected_bps_per_hz(self, mean_snr_db: np.ndarray) -> np.ndarray:
        gain = np.exp(NODES)
        weights = gain * np.exp(-gain) * (NODES[1] - NODES[0])
        mean = ratio(np.asarray(mean_snr_db, float) - self.distance_db)
        return np.asarray(self._of(mean[..., None] * gain) @ weights)

    def _of(self, snr: np.ndarray) -> np.ndarray:
        return np.asarray(self.gain_share * np.log2(1.0 + snr))


ATTENUATED = Shannon(gain_share=0.75, distance_db=10 * float(np.log10(1.25)))
"""0.75 log2(1 + snr / 1.25): Mogensen et al., VTC 2007."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cqi:
    """A table of channel quality indices 1 to 15: the highest whose threshold is met; below the
    first, outage.

    Read from a grid of 0.1 dB. Efficiencies: 3GPP TS 38.214, section 5.2.2.1.
    """

    efficiencies: tuple[float, ...] = _TABLE_1
    """Bits per second and hertz of each index."""
    awgn_db: tuple[float, ...] = AWGN_DB
    margin_db: float = 2.0
    """Kept above those thresholds, as indices are reported late and channels fade in frequency:
    estimate."""

    @property
    def thresholds_db(self) -> np.ndarray:
        """Least signal-to-noise ratio of each index."""
        return np.array(self.awgn_db) + self.margin_db

    def index(self, snr_db: np.ndarray) -> np.ndarray:
        """0 to 15; 0 is outage."""
        return self._look_up(_indices(self), snr_db)

    def bps_per_hz(self, snr_db: np.ndarray) -> np.ndarray:
        """float32, from the grid."""
        return self._look_up(_efficiencies(self), snr_db)

    def expected_bps_per_hz(self, mean_snr_db: np.ndarray) -> np.ndarray:
        """Sum over indices i of (SE_i - SE_(i-1)) exp(-threshold_i / mean)."""
        steps = np.diff(self.efficiencies, prepend=0.0)
        mean = ratio(np.asarray(mean_snr_db, float))
        return np.asarray(np.exp(-ratio(self.thresholds_db) / mean[..., None]) @ steps)

    def _look_up(self, grid: np.ndarray, snr_db: np.ndarray) -> np.ndarray:
        place = (snr_db - float(self.thresholds_db[0])) * (1 / STEP_DB) + 1.0
        return np.asarray(grid[np.clip(place, 0, len(grid) - 1).astype(np.int32)])


CQI_1 = Cqi()
"""Up to 64QAM."""
CQI_2 = Cqi(efficiencies=_TABLE_2, awgn_db=(*AWGN_DB[0::2][:4], *AWGN_DB[7:], *_HIGH_AWGN_DB))
"""Up to 256QAM."""


@cache
def _indices(law: Cqi) -> np.ndarray:
    """Index on the grid: entry 0 is below the first threshold, entry 1 at it, each next one 0.1 dB
    further."""
    first, last = law.thresholds_db[[0, -1]]
    grid_db = first + STEP_DB * (np.arange(round((last - first) / STEP_DB) + 2) - 1)
    return np.asarray(
        np.searchsorted(law.thresholds_db, grid_db + STEP_DB / 2, side="right").astype(np.int8)
    )


@cache
def _efficiencies(law: Cqi) -> np.ndarray:
    return np.asarray(np.array([0.0, *law.efficiencies], np.float32)[_indices(law)])


def ratio(level_db: np.ndarray) -> np.ndarray:
    """A level in dB as a plain factor."""
    return np.asarray(10.0 ** (np.asarray(level_db) * 0.1))


def noise_dbm(bandwidth_hz: float, figure_db: float) -> float:
    """Thermal noise over a band, plus what the receiver adds of its own."""
    return THERMAL_DBM_PER_HZ + 10 * float(np.log10(bandwidth_hz)) + figure_db


def shadow(
    before: np.ndarray, way_m: np.ndarray, apart_m: np.ndarray, normal: np.ndarray
) -> np.ndarray:
    """Shadowing after `way_m` metres, in standard deviations: rho s + sqrt(1 - rho^2) n with rho =
    exp(-way / apart).

    Gudmundson, "Correlation model for shadow fading", Electronics Letters 27(23), 1991; TR 38.901
    section 7.4.4.
    """
    kept = np.exp(-way_m / apart_m)
    return np.asarray(kept * before + np.sqrt(1.0 - kept * kept) * normal)


def fading(direct: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Power of a Rician channel, mean 1: |a + b (x + iy)|^2 with a^2 = K / (K + 1), 2 b^2 = 1 / (K
    + 1).

    `direct` is K, a plain factor; 0 is Rayleigh. `normals` are x and y, [2, ...].
    """
    scattered = 1.0 / (direct + 1.0)
    in_phase = np.sqrt(direct * scattered) + np.sqrt(0.5 * scattered) * normals[0]
    return np.asarray(in_phase * in_phase + (0.5 * scattered) * normals[1] * normals[1])


@cache
def fading_quantiles_db(rician_db: float | None) -> np.ndarray:
    """The same power in dB, at the middles of `QUANTILES` equal parts of its distribution, float32.

    One uniform number picks one of them, in a third of the time of two normal ones and a logarithm.
    The deepest fade is that of one draw in 32,768: -45 dB under Rayleigh.
    """
    level_db = np.arange(-90.0, 20.0, 0.01)
    chance = outage_share(level_db, np.array(0.0), rician_db)
    return np.asarray(
        np.interp((np.arange(QUANTILES) + 0.5) / QUANTILES, chance, level_db).astype(np.float32)
    )


def outage_share(
    threshold_db: np.ndarray, mean_snr_db: np.ndarray, rician_db: float | None = None
) -> np.ndarray:
    """Chance that fading takes the ratio below a threshold; `rician_db` is the factor K, None is
    Rayleigh.

    1 - Q1(sqrt(2 K), sqrt(2 (K + 1) threshold / mean)), as a Poisson mixture of gamma
    distributions.
    """
    direct = direct_factor(rician_db)
    reach = (direct + 1.0) * ratio(np.subtract(threshold_db, mean_snr_db))
    term = np.exp(-reach)
    weight = float(np.exp(-direct))
    below = -np.expm1(-reach)
    chance = weight * below
    for order in range(1, 8 + int(direct + 12 * np.sqrt(direct + 1))):
        term = term * reach / order
        weight = weight * direct / order
        below = below - term
        chance = chance + weight * below
    return np.asarray(np.clip(chance, 0.0, 1.0))


def direct_factor(rician_db: float | None) -> float:
    """The Rician factor K as a plain factor: power of the direct path over the scattered ones."""
    return 0.0 if rician_db is None else float(10 ** (rician_db / 10))


def mean_transmissions(error_share: float, limit: int) -> float:
    """Times that a block is sent, of at most `limit`, each lost with `error_share`: (1 - q^m) / (1
    - q)."""
    return sum(error_share**sent for sent in range(limit))


def lost_share(error_share: float, limit: int) -> float:
    """Blocks that no transmission brought through: q^m. To the trainer a lost update, never a
    silent delay."""
    return error_share**limit
