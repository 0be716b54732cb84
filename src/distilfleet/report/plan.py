"""A plan of cuts and shares: one JSON object for programs and the record, from it a table and a
figure for people."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table

from ..core.plain import plain
from ..core.units import pretty_j, pretty_s
from ..record.plan import Planned, plan_json
from . import figures
from .charts import Chart, Series, bar_chart
from .html import Html
from .scale import amount_axis, slot_axis

PlanObject = Mapping[str, Any]
"""A plan as `plan_json` writes it."""
Entry = Mapping[str, Any]
"""One device of such a plan."""
STAGES = {
    "compute": "device computes",
    "uplink": "device sends",
    "server": "server works",
    "downlink": "device receives",
}
"""The stages of a step in their order, and what each is called."""
MOST_SHOWN = 40
"""Devices in the table for people; programs get all."""
MOST_BARS = 100
MOST_NAMED = 12
"""Devices without a signal that people get by name; programs get all."""
MOST_SIZES = 12
"""Clusters whose sizes people get."""
PIPED_WIDTH = 160
WIDE = 112
"""Columns of a terminal from which on the table has room between its own."""
_TONE = 0
"""The first of the colours of a figure's stages."""
_JOULES = frozenset({"deadline"})
"""Objectives that count joules; the others count seconds."""
_MEANING = {
    "sum": "mean of delay and priced energy per device",
    "makespan": "until the last device is done",
    "deadline": "energy of a step above idling, server included",
    "open": "mean of delay and energy priced by debts, per device",
    "card": "mean delay of a device's turn; nothing is proven",
}
_HEADS = (
    *("cut", "bits", "uplink\nshare", "server\nshare"),
    *(
        "device\ntime",
        "uplink\ntime",
        "server\ntime",
        "down\ntime",
        "whole\nstep",
        "device\nenergy",
    ),
)


# --- for a terminal -------------------------------------------------------------------------------


def print_plan(planned: Planned) -> None:
    """Devices with cuts, shares, and predicted seconds and joules by stage; then cost, bound, and
    what binds."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    plan = plan_json(planned)
    console.print(_table(plan, tight=console.width < WIDE))
    hidden = len(plan["devices"]) - MOST_SHOWN
    if hidden > 0:
        console.print(f"and {hidden} more devices: --json has them all")
    for line in summary(plan):
        console.print(plain(line), soft_wrap=not console.is_terminal)


def summary(plan: PlanObject) -> list[str]:
    """The plan as a whole, one line for each thing that is known of it."""
    return [
        *(f"{name:<10} {words}" for name, words in facts(plan)),
        *_left_out(plan),
        *map(str, plan["notes"]),
        f"planned in {short_s(plan['plan_s'])}; seconds and joules are modelled",
    ]


def _left_out(plan: PlanObject) -> list[str]:
    """Who is in no cluster since no signal gets through, of many the first."""
    names = [str(name) for name in figures.listed(plan, "unreachable")]
    if not names:
        return []
    first = ", ".join(names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return [f"left out   {len(names)} devices cannot be reached in this round: {first}{more}"]


def _table(plan: PlanObject, *, tight: bool) -> Table:
    table = Table(
        box=None, padding=(0, 1), collapse_padding=tight, pad_edge=not tight, header_style="bold"
    )
    for name in ("device", "kind"):
        table.add_column(name, no_wrap=True, vertical="bottom")
    for name in _HEADS:
        table.add_column(name, justify="right", no_wrap=True)
    for entry in plan["devices"][:MOST_SHOWN]:
        table.add_row(*_cells(entry))
    return table


def _cells(entry: Entry) -> list[str]:
    cells = [plain(entry["id"]), plain(entry["kind"]), cut(entry), str(entry["bits"])]
    cells += [f"{entry[share]:.1%}" for share in ("uplink_share", "server_share")]
    cells += [short_s(entry["stages"][f"{stage}_s"]) for stage in STAGES]
    return [*cells, short_s(entry["delay_s"]), short_j(entry["energy_j"])]


# --- for both -------------------------------------------------------------------------------------


def facts(plan: PlanObject) -> list[tuple[str, str]]:
    """What is known of the plan as a whole: names and words."""
    clusters = figures.listed(plan, "clusters")
    lines = [("step", _step(plan)), ("objective", _objective(plan))]
    if len(clusters) > 1:
        lines.insert(0, ("clusters", f"{len(clusters)}, one after the other: {_sizes(clusters)}"))
    bound = _number(plan, "lower_bound")
    if bound > 0:
        within = " with these clusters" if len(clusters) > 1 else ""
        gap = _number(plan, "gap")
        shown = gap if gap > 1e-9 else 0
        lines.append(("proof", f"no plan{within} is below {_cost(plan, bound)}: gap {shown:.2g}"))
    return lines


def _step(plan: PlanObject) -> str:
    delay = short_s(_number(plan, "delay_s"))
    devices = short_j(_number(plan, "device_energy_j"))
    server = short_j(_number(plan, "server_energy_j"))
    clock_share = _number(plan, "server_clock_share")
    return (
        f"{delay} until the last device is done; devices {devices}, server {server} at "
        f"{clock_share:.0%} of its clock"
    )


def _objective(plan: PlanObject) -> str:
    name = str(plan.get("objective"))
    meaning = _MEANING.get(name, "in its own unit")
    return f"{name}: {_cost(plan, _number(plan, 'cost'))}, {meaning}"


def _cost(plan: PlanObject, value: float) -> str:
    """A cost in the unit of the plan's objective."""
    return short_j(value) if str(plan.get("objective")) in _JOULES else short_s(value)


