"""Predicted beside measured, on the page of a real fleet's run: seconds and joules, by round and by kind of device."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from ..core.units import pretty_s
from ..record.history import History
from . import figures
from .charts import Chart, Series, line_chart
from .details import scrolled
from .html import Html, join, tag
from .overlap import overlap_block
from .plan import short_j, short_s
from .scale import Axis, amount_axis, decade_axis, round_axis

MOST_ROWS = 200
FAR_APART = 20.0
"""Beyond this ratio an axis is logarithmic."""
Pairs = list[tuple[float, float]]
"""Measured, predicted."""
STAGES = (
    ("down_s", "Job on its way"),
    ("busy_s", "Work"),
    ("up_s", "Answer on its way"),
    ("busy_j", "Energy of the work"),
)


def beside_section(run: History) -> Html | None:
    """None for a simulated run."""
    rounds_s = pairs(run, "round_s")
    if not rounds_s:
        return None
    return tag(
        "section",
        tag("h2", "Measured and predicted"),
        tag("p", _lead(), class_="lead"),
        tag("div", *_charts(run, rounds_s), class_="grid"),
        _kinds(run),
        _rounds(run, rounds_s),
        overlap_block(run),
        id="beside",
    )


def _lead() -> str:
    return (
        "What devices, links and server took, beside what a simulation predicts for the very same jobs on the boards "
        "and links of the catalogue. A ratio above 1 is slower, or takes more, than predicted. A device that runs on "
        "another machine than the board it is enrolled as, such as a process of a demonstration, differs by that."
    )


def pairs(run: History, field: str) -> Pairs:
    """Of each round that has them."""
    return [pair for row in run.rounds if (pair := _pair(row.get(field))) is not None]


def by_kind(run: History) -> dict[str, dict[str, Any]]:
    """Sums over all rounds: jobs, metered, and a pair for each stage."""
    found: dict[str, dict[str, Any]] = {}
    for row in run.rounds:
        for kind, told in _kinds_of(row).items():
            sums = found.setdefault(kind, {"jobs": 0.0, "metered": 0.0, **{name: (0.0, 0.0) for name, _ in STAGES}})
            for name in ("jobs", "metered"):
                sums[name] += figures.number(told, name) or 0.0
            for name, _ in STAGES:
                measured, predicted = _pair(told.get(name)) or (0.0, 0.0)
                sums[name] = sums[name][0] + measured, sums[name][1] + predicted
    return found


def ratio(pair: tuple[float, float]) -> str:
    measured, predicted = pair
    if predicted <= 0:
        return "–"
    value = measured / predicted
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _kinds_of(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {kind: told for kind, told in figures.part(row, "kinds").items() if isinstance(told, Mapping)}


def _pair(told: Any) -> tuple[float, float] | None:
    if (
        isinstance(told, list | tuple)
        and len(told) == 2
        and all(isinstance(one, int | float) and isfinite(one) for one in told)
    ):
        return float(told[0]), float(told[1])
    return None


# --- charts and tables ------------------------------------------------------------------------------------------


def _charts(run: History, rounds_s: Pairs) -> list[Html]:
    rows = [row for row in run.rounds if _pair(row.get("round_s")) is not None]
    energy_j, numbers = [_energy_of(row) for row in rows], [figures.number(row, "round") or 0.0 for row in rows]
    sub_j = f"Of the work on devices. {_metered(run)}"
    charts = [_chart("Seconds of each round", "From its first job to its last answer.", (numbers, rounds_s), short_s)]
    if any(measured for measured, _ in energy_j):
        charts.append(_chart("Energy of each round", sub_j, (numbers, energy_j), short_j))
    return charts


def _energy_of(row: Mapping[str, Any]) -> tuple[float, float]:
    told = [_pair(kind.get("busy_j")) or (0.0, 0.0) for kind in _kinds_of(row).values()]
    return sum(measured for measured, _ in told), sum(predicted for _, predicted in told)


def _metered(run: History) -> str:
    kinds = by_kind(run).values()
    jobs, metered = (sum(kind[name] for kind in kinds) for name in ("jobs", "metered"))
    if not metered:
        return "No board had a power meter: “measured” is the catalogue’s power over the measured seconds."
    if metered == jobs:
        return "Measured by the boards’ power meters."
    rest = "for the others the catalogue’s power over the measured seconds."
    return f"By power meters for {metered:,.0f} of {jobs:,.0f} jobs; {rest}"


def _chart(title: str, sub: str, told: tuple[Sequence[float], Pairs], show: Callable[[float], str]) -> Html:
    numbers, both = told
    series = [
        Series(name=name, tone=tone, xs=numbers, ys=[pair[at] or None for pair in both], dashed=bool(at))
        for at, (name, tone) in enumerate((("measured", 0), ("predicted", 1)))
    ]
    drawn = [one for one in series if one.points]
    axis = _axis([y for one in drawn for _, y in one.points], show)
    x = round_axis(int(numbers[0]), int(numbers[-1]))
    chart = Chart(
        title=title,
        sub=f"{sub} {axis.label}".strip(),
        series=drawn,
        x=x,
        y=axis,
        say_x=lambda number: f"round {number:.0f}",
        say_y=show,
    )
    return line_chart(chart)


def _axis(values: Sequence[float], show: Callable[[float], str]) -> Axis:
    if min(values) > 0 and max(values) / min(values) > FAR_APART:
        return decade_axis("Logarithmic.", min(values), max(values), show)
    return amount_axis("", max(values), show)


def _kinds(run: History) -> Html | None:
    rows: list[list[str | Html]] = []
    for kind, told in by_kind(run).items():
        jobs = told["jobs"] or 1.0
        rows.append([join(kind, tag("small", f" · {told['jobs']:,.0f} jobs")), "", "", ""])
        for name, words in STAGES:
            measured, predicted = told[name]
            show = short_j if name.endswith("_j") else short_s
            said = tag("span", words, class_="of-kind")
            rows.append([said, show(measured / jobs), show(predicted / jobs), ratio(told[name])])
    if not rows:
        return None
    heads = ("Mean of a job", "Measured", "Predicted", "Ratio")
    words = (
        "Over the jobs of all rounds. A job is on its way until the device has all of it, so a device that was still "
        f"starting adds to it. {_metered(run)}"
    )
    return tag(
        "div",
        tag("div", tag("h3", "By kind of device"), tag("p", words, class_="sub")),
        scrolled(heads, rows, "numbers"),
        class_="block",
    )


def _rounds(run: History, rounds_s: Pairs) -> Html:
    rows: list[list[str | Html]] = []
    told = [row for row in run.rounds if _pair(row.get("round_s")) is not None]
    for row, (measured_s, predicted_s) in list(zip(told, rounds_s, strict=True))[-MOST_ROWS:]:
        measured_j, predicted_j = _energy_of(row)
        server = _pair(row.get("server_s")) or (0.0, 0.0)
        rows.append(
            [
                str(row["round"]),
                *_cells((measured_s, predicted_s), short_s),
                *_cells(server, short_s),
                *_cells((measured_j, predicted_j), short_j),
            ]
        )
    heads = ("Round", *(head for what in ("Whole round", "Server", "Energy") for head in (what, "ratio")))
    whole_s = sum(measured for measured, _ in rounds_s), sum(predicted for _, predicted in rounds_s)
    in_all = f"In all {pretty_s(whole_s[0])} measured, {pretty_s(whole_s[1])} predicted: ratio {ratio(whole_s)}."
    words = f"Measured, then predicted. {in_all}"
    return tag(
        "div",
        tag("div", tag("h3", "Round by round"), tag("p", words, class_="sub")),
        scrolled(heads, rows, "numbers", tall=len(rows) > 24),
        class_="block",
    )


def _cells(pair: tuple[float, float], show: Callable[[float], str]) -> tuple[Html, str]:
    return join(show(pair[0]), tag("small", f" · {show(pair[1])}")), ratio(pair)
