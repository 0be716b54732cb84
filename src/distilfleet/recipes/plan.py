"""What a recipe's planner would do in the first round, for people and programs, and what it expects of each round."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError, ScarceError
from ..core.types import Conditions, Dataset, DeviceId
from ..cost import catalogue
from ..plan.split import SplitPlanner
from ..record.plan import Planned
from ..sim.fleet import SimFleet
from ..training.first_plan import _planned
from .flags import Common, common, with_common
from .simulated import enrol, numbered, world

if TYPE_CHECKING:
    from ..training.experiment import Experiment
    from .find import Recipe


MOST_BUILT, FEWER = 256, (32, 4, 1)
"""Devices that are given data to plan for: rates, boards and models make a plan, everybody's data do not."""


def planned(found: "Recipe", flags: Any, now_s: Callable[[], float]) -> Planned:
    """Raises ConfigError for a recipe without cuts to choose, InfeasibleError if there is no plan."""
    shared = common(flags)
    run, few = _built(found, flags)
    if not isinstance(run.planner, SplitPlanner):
        raise ConfigError(
            f"{found.name} has no cut to choose: planning is for recipes that split a model, such as splitkd without "
            f"--cut"
        )
    if few is None or shared.devices is None:
        return _planned(run.planner, run.fleet.conditions(1), now_s)
    result = _planned(_for(run.planner, shared), _conditions(run, shared), now_s)
    line = f"data       each device is taken to have as many distinct tokens as one of {few} would have"
    return replace(result, lines=[*result.lines, line])


def _built(found: "Recipe", flags: Any) -> tuple["Experiment", int | None]:
    """The run, for all devices or for as many as there are data for and a plan needs; how many, if not for all."""
    shared = common(flags)
    if shared.devices is None or shared.group is not None:
        return found.build(flags), None
    counts = sorted({min(shared.devices, most) for most in (MOST_BUILT, *FEWER)}, reverse=True)
    for count in counts:
        fewer = replace(shared, devices=count, per_round=None, channels="own", bandwidth_hz=Common().bandwidth_hz)
        some = flags if count == shared.devices else with_common(flags, fewer)
        try:
            return found.build(some), None if some is flags else count
        except ScarceError:
            if count == counts[-1]:
                raise
    raise AssertionError("there is a least number of devices")


def _for(planner: SplitPlanner, shared: Common) -> SplitPlanner:
    """The planner for as many devices as are asked for."""
    assert planner.sample is not None
    assert shared.devices is not None
    per_round = shared.per_round or shared.devices
    return replace(planner, sample=replace(planner.sample, per_round=per_round))


def _conditions(run: "Experiment", shared: Common) -> Conditions:
    assert shared.devices is not None
    devices = enrol(shared, numbered(shared.devices))
    server = catalogue.device(shared.server, "server", extra=shared.catalogue)
    return SimFleet(devices, no_data, run.method, world(shared, devices, server)).conditions(1)


def no_data(device: DeviceId) -> Dataset:
    raise AssertionError(f"{device} is planned for, and trains nothing")
