"""From an experiment and flags to a simulation: the one place where a simulated fleet is made."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.errors import ConfigError, InfeasibleError
from ..core.types import Conditions, Dataset, Device, DeviceId
from ..cost import catalogue
from ..cost.pathloss import INDOOR, UMA, UMI
from ..cost.presets import PRESETS
from ..cost.surroundings import Setting, Surroundings
from ..sim.fleet import SimFleet, World
from ..training.experiment import Experiment, Simulation
from ..training.facts import fleet_facts
from .flags import Common

SCENES = {"street": UMI, "city": UMA, "office": INDOOR}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRun:
    """An experiment with a simulated fleet, ready to be trained and recorded."""

    experiment: Experiment
    """The experiment; its record also says how its data are divided."""
    fleet: SimFleet
    facts: Mapping[str, Any]
    """What `fleet.json` says: who takes part, with what data."""


def simulated(experiment: Experiment, common: Common) -> SimulatedRun:
    """Divide the data, make the fleet, and see that there is a plan for the first round.

    Raises ConfigError, and InfeasibleError where nothing could be trained: before anything is
    written.
    """
    if experiment.simulation is None:
        raise ConfigError(
            "this recipe divides no data among devices: it runs on a real fleet alone, with --fleet"
        )
    simulation = experiment.simulation()
    surrounded = world(
        common, experiment.devices, experiment.server, ignore_memory=simulation.ignore_memory
    )
    fleet = SimFleet(experiment.devices, simulation.data, experiment.method, surrounded)
    if not experiment.planner.plan(fleet.conditions(1)).devices:
        raise unreachable(common)
    return SimulatedRun(
        experiment=replace(experiment, about=about_of(experiment, simulation)),
        fleet=fleet,
        facts=_facts(experiment, simulation, common),
    )


def conditions_of(experiment: Experiment, common: Common) -> Conditions:
    """Of the first round, for a plan: rates and boards alone, nobody's data."""
    surrounded = world(common, experiment.devices, experiment.server)
    return SimFleet(experiment.devices, _no_data, experiment.method, surrounded).conditions(1)


def _no_data(device: DeviceId) -> Dataset:
    raise AssertionError(f"{device} is planned for, and trains nothing")


def unreachable(common: Common) -> InfeasibleError:
    """What to say where the first round has no device."""
    return InfeasibleError(
        f"no device can be reached in the first round with --channels {common.channels}: choose "
        "better ones, more --bandwidth-hz, more --devices, or another --seed"
    )


def about_of(experiment: Experiment, simulation: Simulation) -> Mapping[str, Any]:
    """What the record says of an experiment that is simulated."""
    about = experiment.about
    divided = {"train": simulation.samples, "partition": simulation.partition}
    notes = [*about.get("notes", ()), *simulation.notes]
    return {**about, "data": {**about.get("data", {}), **divided}, "notes": notes}


def _facts(experiment: Experiment, simulation: Simulation, common: Common) -> dict[str, Any]:
    facts = fleet_facts(experiment)
    classes = len(experiment.about.get("data", {}).get("classes", ()))
    shown = [
        {**one, **_owned(simulation.data(one["id"]), classes), **_board(one, common)}
        for one in facts["shown"]
    ]
    quota = {} if common.memory_quota_bytes is None else {"quota_bytes": common.memory_quota_bytes}
    return {**facts, "shown": shown, **quota}


def _owned(data: Dataset, classes: int) -> dict[str, Any]:
    """How many samples there are, and how many of each class."""
    labels = [] if data.labels is None else np.bincount(data.labels, minlength=classes).tolist()
    return {"samples": len(data), "labels": labels}


def _board(device: Mapping[str, Any], common: Common) -> dict[str, int]:
    """The memory that the board has, whatever the quota."""
    return {
        "board_memory_bytes": catalogue.entry(device["kind"], common.catalogue).usable_memory_bytes
    }


def world(
    common: Common,
    devices: Mapping[DeviceId, Device],
    server: Device,
    *,
    ignore_memory: bool = False,
) -> World:
    """Of `--channels`, `--bandwidth-hz`, `--offline-share`, `--cohorts` and `--seed`."""
    return World(
        server=server,
        offline_share=common.offline_share,
        cohorts=common.cohorts == "on",
        seed=common.seed,
        ignore_memory=ignore_memory,
        surroundings=_surroundings(common, devices),
    )


def _surroundings(common: Common, devices: Mapping[DeviceId, Device]) -> Surroundings | None:
    if common.channels == "own":
        return None
    setting = Setting(
        scene=SCENES.get(common.channels, UMI),
        preset=PRESETS.get(common.channels),
        bandwidth_hz=common.bandwidth_hz,
    )
    return Surroundings(devices, setting, common.seed)
