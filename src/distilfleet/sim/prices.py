"""What the jobs of a wave take on their devices, by the one price list in `cost`, in a few array
operations.

Axes: J jobs of a wave, N devices of the fleet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.types import Device, DeviceId, Link, Load, Usage
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
        """Columns of these devices, in their order."""
        each = list(devices.values())
        links = [device.link for device in each]
        return Profiles(
            index={device: row for row, device in enumerate(devices)},
            **{name: _column(each, name) for name in _OF_DEVICE},
            **{name: _column(links, name) for name in _OF_LINK},
        )

    def durations(
        self, index_J: np.ndarray, loads: Sequence[Load], frames: "Frames", air: "Air"
    ) -> np.ndarray:
        """Seconds of jobs in each stage, [3, J], on the devices that `index_J` numbers."""
        flops_J = np.array([load.flops for load in loads])
        moved_J = np.array([load.moved_bytes for load in loads])
        speed_J = self.speed_flops_per_s[index_J]
        traffic_J = self.memory_bytes_per_s[index_J]
        latency_J = self.latency_s[index_J]
        seconds_3J = np.empty((3, len(index_J)))
        seconds_3J[DOWN] = transfer_s(frames.down_bytes_J, air.down_bps[index_J], latency_J)
        seconds_3J[COMPUTE] = (
            compute_s(flops_J, moved_J, speed_J, traffic_J) * air.slowdown[index_J]
        )
        seconds_3J[UP] = transfer_s(frames.up_bytes_J, air.up_bps[index_J], latency_J)
        return seconds_3J

    @property
    def air(self) -> "Air":
        """Every device with its own link to itself."""
        all_of_it = np.ones(len(self.up_bps))
        return Air(
            up_bps=self.up_bps, down_bps=self.down_bps, slowdown=all_of_it, up_share=all_of_it
        )

    def spent(
        self, jobs: "PricedJobs", until_s: float, air: "Air", spending: "Spending"
    ) -> "SpentOnJobs":
        """What jobs took of their devices until `until_s`: whole jobs, or the part of them before
        they were called off.

        A device's idle power is counted from where `spending` has it. A radio sends in its share of
        the cell's slots.
        """
        index_J = jobs.index_J
        spent_3J = jobs.passage.spent_s(until_s)
        ends_J = np.minimum(jobs.passage.finish_s, until_s)
        begins_J = np.maximum(jobs.passage.start_3J[DOWN], spending.until_s[index_J])
        elapsed_J = np.clip(ends_J - begins_J, 0.0, None)
        sending_J = spent_3J[UP] * air.up_share[index_J]
        watts = (self.idle_w[index_J], self.busy_w[index_J], self.transmit_w[index_J])
        energy_J = energy_j(elapsed_J, spent_3J[COMPUTE], sending_J, *watts)
        return SpentOnJobs(
            ends_J=ends_J, stages_3J=spent_3J, sending_s_J=sending_J, energy_j_J=energy_J
        )


_OF_DEVICE = ("speed_flops_per_s", "memory_bytes", "memory_bytes_per_s", "idle_w", "busy_w")
_OF_LINK = ("up_bps", "down_bps", "latency_s", "transmit_w")


def _column(things: Sequence[Device | Link], name: str) -> np.ndarray:
    return np.array([getattr(thing, name) for thing in things], np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Bytes of the messages of a wave, [J] each: of each job on its way down and of its reply on
    its way up."""

    down_bytes_J: np.ndarray
    up_bytes_J: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedJobs:
    """Jobs of a wave with their devices' numbers, their frames, and when they pass their stages."""

    index_J: np.ndarray
    frames: Frames
    passage: Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentOnJobs:
    """What each job took of its device, and when it ended or was called off."""

    ends_J: np.ndarray
    stages_3J: np.ndarray
    """Seconds in each stage, [3, J]."""
    sending_s_J: np.ndarray
    """Seconds in which the radio sent, [J]."""
    energy_j_J: np.ndarray

    def usage(self, jobs: PricedJobs) -> Usage:
        """The sum over all jobs; of a frame under way, the part that had been sent counts."""
        share_3J = self.stages_3J / np.maximum(jobs.passage.duration_3J, 1e-30)
        down_bytes_J = np.ceil(jobs.frames.down_bytes_J * share_3J[DOWN])
        up_bytes_J = np.ceil(jobs.frames.up_bytes_J * share_3J[UP])
        return Usage(
            busy_s=float(self.stages_3J[COMPUTE].sum()),
            energy_j=float(np.sum(self.energy_j_J)),
            down_bytes=int(down_bytes_J.sum()),
            up_bytes=int(up_bytes_J.sum()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Air:
    """What devices find this round, [N] each: their rates, and seconds that a second of computing
    takes."""

    up_bps: np.ndarray
    down_bps: np.ndarray
    slowdown: np.ndarray
    up_share: np.ndarray
    """Share of the time in which a device that sends has the cell."""


@dataclass(slots=True, kw_only=True)
class Spending:
    """What each device spent, [N] each, and until when it is accounted for: jobs of one device may
    overlap."""

    until_s: np.ndarray
    energy_j: np.ndarray
    busy_s: np.ndarray
    """Seconds of computing in this round."""
    transmit_s: np.ndarray
    """Seconds of sending in this round."""

    @staticmethod
    def nothing(count: int) -> "Spending":
        """So many devices that have spent nothing."""
        return Spending(**{name: np.zeros(count) for name in Spending.__slots__})

    def add(self, index_J: np.ndarray, spent: SpentOnJobs) -> None:
        """Add what jobs took of their devices, no two of one device."""
        self.until_s[index_J] = np.maximum(self.until_s[index_J], spent.ends_J)
        self.energy_j[index_J] += spent.energy_j_J
        self.busy_s[index_J] += spent.stages_3J[COMPUTE]
        self.transmit_s[index_J] += spent.sending_s_J

    def begin_round(self) -> None:
        """Computing and sending count from zero; energy and time go on."""
        self.busy_s[:] = 0
        self.transmit_s[:] = 0
