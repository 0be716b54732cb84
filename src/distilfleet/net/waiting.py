"""What a round that cannot be over now waits for, and why one that never can be cannot, in
words."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.types import DeviceId, Missed
from ..core.unanswered import cannot_be_had, named, needed
from .wave import Collecting


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a round that is not over stands."""

    waits: str = ""
    """The devices that it waits for, in words; empty while it can be over with those that are
    here."""
    is_paused: bool = False
    """Whether it has waited for so long that other runs may have their turn."""
    loses_nothing: bool = False
    """Whether it has no answers so far, or the last of them is older than the fleet's patience."""


def waits(number: int, wave: Collecting, lacking: Sequence[DeviceId], now_s: float) -> str:
    """For `longest_s` a round waits, from then on its run is said to pause; either goes on by
    itself."""
    reasons = {job.device: wave.put_off[job.id] for job in wave.jobs if job.id in wave.put_off}
    who = named(
        [f"{device} ({reasons[device]})" if device in reasons else device for device in lacking]
    )
    return (
        f"round {number} {'is paused, waiting' if wave.is_paused(now_s) else 'waits'} for devices: "
        f"{wave.answers} of {len(wave.jobs)} have answered, and {_needed(wave)}. Not here, or "
        f"without an answer: {who}"
    )


def cannot_go_on(number: int, wave: Collecting) -> str:
    """With a reason for each device, as it gave it."""
    results = [wave.results.get(job.id) for job in wave.jobs]
    refused = {one.device: one.reason for one in results if isinstance(one, Missed)}
    return cannot_be_had(number, refused, len(wave.jobs), _needed(wave))


def _needed(wave: Collecting) -> str:
    return needed(wave.quorum.wanted, len(wave.quorum.devices))
