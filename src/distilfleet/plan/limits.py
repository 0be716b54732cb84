"""What the limits leave to each device, and a plain word where they leave nothing.

Axes: N devices, G kinds of hardware, K options.
"""

from dataclasses import dataclass

import numpy as np

from ..core.errors import InfeasibleError
from ..core.types import Conditions, DeviceId
from ..core.units import pretty_bytes, pretty_j
from .facts import Roster, sorted_by
from .options import Options

LEAST_BPS = 1.0
"""Less is no channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A device never cuts above `privacy_floor`, and spends at most `energy_j` above idling in a step."""

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
    way, found = ("uplink" if up_bps < LEAST_BPS else "downlink"), conditions.channels.get(lost)
    cell = f" in cell {found.cell}" if found else ""
    raise InfeasibleError(
        f"device {lost} has no {way} in round {conditions.round}: {min(up_bps, down_bps):.2g} bit/s{cell}, so no cut"
        " is short enough. Leave it out of the round, or wait for its channel"
    )


def _rates_bps(conditions: Conditions, device: DeviceId) -> tuple[float, float]:
    found = conditions.channels.get(device) or conditions.devices[device].link
    return found.up_bps, found.down_bps


def within(roster: Roster, limits: Limits) -> Roster:
    """The roster with the options that every limit allows. Raises InfeasibleError."""
    facts, options = roster.facts, roster.facts.options
    _check_floor(options, limits.privacy_floor)
    fits_GK = facts.allowed_GK
    private_GK = fits_GK & (options.cut >= limits.privacy_floor)
    for devices, g in facts.groups:
        if not private_GK[g].any():
            raise InfeasibleError(_no_memory(roster, devices.start, g, limits.privacy_floor))
    roster = Roster(ids=roster.ids, facts=facts.allowing(private_GK))
    return roster if limits.energy_j is None else _within_energy(roster, limits.energy_j)


def _check_floor(options: Options, floor: int) -> None:
    deepest = int(options.cut.max())
    if floor > deepest:
        raise InfeasibleError(
            f"a privacy floor of {floor} is beyond {options.model}: its {options.layers} layers can be cut at"
            f" {deepest} at most. Set it to {deepest} or less"
        )


def _no_memory(roster: Roster, device: int, g: int, floor: int) -> str:
    options, memory_bytes = roster.facts.options, float(roster.facts.hardware.memory_bytes[g])
    needed = np.where(options.cut >= floor, options.device_memory_bytes, np.inf)
    least = int(needed.argmin())
    told = (
        f"device {roster.ids[device]} lends {pretty_bytes(memory_bytes)}, and its least option"
        f" (cut {options.cut[least]}, {options.bits[least]} bits) takes {pretty_bytes(needed[least])},"
        f" {pretty_bytes(needed[least] - memory_bytes)} more"
    )
    if (options.device_memory_bytes <= memory_bytes).any():
        return f"{told}. It is the privacy floor of {floor} that asks for so much: lower it, or leave the device out"
    return f"{told}. Hold fewer rows of the tables, take a smaller batch, cache the teacher, or leave the device out"


def _within_energy(roster: Roster, energy_j: float) -> Roster:
    facts, kind = roster.facts, roster.facts.kind
    watts = (facts.hardware.busy_w - facts.hardware.idle_w)[kind] * facts.slowdown
    spent_NK = facts.seconds_GK[kind] * watts[:, None]
    spent_NK += (facts.hardware.transmit_w[kind] * facts.up_s_per_byte)[:, None] * facts.options.up_bytes
    spent_NK[~facts.allowed_GK[kind]] = np.inf
    least_N = spent_NK.min(axis=1)
    worst = int(least_N.argmax())
    if least_N[worst] > energy_j:
        raise InfeasibleError(
            f"device {roster.ids[worst]} spends {pretty_j(float(least_N[worst]))} in a step at least,"
            f" {pretty_j(float(least_N[worst] - energy_j))} more than its budget of {pretty_j(energy_j)}."
            " Raise the budget, send fewer bits, take a smaller batch, or leave the device out"
        )
    return sorted_by(roster, spent_NK <= energy_j)
