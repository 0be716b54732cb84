"""What the record of a real fleet says about its devices: what the server knows, not what a simulation would make up.

A recipe builds its run on the server's own data, divided as a simulation divides them. Real devices have data of their
own, of which the server hears neither how much there is nor of which classes unless a method's answers tell it.
"""

from collections.abc import Mapping
from typing import Any

from ..core.types import DeviceId
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


def about_of(about: Mapping[str, Any], fleet: str) -> dict[str, Any]:
    """`run.toml`: run on this fleet, on the devices' own data."""
    data = {name: value for name, value in about.get("data", {}).items() if name not in DIVIDED}
    return {**about, "data": data, "settings": {**about["settings"], "fleet": fleet}}
