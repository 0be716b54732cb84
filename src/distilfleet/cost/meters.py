"""Meters that a system already has, read from its files: a Jetson's rails, a processor's energy
counters, a battery.

A rail map per board, because sums over all rails count some twice (jetson-stats, issues 51 and
344).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core.errors import ConfigError

WHOLE_BOARD = (
    ("VDD_IN",),
    ("POM_5V_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "SYS5V"),
)
"""Rails that together feed a whole board, the first set that a board has: Orin Nano, NX and Xavier
NX; Nano; AGX Orin; AGX Xavier. From NVIDIA's guides, from memory: an estimate until seen on each
board."""


class Meter(Protocol):
    """Mean watts since the last call, or since the meter was found."""

    @property
    def what(self) -> str:
        """What it covers, for the source of a number."""
        ...

    def mean_w(self, since_s: float) -> float: ...


@dataclass(slots=True)
class Rails:
    """Sensors of a Jetson: volts and amperes of each rail, at this moment."""

    names: tuple[str, ...]
    pairs: Sequence[tuple[Path, Path]]
    """Millivolts and milliamperes."""

    @property
    def what(self) -> str:
        return f"whole board, rails {' + '.join(self.names)}"

    def mean_w(self, since_s: float) -> float:
        return sum(_number(volts) * _number(amperes) for volts, amperes in self.pairs) / 1e6


@dataclass(slots=True)
class Counters:
    """RAPL: microjoules that processor packages have used, in counters that begin again at a
    maximum."""

    packages: Sequence[tuple[Path, int]]
    """Counter and its maximum."""
    last: list[float]

    @property
    def what(self) -> str:
        return "processor packages alone, RAPL"

    def mean_w(self, since_s: float) -> float:
        used_uj = 0.0
        for place, (path, most) in enumerate(self.packages):
            counted = _number(path)
            used_uj += (counted - self.last[place]) % (most + 1)
            self.last[place] = counted
        return used_uj / 1e6 / since_s


def find(system: Path) -> Meter | None:
    """The meter of the machine whose `/sys` this is, or None."""
    rails = _rails(system)
    for names in WHOLE_BOARD:
        if all(name in rails for name in names):
            return Rails(names, [rails[name] for name in names])
    return _counters(system)


def battery_share(system: Path) -> float | None:
    """Charge of the machine's own battery, or None."""
    for kind in sorted(system.glob("class/power_supply/*/type")):
        charge = kind.with_name("capacity")
        if _is_own_battery(kind) and _readable(charge):
            return min(1.0, max(0.0, _number(charge) / 100))
    return None


def _is_own_battery(kind: Path) -> bool:
    """Whether it is a battery, and not that of a mouse or keyboard."""
    scope = kind.with_name("scope")
    peripheral = _readable(scope) and scope.read_text().strip() == "Device"
    return kind.read_text().strip() == "Battery" and not peripheral


def mean_w(
    meter: Meter, work: Callable[[], object], clock: Callable[[], float], lasting_s: float
) -> float:
    """Watts while `work` is done again and again. Raises ConfigError if the meter shows none."""
    began_s = last_s = clock()
    meter.mean_w(1.0)
    spent_j = 0.0
    while last_s < began_s + lasting_s:
        work()
        now_s = clock()
        spent_j += meter.mean_w(now_s - last_s) * (now_s - last_s)
        last_s = now_s
    if not spent_j > 0:
        raise ConfigError(
            f"the power meter ({meter.what}) shows nothing; give --idle-w and --busy-w instead"
        )
    return spent_j / (last_s - began_s)


def _rails(system: Path) -> dict[str, tuple[Path, Path]]:
    found: dict[str, tuple[Path, Path]] = {}
    for label in sorted(system.glob("bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/in[0-9]_label")):
        number = label.name.removeprefix("in").removesuffix("_label")
        pair = label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input")
        if all(_readable(path) for path in (label, *pair)):
            found.setdefault(label.read_text().strip(), pair)
    return found


def _counters(system: Path) -> Counters | None:
    zones = sorted(system.glob("class/powercap/intel-rapl:[0-9]"))
    counted = [zone / "energy_uj" for zone in zones if _readable(zone / "energy_uj")]
    if not counted:
        return None
    packages = [(path, int(_number(path.with_name("max_energy_range_uj")))) for path in counted]
    return Counters(packages, [_number(path) for path in counted])


def _readable(path: Path) -> bool:
    """Counters are often for root alone."""
    try:
        return bool(path.read_text().strip())
    except OSError:
        return False


def _number(path: Path) -> float:
    return float(path.read_text())
