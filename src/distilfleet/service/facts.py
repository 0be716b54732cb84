"""What the record of a real fleet says about its devices: what the server knows, not what a simulation would make up.

A recipe builds its run on the server's own data, divided as a simulation divides them. Real devices have data of their
own, of which the server hears neither how much there is nor of which classes unless a method's answers tell it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.types import DeviceId
from ..plan.split import SplitPlanner
from ..recipes.flags import Common
from ..training.experiment import Experiment

OWNED = ("samples", "labels")
"""Facts of a simulated device that are its owner's in a real fleet."""
DIVIDED = ("train", "partition")
"""Facts of the data that a simulation divides."""


def facts_of(run: Experiment, devices: Mapping[DeviceId, str], server: str) -> dict[str, Any]:
    """`fleet.json`, the devices under their own names, in the order of the fleet file; all of them with their kinds.
    The server's kind is what the fleet file names, or empty."""
    shown = [
        {name: value for name, value in one.items() if name not in OWNED} | {"id": device}
        for device, one in zip(devices, run.facts.get("shown", ()), strict=False)
    ]
    return {**run.facts, "shown": shown, "devices": dict(devices), "server": server}


def taken_for(run: Experiment, server: str) -> tuple[str, ...]:
    """A note on what a plan of cuts takes the server for, where the fleet file names no kind."""
    if server or not isinstance(run.planner, SplitPlanner):
        return ()
    usual = Common().server
    return (
        f"Cuts and shares are planned as if the server were a {usual}, and so are its predicted seconds and joules: "
        f"the fleet file names no kind. Write there, for example, server = '{usual}'; see `distilfleet devices`.",
    )


def about_of(about: Mapping[str, Any], fleet: str, notes: Sequence[str] = ()) -> dict[str, Any]:
    """`run.toml`: run on this fleet, on the devices' own data."""
    data = {name: value for name, value in about.get("data", {}).items() if name not in DIVIDED}
    told = {"notes": [*about.get("notes", ()), *notes]} if notes else {}
    return {**about, **told, "data": data, "settings": {**about["settings"], "fleet": fleet}}
