"""The experiment that a server is asked for, with the devices of the fleet file."""

from collections.abc import Mapping
from dataclasses import replace
from math import nan
from typing import Any

from ..core.types import Device
from ..cost import catalogue
from ..recipes.find import recipe
from ..recipes.flags import Common, changed, unflatten
from ..training.experiment import Experiment
from .fleet_file import FleetFolder

SIMULATED = (
    *("devices", "device_kinds", "server", "group", "alpha", "skew", "channels", "bandwidth_hz"),
    *(
        "offline_share",
        "label_counts_share",
        "poison",
        "poison_share",
        "memory_quota_bytes",
        "cohorts",
    ),
)
"""Flags that say what devices there are, what they own and what surrounds them."""


def experiment_of(here: FleetFolder, asked: Mapping[str, Any]) -> Experiment:
    """Built by its recipe for as many devices, of the same kinds; none of them is given data.
    Raises ConfigError."""
    found = recipe(asked["recipe"])
    kinds = tuple(here.file.devices.values())
    settings = {**asked["settings"], "devices": len(kinds), "device_kinds": kinds}
    if here.file.server:
        settings["server"] = here.file.server
    if here.catalogue is not None:
        settings["catalogue"] = str(here.catalogue)
    experiment = found.build(unflatten(found.flags, settings))
    return replace(experiment, devices=here.devices, server=server_of(here))


def given_in(asked: Mapping[str, Any]) -> list[str]:
    """The flags that were set for a run."""
    return sorted(changed(unflatten(recipe(asked["recipe"]).flags, asked["settings"])))


def server_of(here: FleetFolder) -> Device:
    """Of the kind that the fleet file names; else of a usual speed, with watts that nobody
    knows."""
    if here.file.server:
        return catalogue.device(here.file.server, "server", extra=here.catalogue)
    return replace(catalogue.device(Common().server, "server"), idle_w=nan, busy_w=nan)
