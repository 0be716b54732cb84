"""What a round that cannot be over now waits for, and why one that never can be cannot, in words."""

from collections.abc import Mapping, Sequence

from ..core.types import DeviceId, Missed
from .wave import Collecting

MOST_NAMED = 5
"""Devices that are named; more are counted."""


def waits(number: int, wave: Collecting, lacking: Sequence[DeviceId], now_s: float) -> str:
    """For `longest_s` a round waits, from then on its run is said to pause; either goes on by itself."""
    paused = now_s - wave.began_s >= wave.longest_s
    reasons = {job.device: wave.put_off[job.id] for job in wave.wave.jobs if job.id in wave.put_off}
    named = _named([f"{device} ({reasons[device]})" if device in reasons else device for device in lacking])
    return (
        f"round {number} {'is paused, waiting' if paused else 'waits'} for devices: {wave.answers} of "
        f"{len(wave.wave.jobs)} have answered, and {_needed(wave)}. Not here, or without an answer: {named}"
    )


def cannot_go_on(number: int, wave: Collecting) -> str:
    """With a reason for each device, as it gave it."""
    came = [wave.results.get(job.id) for job in wave.wave.jobs]
    refused = {one.device: one.reason for one in came if isinstance(one, Missed)}
    return (
        f"round {number} cannot be had: {len(refused)} of {len(wave.wave.jobs)} devices do not do its job, and "
        f"{_needed(wave)}. {_reasons(refused)}"
    )


def _needed(wave: Collecting) -> str:
    return f"the round needs {wave.quorum.wanted} of its {len(wave.quorum.devices)} devices"


def _reasons(refused: Mapping[DeviceId, str]) -> str:
    """Devices by reason, the most common first."""
    devices: dict[str, list[DeviceId]] = {}
    for device, reason in refused.items():
        devices.setdefault(reason, []).append(device)
    common = sorted(devices, key=lambda reason: -len(devices[reason]))
    return _named([f"{_named(devices[reason])}: {reason}" for reason in common], "; ")


def _named(words: Sequence[str], between: str = ", ") -> str:
    more = len(words) - MOST_NAMED
    return between.join([*words[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])])
