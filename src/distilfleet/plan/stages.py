"""Where a step's seconds and joules go: computing, uplink, server, downlink, device by device.

The radio sends at full power in its share of the cell's time and idles otherwise; a device idles
while it receives and waits for its turn on the air, and has no job while the server works: the
accounting of docs/design/0003.

Axes: N devices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.types import DeviceId
from .decide import Decision
from .facts import PlanFacts, ServerFacts
from .options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Seconds and joules of each device's step, [N] each. A message's latency counts as time on the
    air."""

    compute_s: np.ndarray
    uplink_s: np.ndarray
    server_s: np.ndarray
    downlink_s: np.ndarray
    compute_j: np.ndarray
    uplink_j: np.ndarray
    downlink_j: np.ndarray
    server_j: np.ndarray

    @property
    def delay_s(self) -> np.ndarray:
        """Seconds of each device from the beginning of its step to the end, [N]."""
        return np.asarray(self.compute_s + self.uplink_s + self.server_s + self.downlink_s)

    @property
    def device_j(self) -> np.ndarray:
        """Joules of each device, without the server's, [N]."""
        return np.asarray(self.compute_j + self.uplink_j + self.downlink_j)

    @property
    def binds(self) -> str:
        """radio, device or server: where most of all devices' delay is."""
        radio_s = float(self.uplink_s.sum() + self.downlink_s.sum())
        seconds = {
            "radio": radio_s,
            "device": float(self.compute_s.sum()),
            "server": float(self.server_s.sum()),
        }
        return max(seconds, key=lambda name: seconds[name])


def stages(facts: PlanFacts, server: ServerFacts, decision: Decision) -> Stages:
    """Seconds and joules of a cluster's devices under their options and shares."""
    chosen = decision.chosen
    hardware = facts.hardware.rows(facts.kind)
    server_flops = facts.options.server_flops[chosen]
    latency_s = facts.base_s / 2
    compute_s = facts.work_s(chosen)
    sending_s = facts.sending_s(chosen)
    uplink_s = sending_s / decision.uplink_share + latency_s
    downlink_s = facts.receiving_s(chosen) / decision.downlink_share + latency_s
    return Stages(
        compute_s=compute_s,
        uplink_s=uplink_s,
        server_s=server.work_s(server_flops) / decision.server_share,
        downlink_s=downlink_s,
        compute_j=hardware.busy_w * compute_s,
        uplink_j=hardware.transmit_w * sending_s + hardware.idle_w * uplink_s,
        downlink_j=hardware.idle_w * downlink_s,
        server_j=server.energy_per_flop_j * server_flops,
    )


def joined(parts: Sequence[Stages]) -> Stages:
    """The stages of several clusters as one, in their order."""
    return Stages(
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in Stages.__slots__}
    )


def remarks(options: Options, seen: Stages, privacy_floor: int = 0) -> list[str]:
    """What binds, and what is true of every plan for this model: lines for people."""
    lines = [_binding(seen), _best_cuts(options)]
    if len(set(options.bits.tolist())) > 1:
        lines.append(
            "bits       fewer are always faster and cheaper: allow what the model's quality "
            "tolerates, no less"
        )
    if privacy_floor and options.same_bytes and not options.teacher_cut.any():
        lines.append(
            "privacy    the floor holds for the student; a teacher's embeddings tell their tokens "
            "at any floor"
        )
    return lines


def _binding(seen: Stages) -> str:
    total_s = max(float(seen.delay_s.sum()), 1e-300)
    parts = {
        "radio": seen.uplink_s + seen.downlink_s,
        "device": seen.compute_s,
        "server": seen.server_s,
    }
    shares = [f"{name} {seconds.sum() / total_s:.0%}" for name, seconds in parts.items()]
    return f"binds      {seen.binds}: of all devices' delay, {', '.join(shares)}"


def _best_cuts(options: Options) -> str:
    if not options.same_bytes:
        return (
            f"cuts       {options.model} sends fewer bytes the deeper it is cut, so a cut in "
            "between may be best"
        )
    return (
        f"cuts       every cut of {options.model} sends the same bytes, and every layer between "
        "two cuts takes the same work, so the best cut is an end point: the first or the last that "
        "memory, privacy floor and budget allow"
    )


def rows(ids: Sequence[DeviceId], seen: Stages) -> list[dict[str, Any]]:
    """One table per device: its id, then seconds and joules by stage, as plain numbers."""
    columns = {name: getattr(seen, name).tolist() for name in Stages.__slots__}
    return [
        {"id": device, **{name: column[n] for name, column in columns.items()}}
        for n, device in enumerate(ids)
    ]
