"""From values to places on an axis. A place runs from 0 to SPAN, whatever the size on the
screen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..core.units import pretty_s

SPAN = 4000
_TIME_STEPS_S = (
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1200,
    1800,
    3600,
    7200,
    18000,
    36000,
    72000,
    86400,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One direction of a chart: its words, its limits and its ticks."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    show: Callable[[float], str]
    logarithmic: bool = False

    def place(self, value: float) -> int:
        """The place of a value, from 0 to SPAN."""
        return round(SPAN * self._along(value))

    def share(self, value: float) -> str:
        """The place of a value in percent of the axis, for style sheets."""
        return f"{100 * self._along(value):.4g}%"

    def _along(self, value: float) -> float:
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def amount_axis(label: str, most: float, show: Callable[[float], str]) -> Axis:
    """From nothing to at least `most`, ending on a tick."""
    reach = most or 1.0
    step = nice_step(reach)
    steps = max(1, math.ceil(reach / step - 1e-9))
    return Axis(
        label=label, low=0.0, high=steps * step, ticks=_multiples(step, 0, steps), show=show
    )


def reach_axis(label: str, most: float, show: Callable[[float], str]) -> Axis:
    """From nothing to exactly `most`: for what accumulates along the bottom of a chart."""
    high = most or 1.0
    is_time = show is pretty_s
    step = _time_step(high) if is_time else nice_step(high)
    ticks = _multiples(step, 0, math.floor(high / step + 1e-9))
    return Axis(label=label, low=0.0, high=high, ticks=ticks, show=_tick_s if is_time else show)


def decade_axis(label: str, low: float, most: float, show: Callable[[float], str]) -> Axis:
    """Powers of ten, for amounts above nothing that lie far apart; a little room at both sides."""
    bottom = low / 1.5
    top = most * 1.5
    first = math.ceil(math.log10(bottom))
    final = math.floor(math.log10(top))
    powers = range(first, final + 1)
    every = 1 + len(powers) // 6
    ticks = [10.0**power for power in powers[::every]]
    return Axis(label=label, low=bottom, high=top, ticks=ticks, show=show, logarithmic=True)


def accuracy_axis(values: Sequence[float]) -> Axis:
    """In tenths; starts at nothing unless all is well above it."""
    least = min(values)
    low = math.floor(10 * least) if least >= 0.5 else 0
    top = math.ceil(10 * max(values) + 1e-9)
    high = max(min(10, top), low + 1)
    step = 2 if high - low > 5 else 1
    ticks = [tenth / 10 for tenth in range(low, high + 1, step)]
    return Axis(label="accuracy", low=low / 10, high=high / 10, ticks=ticks, show=_whole_percent)


def free_axis(label: str, values: Sequence[float], show: Callable[[float], str]) -> Axis:
    """Around the values, ending on ticks at both sides."""
    low = min(values)
    high = max(values)
    step = nice_step((high - low) or abs(high) or 1.0)
    first = math.floor(low / step)
    final = max(math.ceil(high / step), first + 1)
    ticks = _multiples(step, first, final)
    return Axis(label=label, low=first * step, high=final * step, ticks=ticks, show=show)


def round_axis(first: int, final: int) -> Axis:
    """Whole rounds, the first and the last at the edges; one round alone stands in the middle."""
    margin = 0 if final > first else 1
    step = max(1, round(nice_step(final - first or 1)))
    later = [number for number in range(step, final + 1, step) if number > first]
    ticks = [first, *later]
    return Axis(label="round", low=first - margin, high=final + margin, ticks=ticks, show=_whole)


def slot_axis(first: int, final: int) -> Axis:
    """Whole rounds with half a slot at both edges, for bars."""
    rounds = round_axis(first, final)
    return replace(rounds, low=first - 0.5, high=final + 0.5)


def nice_step(width: float, most: int = 5) -> float:
    """1, 2 or 5 times a power of ten, so that at most `most` steps cover the width."""
    rough = width / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _time_step(most_s: float) -> float:
    if most_s < 5 or most_s > 5 * _TIME_STEPS_S[-1]:
        return nice_step(most_s)
    return next(step for step in _TIME_STEPS_S if most_s / step <= 5)


def _multiples(step: float, first: int, final: int) -> list[float]:
    return [step * count for count in range(first, final + 1)]


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _tick_s(time_s: float) -> str:
    for unit, length_s in (("h", 3600), ("min", 60)):
        if time_s >= length_s and time_s % (length_s / 2) < 1e-6:
            return f"{time_s / length_s:g} {unit}"
    return pretty_s(time_s)
