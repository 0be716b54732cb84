"""How much of a signal is lost on its way, by 3GPP TR 38.901 (release 19, tables 7.4.1-1, 7.4.2-1
and 7.5-6).

Every loss here is the largest of a few straight lines in the logarithm of distance: beyond a
breakpoint the steeper line is the higher one, and without line of sight the loss is never below
that with it. Distances are horizontal, in metres, and may be float32, which halves the time of
large fleets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

LIGHT_M_PER_S = 299_792_458.0
HZ_PER_GHZ = 1e9
ENVIRONMENT_M = 1.0
"""Effective height of what stands around, subtracted from both antennas for the breakpoint: table
7.4.1-1, note 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOfSight:
    """`constant_db` + `slope_db` lg(distance in m) + `carrier_db` lg(carrier in GHz)."""

    constant_db: float
    slope_db: float
    carrier_db: float

    def at(self, log_distance: np.ndarray, carrier_hz: float) -> np.ndarray:
        """Loss in dB at distances given as their decimal logarithm."""
        fixed_db = self.constant_db + self.carrier_db * float(np.log10(carrier_hz / HZ_PER_GHZ))
        return fixed_db + self.slope_db * log_distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """With, or without, line of sight."""

    lines: tuple[LineOfSight, ...]
    """The loss is the largest; without line of sight, of these and those with it."""
    shadow_db: float
    """Standard deviation of shadowing."""
    shadow_m: float
    """Way on which the correlation of shadowing falls to 1/e."""
    rician_db: float | None
    """Power of the direct path over the scattered ones, mean; None is Rayleigh fading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioScene:
    """A kind of place: antenna heights and both ways to see the station."""

    name: str
    station_m: float
    """Height of the station's antenna."""
    device_m: float
    """Height of the device's antenna."""
    clear: Sight
    blocked: Sight
    breakpoint_db: float | None = None
    """What the line beyond the breakpoint takes off per decade of the squared distance there; None:
    no breakpoint."""
    sight_m: tuple[tuple[float, float, float], ...] = ()
    """Chance of line of sight: from, decay and factor of each stretch; see `clear_share`."""
    street: bool = False
    """Outdoor law of that chance, which has a term in 1/distance."""


UMI = RadioScene(
    name="umi",
    station_m=10.0,
    device_m=1.5,
    clear=Sight(
        lines=(LineOfSight(constant_db=32.4, slope_db=21.0, carrier_db=20.0),),
        shadow_db=4.0,
        shadow_m=10.0,
        rician_db=9.0,
    ),
    blocked=Sight(
        lines=(LineOfSight(constant_db=22.4, slope_db=35.3, carrier_db=21.3),),
        shadow_db=7.82,
        shadow_m=13.0,
        rician_db=None,
    ),
    breakpoint_db=9.5,
    sight_m=((18.0, 36.0, 1.0),),
    street=True,
)
"""Street canyon with small cells; from 10 m to 5 km."""
UMA = RadioScene(
    name="uma",
    station_m=25.0,
    device_m=1.5,
    clear=Sight(
        lines=(LineOfSight(constant_db=28.0, slope_db=22.0, carrier_db=20.0),),
        shadow_db=4.0,
        shadow_m=37.0,
        rician_db=9.0,
    ),
    blocked=Sight(
        lines=(LineOfSight(constant_db=13.54, slope_db=39.08, carrier_db=20.0),),
        shadow_db=6.0,
        shadow_m=50.0,
        rician_db=None,
    ),
    breakpoint_db=9.0,
    sight_m=((18.0, 63.0, 1.0),),
    street=True,
)
"""City with stations above the roofs; from 10 m to 5 km."""
INDOOR = RadioScene(
    name="indoor",
    station_m=3.0,
    device_m=1.5,
    clear=Sight(
        lines=(LineOfSight(constant_db=32.4, slope_db=17.3, carrier_db=20.0),),
        shadow_db=3.0,
        shadow_m=10.0,
        rician_db=7.0,
    ),
    blocked=Sight(
        lines=(LineOfSight(constant_db=17.3, slope_db=38.3, carrier_db=24.9),),
        shadow_db=8.03,
        shadow_m=6.0,
        rician_db=None,
    ),
    sight_m=((1.2, 4.7, 1.0), (6.5, 32.6, 0.32)),
)
"""InH, mixed office; from 1 to 150 m. Devices at 1.5 m."""
SCENES: Mapping[str, RadioScene] = MappingProxyType(
    {scene.name: scene for scene in (UMI, UMA, INDOOR)}
)


