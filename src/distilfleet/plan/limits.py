"""What the limits leave to each device, and a plain word where they leave nothing.

Axes: N devices, G kinds of hardware, K options.
"""

from dataclasses import dataclass

import numpy as np

from ..core.errors import InfeasibleError
from ..core.types import Conditions, DeviceId
from ..core.units import pretty_bytes, pretty_j
from .facts import PlanFacts, Roster, sorted_by
from .options import Options

LEAST_BPS = 1.0
"""Less is no channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A device never cuts above `privacy_floor`, and spends at most `energy_j` above idling in a
    step."""

    privacy_floor: int = 0
    energy_j: float | None = None


def reached(conditions: Conditions) -> list[DeviceId]:
    """Devices that can send and receive at all this round."""
    return [one for one in conditions.ids if min(_rates_bps(conditions, one)) >= LEAST_BPS]


def check_channels(conditions: Conditions) -> None:
    """Raises InfeasibleError for a device that cannot send or receive at all."""
    there = set(reached(conditions))
    lost = next((one for one in conditions.ids if one not in there), None)
    if lost is None:
        return
    up_bps, down_bps = _rates_bps(conditions, lost)
    way = "uplink" if up_bps < LEAST_BPS else "downlink"
    found = conditions.channels.get(lost)
    cell = f" in cell {found.cell}" if found else ""
    raise InfeasibleError(
        f"device {lost} has no {way} in round {conditions.round}: {min(up_bps, down_bps):.2g} "
        f"bit/s{cell}, so no cut is short enough. Leave it out of the round, or wait for its "
        "channel"
    )


def _rates_bps(conditions: Conditions, device: DeviceId) -> tuple[float, float]:
    found = conditions.channels.get(device) or conditions.devices[device].link
    return found.up_bps, found.down_bps


def within(roster: Roster, limits: Limits) -> Roster:
    """The roster with the options that every limit allows. Raises InfeasibleError."""
    facts = roster.facts
    _check_floor(facts.options, limits.privacy_floor)
    private_GK = facts.allowed_GK & (facts.options.cut >= limits.privacy_floor)
    for devices, g in facts.groups:
        if not private_GK[g].any():
            raise InfeasibleError(_no_memory(roster, devices.start, g, limits.privacy_floor))
    roster = Roster(ids=roster.ids, facts=facts.allowing(private_GK))
    return roster if limits.energy_j is None else _within_energy(roster, limits.energy_j)


def _check_floor(options: Options, floor: int) -> None:
    deepest = int(options.cut.max())
    if floor > deepest:
        raise InfeasibleError(
            f"a privacy floor of {floor} is beyond {options.model}: its {options.layers} layers "
            f"can be cut at {deepest} at most. Set it to {deepest} or less"
        )


def _no_memory(roster: Roster, device: int, g: int, floor: int) -> str:
    options = roster.facts.options
    memory_bytes = float(roster.facts.hardware.memory_bytes[g])
    needed_K = np.where(options.cut >= floor, options.device_memory_bytes, np.inf)
    least = int(needed_K.argmin())
    needed_bytes = needed_K[least]
    lacks = (
        f"device {roster.ids[device]} lends {pretty_bytes(memory_bytes)}, and its least option "
        f"(cut {options.cut[least]}, {options.bits[least]} bits) takes "
        f"{pretty_bytes(needed_bytes)}, {pretty_bytes(needed_bytes - memory_bytes)} more"
    )
    if (options.device_memory_bytes <= memory_bytes).any():
        return (
            f"{lacks}. It is the privacy floor of {floor} that asks for so much: lower it, or "
            "leave the device out"
        )
    return (
        f"{lacks}. Hold fewer rows of the tables, take a smaller batch, cache the teacher, or "
        "leave the device out"
    )


def _within_energy(roster: Roster, energy_j: float) -> Roster:
    spent_NK = _spent_j(roster.facts)
    least_N = spent_NK.min(axis=1)
    worst = int(least_N.argmax())
    least_j = float(least_N[worst])
    if least_j > energy_j:
        raise InfeasibleError(
            f"device {roster.ids[worst]} spends {pretty_j(least_j)} in a step at least,"
            f" {pretty_j(least_j - energy_j)} more than its budget of {pretty_j(energy_j)}."
            " Raise the budget, send fewer bits, take a smaller batch, or leave the device out"
        )
    return sorted_by(roster, spent_NK <= energy_j)


def _spent_j(facts: PlanFacts) -> np.ndarray:
    """Above idling, by each device under each option, [N, K]; infinite for what is not allowed."""
    hardware = facts.hardware
    kind = facts.kind
    computing_w = (hardware.busy_w - hardware.idle_w)[kind] * facts.slowdown
    sending_j_per_byte = hardware.transmit_w[kind] * facts.up_s_per_byte
    spent_NK = facts.seconds_GK[kind] * computing_w[:, None]
    spent_NK += sending_j_per_byte[:, None] * facts.options.up_bytes
    spent_NK[~facts.allowed_GK[kind]] = np.inf
    return np.asarray(spent_NK)
