"""The plan of the first round, and what it expects of each round after."""

from collections.abc import Callable, Mapping
from typing import Any

from ..core.protocols import Fleet, Planner
from ..core.types import Conditions, Plan
from ..plan.limits import reached
from ..plan.split import SplitPlanner
from ..plan.stages import remarks, rows
from ..record.history import read_plan
from ..record.plan import Planned, plan_json
from ..record.run import RunRecord


def first_plan(
    planner: Planner, fleet: Fleet, record: RunRecord, *, new: bool, now_s: Callable[[], float]
) -> Mapping[str, Any]:
    """The plan of the first round, as the record has it from then on; empty where no cuts are
    planned."""
    if not isinstance(planner, SplitPlanner):
        return {}
    if new:
        found = plan_json(planned(planner, fleet.conditions(1), now_s))
        record.plan(
            {name: value for name, value in found.items() if name != "plan_s"}, found["plan_s"]
        )
    return read_plan(record.path)


def expected(plan: Plan, first: Mapping[str, Any]) -> dict[str, Any]:
    """What a round's plan expects of a step, and how many devices are cut otherwise than in the
    first round."""
    if plan.forecast is None or not first:
        return {}
    before = {
        entry["id"]: (entry["cut"], entry["teacher_cut"], entry["bits"])
        for entry in first["devices"]
    }
    now = {device: (one.cut, one.teacher_cut, one.bits) for device, one in plan.assignments.items()}
    return {
        "planned_s": plan.forecast.delay_s,
        "planned_device_energy_j": plan.forecast.device_energy_j,
        "planned_server_energy_j": plan.forecast.server_energy_j,
        "cuts_changed": sum(cuts != before.get(device, cuts) for device, cuts in now.items()),
    }


def planned(planner: SplitPlanner, conditions: Conditions, now_s: Callable[[], float]) -> Planned:
    """A plan for people and programs. Raises InfeasibleError if there is none."""
    began_s = now_s()
    plan = planner.plan(conditions)
    took_s = now_s() - began_s
    ids, seen = planner.stages(conditions, plan)
    lines = remarks(planner.options, seen, planner.privacy_floor)
    there = set(reached(conditions))
    return Planned(
        plan=plan,
        conditions=conditions,
        rows=rows(ids, seen),
        plan_s=took_s,
        unreachable=[device for device in conditions.devices if device not in there],
        lines=lines,
    )
