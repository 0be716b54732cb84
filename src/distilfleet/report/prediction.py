"""Predicted beside measured, on the page of a real fleet's run: seconds and joules, by round and by
kind of device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple

from ..core.units import pretty_s
from ..record.history import History
from . import figures
from .charts import Chart, Series, line_chart
from .html import Html, block, join, paragraph, section, tag
from .html_table import Cells, scrolled
from .overlap import overlap_block
from .plan import short_j, short_s
from .scale import Axis, amount_axis, decade_axis, round_axis

MOST_ROWS = 200
FAR_APART = 20.0
"""The ratio of values beyond which an axis is logarithmic."""
STAGES = (
    ("down_s", "Job on its way"),
    ("busy_s", "Work"),
    ("up_s", "Answer on its way"),
    ("busy_j", "Energy of the work"),
)
_LEAD = (
    "What devices, links and server took, beside what a simulation predicts for the very same jobs "
    "on the boards and links of the catalogue. A ratio above 1 is slower, or takes more, than "
    "predicted. A device that runs on another machine than the board it is enrolled as, such as a "
    "process of a demonstration, differs by that."
)
Show = Callable[[float], str]


class Pair(NamedTuple):
    """One figure, as it was measured and as it was predicted."""

    measured: float
    predicted: float

    def plus(self, other: "Pair") -> "Pair":
        """Both figures of both."""
        return Pair(self.measured + other.measured, self.predicted + other.predicted)


NOTHING = Pair(0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSums:
    """Sums over the jobs of one kind of device."""

    jobs: int = 0
    metered: int = 0
    """How many of the jobs a power meter measured the joules of."""
    stages: Mapping[str, Pair] = field(default_factory=dict)

    def plus(self, facts: Mapping[str, Any]) -> "KindSums":
        """With the jobs of one more round."""
        stages = {}
        for name, _ in STAGES:
            before = self.stages.get(name, NOTHING)
            stages[name] = before.plus(_pair(facts.get(name)) or NOTHING)
        jobs = self.jobs + int(figures.number(facts, "jobs") or 0)
        metered = self.metered + int(figures.number(facts, "metered") or 0)
        return KindSums(jobs=jobs, metered=metered, stages=stages)


def prediction_section(run: History) -> Html | None:
    """None for a simulated run."""
    rounds_s = pairs(run, "round_s")
    if not rounds_s:
        return None
    return section(
        "prediction",
        "Measured and predicted",
        paragraph(_LEAD, "lead"),
        tag("div", *_charts(run, rounds_s), class_="grid"),
        _kinds(run),
        _rounds(run, rounds_s),
        overlap_block(run),
    )


def pairs(run: History, field: str) -> list[Pair]:
    """The pair of each round that has one."""
    found = [_pair(row.get(field)) for row in run.rounds]
    return [pair for pair in found if pair is not None]


def by_kind(run: History) -> dict[str, KindSums]:
    """Sums over all rounds, by kind of device."""
    found: dict[str, KindSums] = {}
    for row in run.rounds:
        for kind, facts in _kinds_of(row).items():
            found[kind] = found.get(kind, KindSums()).plus(facts)
    return found


def ratio(pair: Pair) -> str:
    """Measured by predicted, in words; a dash where nothing was predicted."""
    if pair.predicted <= 0:
        return "–"
    value = pair.measured / pair.predicted
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _kinds_of(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    kinds = figures.part(row, "kinds")
    return {kind: facts for kind, facts in kinds.items() if isinstance(facts, Mapping)}


def _pair(value: Any) -> Pair | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    measured, predicted = value
    if not _is_finite(measured) or not _is_finite(predicted):
        return None
    return Pair(float(measured), float(predicted))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


# --- charts and tables ----------------------------------------------------------------------------


def _charts(run: History, rounds_s: Sequence[Pair]) -> list[Html]:
    rows = _rows(run)
    numbers = [figures.number(row, "round") or 0.0 for row in rows]
    charts = [
        _chart(
            "Seconds of each round",
            "From its first job to its last answer.",
            numbers,
            rounds_s,
            short_s,
        )
    ]
    energy_j = [_energy_of(row) for row in rows]
    if any(pair.measured for pair in energy_j):
        sub = f"Of the work on devices. {_metered(run)}"
        charts.append(_chart("Energy of each round", sub, numbers, energy_j, short_j))
    return charts


def _rows(run: History) -> list[Mapping[str, Any]]:
    """The rounds that were measured and predicted."""
    return [row for row in run.rounds if _pair(row.get("round_s")) is not None]


def _energy_of(row: Mapping[str, Any]) -> Pair:
    energy_j = NOTHING
    for facts in _kinds_of(row).values():
        energy_j = energy_j.plus(_pair(facts.get("busy_j")) or NOTHING)
    return energy_j


def _metered(run: History) -> str:
    kinds = by_kind(run).values()
    jobs = sum(kind.jobs for kind in kinds)
    metered = sum(kind.metered for kind in kinds)
    if not metered:
        return (
            "No board had a power meter: “measured” is the catalogue’s power over the measured "
            "seconds."
        )
    if metered == jobs:
        return "Measured by the boards’ power meters."
    rest = "for the others the catalogue’s power over the measured seconds."
    return f"By power meters for {metered:,.0f} of {jobs:,.0f} jobs; {rest}"


def _chart(
    title: str, sub: str, numbers: Sequence[float], found: Sequence[Pair], show: Show
) -> Html:
    """Both figures by round; what is 0 leaves a gap."""
    measured = [pair.measured or None for pair in found]
    predicted = [pair.predicted or None for pair in found]
    series = [
        Series(name="measured", tone=0, xs=numbers, ys=measured),
        Series(name="predicted", tone=1, xs=numbers, ys=predicted, dashed=True),
    ]
    drawn = [line for line in series if line.points]
    axis = _axis([y for line in drawn for _, y in line.points], show)
    chart = Chart(
        title=title,
        sub=f"{sub} {axis.label}".strip(),
        series=drawn,
        x=round_axis(int(numbers[0]), int(numbers[-1])),
        y=axis,
        say_x=lambda number: f"round {number:.0f}",
        say_y=show,
    )
    return line_chart(chart)


def _axis(values: Sequence[float], show: Show) -> Axis:
    least = min(values)
    most = max(values)
    if least > 0 and most / least > FAR_APART:
        return decade_axis("Logarithmic.", least, most, show)
    return amount_axis("", most, show)


def _kinds(run: History) -> Html | None:
    rows: list[Cells] = []
    for kind, sums in by_kind(run).items():
        jobs = tag("small", f" · {sums.jobs:,.0f} jobs")
        rows.append([join(kind, jobs), "", "", ""])
        rows += [_stage(sums, name, words) for name, words in STAGES]
    if not rows:
        return None
    words = (
        "Over the jobs of all rounds. A job is on its way until the device has all of it, so a "
        f"device that was still starting adds to it. {_metered(run)}"
    )
    table = scrolled(("Mean of a job", "Measured", "Predicted", "Ratio"), rows, "numbers")
    return block("By kind of device", words, table)


def _stage(sums: KindSums, name: str, words: str) -> Cells:
    """One stage of a mean job."""
    show = short_j if name.endswith("_j") else short_s
    jobs = sums.jobs or 1
    pair = sums.stages[name]
    named = tag("span", words, class_="of-kind")
    return [named, show(pair.measured / jobs), show(pair.predicted / jobs), ratio(pair)]


_ROUND_HEADS = ("Round", "Whole round", "ratio", "Server", "ratio", "Energy", "ratio")


def _rounds(run: History, rounds_s: Sequence[Pair]) -> Html:
    table_rows = [_round(row) for row in _rows(run)[-MOST_ROWS:]]
    whole_s = NOTHING
    for pair in rounds_s:
        whole_s = whole_s.plus(pair)
    spent = (
        f"{pretty_s(whole_s.measured)} measured, {pretty_s(whole_s.predicted)} predicted: ratio "
        f"{ratio(whole_s)}"
    )
    words = f"Measured, then predicted. In all {spent}."
    return block("Round by round", words, scrolled(_ROUND_HEADS, table_rows, "numbers"))


def _round(row: Mapping[str, Any]) -> Cells:
    round_s = _pair(row["round_s"]) or NOTHING
    server_s = _pair(row.get("server_s")) or NOTHING
    energy_j = _energy_of(row)
    pairs_shown = [(round_s, short_s), (server_s, short_s), (energy_j, short_j)]
    cells = [str(row["round"])]
    for pair, show in pairs_shown:
        predicted = tag("small", f" · {show(pair.predicted)}")
        cells += [join(show(pair.measured), predicted), ratio(pair)]
    return cells