def log_distance(exponent: float) -> RadioScene:
    """Free space up to one metre, then 10 x `exponent` dB per decade of distance; no shadowing,
    Rayleigh fading.

    Loss = 20 lg(4 pi f / c) + 10 n lg(d): the shorthand of papers that name exponents instead of
    places.
    """
    at_one_db = 20 * float(np.log10(4 * np.pi * HZ_PER_GHZ / LIGHT_M_PER_S))
    line = LineOfSight(constant_db=at_one_db, slope_db=10 * exponent, carrier_db=20.0)
    sight = Sight(lines=(line,), shadow_db=0.0, shadow_m=10.0, rician_db=None)
    return RadioScene(
        name=f"exponent {exponent:g}", station_m=0.0, device_m=0.0, clear=sight, blocked=sight
    )


def losses_db(
    scene: RadioScene, distance_m: np.ndarray, carrier_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Loss with line of sight and without it, in dB, of the shape and type of `distance_m`."""
    height_m = scene.station_m - scene.device_m
    log_m = 0.5 * np.log10(distance_m * distance_m + height_m * height_m)
    clear_db = _highest(_clear_lines(scene, carrier_hz), log_m, carrier_hz)
    return clear_db, np.maximum(clear_db, _highest(scene.blocked.lines, log_m, carrier_hz))


def clear_share(scene: RadioScene, distance_m: np.ndarray) -> np.ndarray:
    """Chance of line of sight at a distance, for devices up to 13 m high.

    Indoors, factor * exp(-(d - from) / decay) on each stretch; outdoors s + exp(-d / decay) (1 - s)
    with s = from / d. Nearer than the first stretch it is 1, and so it is for a scene without such
    a law.
    """
    share = np.ones_like(distance_m)
    for from_m, decay_m, factor in scene.sight_m:
        if scene.street:
            near = np.minimum(from_m / np.maximum(distance_m, from_m), 1.0)
            share = near + np.exp(-distance_m / decay_m) * (1.0 - near)
        else:
            beyond_m = np.maximum(distance_m - from_m, 0.0)
            share = np.where(distance_m > from_m, factor * np.exp(-beyond_m / decay_m), share)
    return share


def breakpoint_m(scene: RadioScene, carrier_hz: float) -> float:
    """Distance at which the ground's reflection starts to cancel the direct path: 4 h h' f / c."""
    heights = (scene.station_m - ENVIRONMENT_M) * (scene.device_m - ENVIRONMENT_M)
    return 4 * heights * carrier_hz / LIGHT_M_PER_S


def _clear_lines(scene: RadioScene, carrier_hz: float) -> Sequence[LineOfSight]:
    if scene.breakpoint_db is None:
        return scene.clear.lines
    square_m = breakpoint_m(scene, carrier_hz) ** 2 + (scene.station_m - scene.device_m) ** 2
    near = scene.clear.lines[0]
    taken_db = scene.breakpoint_db * float(np.log10(square_m))
    beyond = LineOfSight(
        constant_db=near.constant_db - taken_db, slope_db=40.0, carrier_db=near.carrier_db
    )
    return (*scene.clear.lines, beyond)


def _highest(lines: Sequence[LineOfSight], log_m: np.ndarray, carrier_hz: float) -> np.ndarray:
    first, *others = (line.at(log_m, carrier_hz) for line in lines)
    for other in others:
        first = np.maximum(first, other)
    return first
