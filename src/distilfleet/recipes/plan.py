"""What a recipe's planner would do in the first round, for people and programs."""

from collections.abc import Callable

from ..core.errors import ConfigError
from ..plan.split import SplitPlanner
from ..plan.stages import remarks, rows
from ..report.plan import Planned
from .run import Run


def planned(run: Run, recipe: str, now_s: Callable[[], float]) -> Planned:
    """Raises ConfigError for a recipe without cuts to choose, InfeasibleError if there is no plan."""
    if not isinstance(run.planner, SplitPlanner):
        raise ConfigError(
            f"{recipe} has no cut to choose: planning is for recipes that split a model, such as splitkd without --cut"
        )
    conditions = run.fleet.conditions(1)
    began_s = now_s()
    plan = run.planner.plan(conditions)
    took_s = now_s() - began_s
    ids, seen = run.planner.stages(conditions, plan)
    lines = remarks(run.planner.options, seen, run.planner.privacy_floor)
    return Planned(plan=plan, conditions=conditions, rows=rows(ids, seen), plan_s=took_s, lines=lines)
