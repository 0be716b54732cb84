"""What a recipe's planner would do in the first round, for people and programs, and what it expects
of each round."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError, ScarceError
from ..plan.limits import reached
from ..plan.split import SplitPlanner
from ..record.plan import Planned
from ..training.first_plan import planned
from .flags import Common, common, with_common
from .machines import enrol, numbered
from .simulated import conditions_of, unreachable

if TYPE_CHECKING:
    from ..training.experiment import Experiment
    from .find import Recipe


MOST_BUILT = 256
FEWER = (32, 4, 1)
"""Devices that are given data to plan for: rates, boards and models make a plan, everybody's data
do not."""


def first_round(found: "Recipe", flags: Any, now_s: Callable[[], float]) -> Planned:
    """Raises ConfigError for a recipe without cuts to choose, InfeasibleError if there is no
    plan."""
    shared = common(flags)
    experiment, few = _built(found, flags)
    planner = experiment.planner
    if not isinstance(planner, SplitPlanner):
        raise ConfigError(
            f"{found.name} has no cut to choose: planning is for recipes that split a model, such "
            "as splitkd without --cut"
        )
    lines: list[str] = []
    if few is not None and shared.devices is not None:
        experiment = replace(experiment, devices=enrol(shared, numbered(shared.devices)))
        planner = _for(planner, shared.per_round or shared.devices)
        lines.append(
            f"data       each device is taken to have as many distinct tokens as one of {few} "
            "would have"
        )
    conditions = conditions_of(experiment, shared)
    if not reached(conditions):
        raise unreachable(shared)
    result = planned(planner, conditions, now_s)
    return replace(result, lines=[*result.lines, *lines])


def _built(found: "Recipe", flags: Any) -> tuple["Experiment", int | None]:
    """The experiment, for all devices or for as many as there are data for and a plan needs; how
    many, if not all."""
    shared = common(flags)
    if shared.devices is None or shared.group is not None:
        return found.build(flags), None
    counts = sorted({min(shared.devices, most) for most in (MOST_BUILT, *FEWER)}, reverse=True)
    for count in counts:
        fewer = replace(
            shared,
            devices=count,
            per_round=None,
            channels="own",
            bandwidth_hz=Common().bandwidth_hz,
        )
        some = flags if count == shared.devices else with_common(flags, fewer)
        try:
            return found.build(some), None if some is flags else count
        except ScarceError:
            if count == counts[-1]:
                raise
    raise AssertionError("there is a least number of devices")


def _for(planner: SplitPlanner, per_round: int) -> SplitPlanner:
    """The planner for as many devices as are asked for."""
    assert planner.sample is not None
    return replace(planner, sample=replace(planner.sample, per_round=per_round))
