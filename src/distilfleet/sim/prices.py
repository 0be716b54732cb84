"""What the jobs of a wave take on their devices, by the one price list in `cost`, in a few array operations.

Axes: J jobs of a wave, N devices of the fleet.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.types import Device, DeviceId, Load, Usage
from ..cost.compute import compute_s
from ..cost.energy import energy_j
from ..cost.link import transfer_s
from .clock import COMPUTE, DOWN, UP, Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """Device profiles as columns, [N] each, in the order of the roster."""

    index: Mapping[DeviceId, int]
    speed_flops_per_s: np.ndarray
    memory_bytes: np.ndarray
    memory_bytes_per_s: np.ndarray
    idle_w: np.ndarray
    busy_w: np.ndarray
    up_bps: np.ndarray
    down_bps: np.ndarray
    latency_s: np.ndarray
    transmit_w: np.ndarray

    @staticmethod
    def of(devices: Mapping[DeviceId, Device]) -> "Profiles":
        def column(values: Iterable[float]) -> np.ndarray:
            return np.fromiter(values, np.float64, len(devices))

        each = list(devices.values())
        return Profiles(
            index={device: i for i, device in enumerate(devices)},
            speed_flops_per_s=column(d.speed_flops_per_s for d in each),
            memory_bytes=column(d.memory_bytes for d in each),
            memory_bytes_per_s=column(d.memory_bytes_per_s for d in each),
            idle_w=column(d.idle_w for d in each),
            busy_w=column(d.busy_w for d in each),
            up_bps=column(d.link.up_bps for d in each),
            down_bps=column(d.link.down_bps for d in each),
            latency_s=column(d.link.latency_s for d in each),
            transmit_w=column(d.link.transmit_w for d in each),
        )

    def durations(self, index_J: np.ndarray, loads: Sequence[Load], down_bytes_J: np.ndarray) -> np.ndarray:
        """Seconds in each stage, [3, J]."""
        flops = np.array([load.flops for load in loads])
        moved = np.array([load.moved_bytes for load in loads])
        up = np.array([load.up_bytes for load in loads])
        speed, traffic = self.speed_flops_per_s[index_J], self.memory_bytes_per_s[index_J]
        seconds = np.empty((3, len(index_J)))
        seconds[DOWN] = transfer_s(down_bytes_J, self.down_bps[index_J], self.latency_s[index_J])
        seconds[COMPUTE] = compute_s(flops, moved, speed, traffic)
        seconds[UP] = transfer_s(up, self.up_bps[index_J], self.latency_s[index_J])
        return seconds

    def usage(
        self, index_J: np.ndarray, passage: Passage, sent: tuple[np.ndarray, np.ndarray], until_s: float
    ) -> Usage:
        """What the devices spent: whole jobs, or the part of them before they were called off.

        `sent` are the bytes of each job's frame and of its reply's.
        """
        spent_3J = passage.spent_s(until_s)
        elapsed_J = np.clip(np.minimum(passage.finish_s, until_s) - passage.start_3J[DOWN], 0.0, None)
        idle, busy, transmit = self.idle_w[index_J], self.busy_w[index_J], self.transmit_w[index_J]
        energy_J = energy_j(elapsed_J, spent_3J[COMPUTE], spent_3J[UP], idle, busy, transmit)
        share_3J = spent_3J / np.maximum(passage.duration_3J, 1e-30)
        return Usage(
            busy_s=float(spent_3J[COMPUTE].sum()),
            energy_j=float(np.sum(energy_J)),
            down_bytes=int(np.ceil(sent[0] * share_3J[DOWN]).sum()),
            up_bytes=int(np.ceil(sent[1] * share_3J[UP]).sum()),
        )
