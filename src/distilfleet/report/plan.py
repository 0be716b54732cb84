"""A plan of cuts and shares as a table for people, as JSON for programs, and as a figure for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from ..core.types import Assignment, Conditions, Plan
from ..core.units import pretty_j, pretty_s
from .charts import Chart, Series, bar_chart
from .html import Html
from .scale import amount_axis, slot_axis

Row = Mapping[str, Any]
"""Of a device: its `id`, and seconds and joules by stage, named `compute_s`, `uplink_j` and so on."""
STAGES = ("compute", "uplink", "server", "downlink")
MOST_SHOWN = 40
"""Devices in the table for people; programs get all."""
MOST_BARS = 100
PIPED_WIDTH = 160
_TONE = 0
_UNITS = {"deadline": pretty_j}
_MEANING = {
    "sum": "mean of delay and priced energy per device",
    "makespan": "until the last device is done",
    "deadline": "energy of a step above idling, server included",
    "open": "mean of delay and energy priced by debts, per device",
    "card": "mean delay of a device's turn; nothing is proven",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, what it was made for, what each stage of it takes, and what is to be said about it."""

    plan: Plan
    conditions: Conditions
    rows: Sequence[Row]
    plan_s: float
    """That planning took."""
    lines: Sequence[str] = ()

    @property
    def ordered(self) -> Sequence[Row]:
        """The rows as the conditions name their devices."""
        place = {device: n for n, device in enumerate(self.conditions.ids)}
        return sorted(self.rows, key=lambda row: place[row["id"]])


def plan_json(planned: Planned) -> dict[str, Any]:
    """One object: cost, proven bound, relative gap, and an entry for each device. Raises ValueError without them."""
    plan, forecast = planned.plan, planned.plan.forecast
    if forecast is None:
        raise ValueError("this plan has no forecast: it was not made by a planner of cuts")
    return {
        "schema": 1,
        "objective": forecast.objective,
        "cost": forecast.cost,
        "lower_bound": forecast.lower_bound,
        "gap": forecast.gap,
        "plan_s": planned.plan_s,
        "delay_s": forecast.delay_s,
        "device_energy_j": forecast.device_energy_j,
        "server_energy_j": forecast.server_energy_j,
        "server_clock_share": plan.server_clock_share,
        "binds": forecast.binds,
        "clusters": [list(cluster) for cluster in plan.clusters],
        "devices": [_entry(planned, row) for row in planned.ordered],
        "notes": list(planned.lines),
    }


def print_plan(planned: Planned) -> None:
    """Devices with cuts, shares, and predicted seconds and joules by stage; then cost, bound, and what binds."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(_table(planned))
    hidden = len(planned.rows) - MOST_SHOWN
    if hidden > 0:
        console.print(f"and {hidden} more devices: --json has them all")
    for line in summary(planned):
        console.print(line, soft_wrap=not console.is_terminal)


def summary(planned: Planned) -> list[str]:
    """The plan as a whole, one line for each thing that is known of it."""
    plan, forecast = planned.plan, planned.plan.forecast
    lines = [f"clusters   {len(plan.clusters)}, one after the other: {_sizes(plan)}"] if len(plan.clusters) > 1 else []
    if forecast is None:
        return [*lines, *planned.lines]
    show = _UNITS.get(forecast.objective, pretty_s)
    lines += [
        f"step       {pretty_s(forecast.delay_s)} until the last device is done; devices"
        f" {pretty_j(forecast.device_energy_j)}, server {pretty_j(forecast.server_energy_j)}"
        f" at {plan.server_clock_share:.0%} of its clock",
        f"objective  {forecast.objective}: {show(forecast.cost)}, {_MEANING.get(forecast.objective, '')}",
    ]
    if forecast.lower_bound > 0:
        lines.append(f"proof      no plan{_within(plan)} is below {show(forecast.lower_bound)}: gap {forecast.gap:.2g}")
    return [*lines, *planned.lines, f"planned in {pretty_s(planned.plan_s)}; seconds and joules are modelled"]


def plan_figure(planned: Planned) -> Html:
    """Stacked bars: where each device's step goes, the first devices of a large fleet."""
    shown = planned.ordered[:MOST_BARS]
    places = [float(n) for n in range(1, len(shown) + 1)]
    series = [
        Series(name=stage, tone=_TONE + n, xs=places, ys=[row[f"{stage}_s"] for row in shown])
        for n, stage in enumerate(STAGES)
    ]
    longest_s = max((_total(row, "s") for row in shown), default=1.0)
    names = [str(row["id"]) for row in shown]
    left_out = len(planned.rows) - len(shown)
    chart = Chart(
        title="Where a step goes",
        sub="Predicted seconds of each device." + (f" {left_out} more are not shown." if left_out else ""),
        series=series,
        x=replace(slot_axis(1, max(1, len(shown))), label="device"),
        y=amount_axis("", longest_s, pretty_s),
        say_x=lambda place: names[min(max(round(place), 1), len(names)) - 1] if names else "",
        say_y=pretty_s,
    )
    return bar_chart(chart)


def _table(planned: Planned) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for name in ("device", "kind"):
        table.add_column(name, no_wrap=True)
    for name in (
        "cut",
        "bits",
        "up share",
        "server share",
        "compute",
        "uplink",
        "server",
        "downlink",
        "delay",
        "energy",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in planned.ordered[:MOST_SHOWN]:
        table.add_row(*_cells(planned, row))
    return table


def _cells(planned: Planned, row: Row) -> list[str]:
    given = planned.plan.assignments[row["id"]]
    seconds = [pretty_s(row[f"{stage}_s"]) for stage in STAGES]
    shares = [f"{given.uplink_share:.1%}", f"{given.server_share:.1%}"]
    energy = pretty_j(given.energy_j)
    kind = planned.conditions.devices[row["id"]].kind
    return [row["id"], kind, _cut(given), str(given.bits), *shares, *seconds, pretty_s(given.delay_s), energy]


def _cut(given: Assignment) -> str:
    """The student's, and the teacher's if it is cut beyond its embedding."""
    return f"{given.cut} + {given.teacher_cut}" if given.teacher_cut else str(given.cut)


def _entry(planned: Planned, row: Row) -> dict[str, Any]:
    given = planned.plan.assignments[row["id"]]
    return {
        "id": row["id"],
        "kind": planned.conditions.devices[row["id"]].kind,
        "cut": given.cut,
        "teacher_cut": given.teacher_cut,
        "bits": given.bits,
        "uplink_share": given.uplink_share,
        "downlink_share": given.downlink_share,
        "server_share": given.server_share,
        "delay_s": given.delay_s,
        "energy_j": given.energy_j,
        "stages": {name: value for name, value in row.items() if name != "id"},
    }


def _total(row: Row, unit: str) -> float:
    return float(sum(row[f"{stage}_{unit}"] for stage in STAGES))


def _sizes(plan: Plan) -> str:
    return ", ".join(str(len(cluster)) for cluster in plan.clusters[:12]) + (" ..." if len(plan.clusters) > 12 else "")


def _within(plan: Plan) -> str:
    return " with these clusters" if len(plan.clusters) > 1 else ""
