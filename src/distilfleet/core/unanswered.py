"""Why a round cannot be had, in words: who does not do its job, and the reason that each of them
gave."""

from collections.abc import Mapping, Sequence

from .types import DeviceId

MOST_NAMED = 5
"""Devices, and reasons, that are named; more are counted."""


def cannot_be_had(number: int, refused: Mapping[DeviceId, str], asked: int, needed: str) -> str:
    """With a reason for each device that refused, as it gave it."""
    return (
        f"round {number} cannot be had: {len(refused)} of {asked} devices do not do its job, and "
        f"{needed}. {reasons(refused)}"
    )


def needed(wanted: int, devices: int) -> str:
    """How many devices a round must hear."""
    return f"the round needs {wanted} of its {devices} devices"


def reasons(refused: Mapping[DeviceId, str]) -> str:
    """Devices by reason, the most common first."""
    devices: dict[str, list[DeviceId]] = {}
    for device, reason in refused.items():
        devices.setdefault(reason, []).append(device)
    common = sorted(devices, key=lambda reason: -len(devices[reason]))
    return named([f"{named(devices[reason])}: {reason}" for reason in common], "; ")


def named(words: Sequence[str], between: str = ", ") -> str:
    """The first few, and how many more there are."""
    more = len(words) - MOST_NAMED
    return between.join([*words[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])])
