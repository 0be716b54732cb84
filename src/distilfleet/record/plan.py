"""The plan of a round as the record keeps it: one JSON object, for programs and for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.types import Conditions, Plan

Row = Mapping[str, Any]
"""One device: its `id`, and seconds and joules by stage, named `compute_s`, `uplink_j` and so
on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, what it was made for, what each stage of it takes, and what is to be said about
    it."""

    plan: Plan
    conditions: Conditions
    rows: Sequence[Row]
    plan_s: float
    """How long planning took."""
    unreachable: Sequence[str] = ()
    """Devices that cannot send or cannot receive in this round, which the plan leaves out."""
    lines: Sequence[str] = ()

    @property
    def ordered(self) -> Sequence[Row]:
        """The rows as the conditions name their devices."""
        place = {device: n for n, device in enumerate(self.conditions.ids)}
        return sorted(self.rows, key=lambda row: place[row["id"]])


def plan_json(planned: Planned) -> dict[str, Any]:
    """One object: cost, proven bound, relative gap, and an entry for each device. Raises ValueError
    without them."""
    plan = planned.plan
    forecast = planned.plan.forecast
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
        "unreachable": list(planned.unreachable),
        "notes": list(planned.lines),
    }


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
