"""What a record says of the machines that take part, whatever fleet they belong to:
`fleet.json`."""

from itertools import islice
from typing import Any

from ..core.types import Device
from .experiment import Experiment

MOST_SHOWN = 200
"""Devices that a record names one by one."""


def fleet_facts(experiment: Experiment) -> dict[str, Any]:
    """How many devices there are of each kind, and the first ones with model and memory."""
    kinds = [device.kind for device in experiment.devices.values()]
    return {
        "total": len(kinds),
        "server": experiment.server.kind,
        "kinds": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "shown": [
            _shown(experiment, device) for device in islice(experiment.devices.values(), MOST_SHOWN)
        ],
    }


def _shown(experiment: Experiment, device: Device) -> dict[str, Any]:
    return {
        "id": device.id,
        "kind": device.kind,
        "model": experiment.models.get(device.kind, ""),
        "memory_bytes": device.memory_bytes,
    }
