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

    def durations(
        self, index_J: np.ndarray, loads: Sequence[Load], sent: tuple[np.ndarray, np.ndarray], air: "Air"
    ) -> np.ndarray:
        """Seconds in each stage, [3, J]; `sent` are the bytes of each job's frame and of its reply's."""
        flops = np.array([load.flops for load in loads])
        moved = np.array([load.moved_bytes for load in loads])
        speed, traffic = self.speed_flops_per_s[index_J], self.memory_bytes_per_s[index_J]
        seconds = np.empty((3, len(index_J)))
        seconds[DOWN] = transfer_s(sent[0], air.down_bps[index_J], self.latency_s[index_J])
        seconds[COMPUTE] = compute_s(flops, moved, speed, traffic) * air.slowdown[index_J]
        seconds[UP] = transfer_s(sent[1], air.up_bps[index_J], self.latency_s[index_J])
        return seconds

    @property
    def air(self) -> "Air":
        """Every device with its own link to itself."""
        return Air(
            up_bps=self.up_bps,
            down_bps=self.down_bps,
            slowdown=np.ones(len(self.up_bps)),
            up_share=np.ones(len(self.up_bps)),
        )

    def usage(
        self,
        called: tuple[np.ndarray, Passage],
        sent: tuple[np.ndarray, np.ndarray],
        until_s: float,
        air: "Air",
        spent: "Spent",
    ) -> Usage:
        """What the devices spent: whole jobs, or the part of them before they were called off.

        `sent` are the bytes of each job's frame and of its reply's; `spent` is added to. A radio sends in its share of
        the cell's slots alone.
        """
        index_J, passage = called
        spent_3J = passage.spent_s(until_s)
        ends_J = np.minimum(passage.finish_s, until_s)
        elapsed_J = np.clip(ends_J - np.maximum(passage.start_3J[DOWN], spent.until_s[index_J]), 0.0, None)
        idle, busy, transmit = self.idle_w[index_J], self.busy_w[index_J], self.transmit_w[index_J]
        sending_J = spent_3J[UP] * air.up_share[index_J]
        energy_J = energy_j(elapsed_J, spent_3J[COMPUTE], sending_J, idle, busy, transmit)
        spent.note(index_J, ends_J, (spent_3J[COMPUTE], sending_J), energy_J)
        share_3J = spent_3J / np.maximum(passage.duration_3J, 1e-30)
        return Usage(
            busy_s=float(spent_3J[COMPUTE].sum()),
            energy_j=float(np.sum(energy_J)),
            down_bytes=int(np.ceil(sent[0] * share_3J[DOWN]).sum()),
            up_bytes=int(np.ceil(sent[1] * share_3J[UP]).sum()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Air:
    """What devices find this round, [N] each: their rates, and seconds that a second of computing takes."""

    up_bps: np.ndarray
    down_bps: np.ndarray
    slowdown: np.ndarray
    up_share: np.ndarray
    """Of the time, in which a device that sends has the cell."""


@dataclass(slots=True, kw_only=True)
class Spent:
    """What each device spent, [N] each, and until when it is accounted for: jobs of one device may overlap."""

    until_s: np.ndarray
    energy_j: np.ndarray
    busy_s: np.ndarray
    transmit_s: np.ndarray
    """The last two of this round."""

    @staticmethod
    def nothing(count: int) -> "Spent":
        return Spent(**{name: np.zeros(count) for name in Spent.__slots__})

    def note(
        self, index_J: np.ndarray, ends_J: np.ndarray, active_2J: tuple[np.ndarray, np.ndarray], energy_J: np.ndarray
    ) -> None:
        """`active_2J` are seconds of computing and of sending."""
        self.until_s[index_J] = np.maximum(self.until_s[index_J], ends_J)
        self.energy_j[index_J] += energy_J
        self.busy_s[index_J] += active_2J[0]
        self.transmit_s[index_J] += active_2J[1]

    def begin_round(self) -> None:
        self.busy_s[:] = 0
        self.transmit_s[:] = 0
