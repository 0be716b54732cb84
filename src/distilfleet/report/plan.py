"""A plan of cuts and shares: one JSON object for programs and the record, from it a table and a figure for people."""

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

Told = Mapping[str, Any]
"""A plan as `plan_json` tells it."""
STAGES = ("compute", "uplink", "server", "downlink")
MOST_SHOWN = 40
"""Devices in the table for people; programs get all."""
MOST_BARS = 100
MOST_NAMED = 12
"""Devices without a signal that people are told of by name; programs get all."""
PIPED_WIDTH = 160
WIDE = 112
"""Columns of a terminal from which on the table has room between its own."""
_TONE = 0
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
    *("device\ntime", "uplink\ntime", "server\ntime", "down\ntime", "whole\nstep", "device\nenergy"),
)


# --- for a terminal ---------------------------------------------------------------------------------------------


def print_plan(planned: Planned) -> None:
    """Devices with cuts, shares, and predicted seconds and joules by stage; then cost, bound, and what binds."""
    console, told = Console(highlight=False, markup=False, emoji=False), plan_json(planned)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(_table(told, tight=console.width < WIDE))
    hidden = len(told["devices"]) - MOST_SHOWN
    if hidden > 0:
        console.print(f"and {hidden} more devices: --json has them all")
    for line in summary(told):
        console.print(plain(line), soft_wrap=not console.is_terminal)


def summary(told: Told) -> list[str]:
    """The plan as a whole, one line for each thing that is known of it."""
    return [
        *(f"{name:<10} {words}" for name, words in facts(told)),
        *_left_out(told),
        *map(str, told["notes"]),
        f"planned in {short_s(told['plan_s'])}; seconds and joules are modelled",
    ]


def _left_out(told: Told) -> list[str]:
    """Who is in no cluster since no signal gets through, of many the first."""
    names = [str(one) for one in figures.listed(told, "unreachable")]
    if not names:
        return []
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    first = ", ".join(names[:MOST_NAMED])
    return [f"left out   {len(names)} devices cannot be reached in this round: {first}{more}"]


def _table(told: Told, *, tight: bool) -> Table:
    table = Table(box=None, padding=(0, 1), collapse_padding=tight, pad_edge=not tight, header_style="bold")
    for name in ("device", "kind"):
        table.add_column(name, no_wrap=True, vertical="bottom")
    for name in _HEADS:
        table.add_column(name, justify="right", no_wrap=True)
    for entry in told["devices"][:MOST_SHOWN]:
        seconds = [short_s(entry["stages"][f"{stage}_s"]) for stage in STAGES]
        shares = [f"{entry[share]:.1%}" for share in ("uplink_share", "server_share")]
        whole = [short_s(entry["delay_s"]), short_j(entry["energy_j"])]
        table.add_row(
            plain(entry["id"]), plain(entry["kind"]), cut(entry), str(entry["bits"]), *shares, *seconds, *whole
        )
    return table


# --- for both ---------------------------------------------------------------------------------------------------


def facts(told: Told) -> list[tuple[str, str]]:
    """What is known of the plan as a whole: names and words."""
    objective, clusters = str(told.get("objective")), figures.listed(told, "clusters")
    show = short_j if objective in _JOULES else short_s
    cost, bound, gap = (figures.number(told, name) or 0.0 for name in ("cost", "lower_bound", "gap"))
    delay_s, device_j, server_j, clock_share = (
        figures.number(told, name) or 0.0
        for name in ("delay_s", "device_energy_j", "server_energy_j", "server_clock_share")
    )
    several = len(clusters) > 1
    lines = [("clusters", f"{len(clusters)}, one after the other: {_sizes(clusters)}")] if several else []
    lines += [
        (
            "step",
            f"{short_s(delay_s)} until the last device is done; devices {short_j(device_j)}, server {short_j(server_j)}"
            f" at {clock_share:.0%} of its clock",
        ),
        ("objective", f"{objective}: {show(cost)}, {_MEANING.get(objective, 'in its own unit')}"),
    ]
    if bound > 0:
        within = " with these clusters" if several else ""
        lines.append(("proof", f"no plan{within} is below {show(bound)}: gap {gap if gap > 1e-9 else 0:.2g}"))
    return lines


def plan_figure(told: Told) -> Html:
    """Stacked bars: where each device's step goes, the first devices of a large fleet."""
    devices = figures.tables(told, "devices")
    shown = devices[:MOST_BARS]
    places = [float(n) for n in range(1, len(shown) + 1)]
    seconds = [stage_seconds(entry) for entry in shown]
    series = [
        Series(name=_NAMES[stage], tone=_TONE + n, xs=places, ys=[row[n] for row in seconds])
        for n, stage in enumerate(STAGES)
    ]
    longest_s = max(map(sum, seconds), default=1.0)
    names = [str(entry.get("id", "")) for entry in shown]
    left_out = len(devices) - len(shown)
    chart = Chart(
        title="Where a step goes",
        sub="Predicted seconds of each device." + (f" {left_out} more are not shown." if left_out else ""),
        series=series,
        x=replace(slot_axis(1, max(1, len(shown))), label="device, in the order of the table"),
        y=amount_axis("", longest_s, short_s),
        say_x=lambda place: names[min(max(round(place), 1), len(names)) - 1] if names else "",
        say_y=short_s,
    )
    return bar_chart(chart)


_NAMES = {
    "compute": "device computes",
    "uplink": "device sends",
    "server": "server works",
    "downlink": "device receives",
}


def stage_seconds(entry: Mapping[str, Any]) -> list[float]:
    """By stage."""
    stages = figures.part(entry, "stages")
    return [figures.number(stages, f"{stage}_s") or 0.0 for stage in STAGES]


def cut(entry: Mapping[str, Any]) -> str:
    """The student's, and the teacher's if it is cut beyond its embedding."""
    return f"{entry.get('cut')} + {entry['teacher_cut']}" if entry.get("teacher_cut") else str(entry.get("cut"))


def short_s(duration_s: float) -> str:
    """A duration for people, in milliseconds or microseconds where it is short."""
    return pretty_s(duration_s) if duration_s >= 1 or not duration_s else _small(duration_s, "s")


def short_j(energy_j: float) -> str:
    """An energy for people, in millijoules or microjoules where it is small."""
    return pretty_j(energy_j) if energy_j >= 1 or not energy_j else _small(energy_j, "J")


def _small(value: float, unit: str) -> str:
    return f"{value * 1e3:.3g} m{unit}" if value >= 0.9995e-3 else f"{value * 1e6:.3g} µ{unit}"


def _sizes(clusters: Sequence[Any]) -> str:
    sizes = [str(len(cluster)) for cluster in clusters[:12] if isinstance(cluster, list | tuple)]
    return ", ".join(sizes) + (" ..." if len(clusters) > 12 else "")
