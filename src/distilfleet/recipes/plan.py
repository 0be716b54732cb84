"""What a recipe's planner would do in the first round, for people and programs, and what it expects
of each round."""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    built = _built(found, flags)
    planner = built.experiment.planner
    if not isinstance(planner, SplitPlanner):
        raise ConfigError(
            f"{found.name} has no cut to choose: planning is for recipes that split a model, such "
            "as splitkd without --cut"
        )
    if built.few is None or shared.devices is None:
        return _planned(planner, built.experiment, shared, now_s)
    whole = replace(built.experiment, devices=enrol(shared, numbered(shared.devices)))
    planner = _for(planner, shared.per_round or shared.devices)
    result = _planned(planner, whole, shared, now_s)
    line = (
        f"data       each device is taken to have as many distinct tokens as one of {built.few} "
        "would have"
    )
    return replace(result, lines=[*result.lines, line])


def _planned(
    planner: SplitPlanner, experiment: "Experiment", shared: Common, now_s: Callable[[], float]
) -> Planned:
    conditions = conditions_of(experiment, shared)
    if not reached(conditions):
        raise unreachable(shared)
    return planned(planner, conditions, now_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An experiment to plan for."""

    experiment: "Experiment"
    few: int | None = None
    """How many devices it has, where those are not all."""


def _built(found: "Recipe", flags: Any) -> Built:
    """The experiment, for all devices or for as many as there are data for and a plan needs."""
    shared = common(flags)
    if shared.devices is None or shared.group is not None:
        return Built(experiment=found.build(flags))
    counts = sorted({min(shared.devices, most) for most in (MOST_BUILT, *FEWER)}, reverse=True)
    for count in counts:
        try:
            if count == shared.devices:
                return Built(experiment=found.build(flags))
            some = with_common(flags, _with_fewer(shared, count))
            return Built(experiment=found.build(some), few=count)
        except ScarceError:
            if count == counts[-1]:
                raise
    raise AssertionError("there is a least number of devices")


def _with_fewer(shared: Common, count: int) -> Common:
    """So many devices, which all take part, over links of their own."""
    return replace(
        shared,
        devices=count,
        per_round=None,
        channels="own",
        bandwidth_hz=Common().bandwidth_hz,
    )


def _for(planner: SplitPlanner, per_round: int) -> SplitPlanner:
    """The planner for as many devices as are asked for."""
    assert planner.sample is not None
    return replace(planner, sample=replace(planner.sample, per_round=per_round))