def _number(plan: PlanObject, name: str) -> float:
    return figures.number(plan, name) or 0.0


def _sizes(clusters: Sequence[Any]) -> str:
    sizes = [
        str(len(cluster)) for cluster in clusters[:MOST_SIZES] if isinstance(cluster, list | tuple)
    ]
    more = " ..." if len(clusters) > MOST_SIZES else ""
    return ", ".join(sizes) + more


def plan_figure(plan: PlanObject) -> Html:
    """Stacked bars: where each device's step goes, the first devices of a large fleet."""
    devices = figures.tables(plan, "devices")
    shown = devices[:MOST_BARS]
    names = [str(entry.get("id", "")) for entry in shown]
    left_out = len(devices) - len(shown)
    more = f" {left_out} more are not shown." if left_out else ""
    longest_s = max((sum(stage_seconds(entry)) for entry in shown), default=1.0)
    chart = Chart(
        title="Where a step goes",
        sub=f"Predicted seconds of each device.{more}",
        series=_stage_series(shown),
        x=replace(slot_axis(1, max(1, len(shown))), label="device, in the order of the table"),
        y=amount_axis("", longest_s, short_s),
        say_x=lambda place: _nearest(names, place),
        say_y=short_s,
    )
    return bar_chart(chart)


def _stage_series(shown: Sequence[Entry]) -> list[Series]:
    """The seconds of each stage, a device after the other along the bottom."""
    seconds = [stage_seconds(entry) for entry in shown]
    places = [float(place) for place in range(1, len(shown) + 1)]
    series = []
    for stage, name in enumerate(STAGES.values()):
        heights = [row[stage] for row in seconds]
        series.append(Series(name=name, tone=_TONE + stage, xs=places, ys=heights))
    return series


def _nearest(names: Sequence[str], value: float) -> str:
    """The device whose bar stands at that place along the bottom."""
    if not names:
        return ""
    inside = min(max(round(value), 1), len(names))
    return names[inside - 1]


def stage_seconds(entry: Entry) -> list[float]:
    """The seconds of each stage, in their order."""
    stages = figures.part(entry, "stages")
    return [figures.number(stages, f"{stage}_s") or 0.0 for stage in STAGES]


def cut(entry: Entry) -> str:
    """The student's cut, and the teacher's if that is cut beyond its embedding."""
    own = str(entry.get("cut"))
    return f"{own} + {entry['teacher_cut']}" if entry.get("teacher_cut") else own


def short_s(duration_s: float) -> str:
    """A duration for people, in milliseconds or microseconds where it is short."""
    return pretty_s(duration_s) if duration_s >= 1 or not duration_s else _small(duration_s, "s")


def short_j(energy_j: float) -> str:
    """An energy for people, in millijoules or microjoules where it is small."""
    return pretty_j(energy_j) if energy_j >= 1 or not energy_j else _small(energy_j, "J")


def _small(value: float, unit: str) -> str:
    return f"{value * 1e3:.3g} m{unit}" if value >= 0.9995e-3 else f"{value * 1e6:.3g} µ{unit}"
