"""A fleet in columns, grouped by hardware, so that no array of devices times options is ever built.

What a device computes is (seconds of its hardware) x (its slowdown), what it sends (bytes of an
option) x (seconds per byte of its cell): one number per device and one per hardware and option.

Axes: N devices, sorted by hardware; G kinds of hardware; K options.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..core.types import Channel, Device, DeviceId
from ..core.units import BITS_PER_BYTE
from ..cost.compute import compute_s
from .options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """The server at one clock."""

    speed_flops_per_s: float
    busy_w: float
    """Power while the server computes."""
    memory_bytes: float = float("inf")
    clock_share: float = 1.0

    @property
    def energy_per_flop_j(self) -> float:
        """What a floating-point operation of the server takes while it computes."""
        return self.busy_w / self.speed_flops_per_s

    def work_s(self, flops: np.ndarray) -> np.ndarray:
        """Seconds of the whole server for so much work."""
        return np.asarray(flops / self.speed_flops_per_s)

    @staticmethod
    def of(server: Device, clock_share: float = 1.0) -> "ServerFacts":
        """Speed goes with the clock, power above idling with its cube."""
        above_w = (server.busy_w - server.idle_w) * clock_share**3
        return ServerFacts(
            speed_flops_per_s=server.speed_flops_per_s * clock_share,
            busy_w=server.idle_w + above_w,
            memory_bytes=float(server.memory_bytes),
            clock_share=clock_share,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What devices of one kind share, [G] each."""

    speed_flops_per_s: np.ndarray
    memory_bytes_per_s: np.ndarray
    memory_bytes: np.ndarray
    idle_w: np.ndarray
    busy_w: np.ndarray
    transmit_w: np.ndarray

    def rows(self, chosen: np.ndarray) -> "Hardware":
        """Some of the kinds, in this order; a kind may come more than once."""
        return Hardware(**{name: getattr(self, name)[chosen] for name in Hardware.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFacts:
    """Devices of a cluster and the options they have. `base_s` is what every step takes whatever is
    chosen."""

    options: Options
    hardware: Hardware
    starts: np.ndarray
    """First device of each hardware, and the count of devices at the end, [G + 1]."""
    slowdown: np.ndarray
    base_s: np.ndarray
    up_s_per_byte: np.ndarray
    """Seconds that a byte takes with the whole cell, as with `down_s_per_byte`."""
    down_s_per_byte: np.ndarray
    cell: np.ndarray
    cells: int
    seconds_GK: np.ndarray
    """Seconds of computing under each option, before the slowdown."""
    allowed_GK: np.ndarray

    def __len__(self) -> int:
        return len(self.cell)

    @property
    def groups(self) -> list[tuple[slice, int]]:
        """Devices of each hardware that has any."""
        bounds = self.starts.tolist()
        return [(slice(a, b), g) for g, (a, b) in enumerate(pairwise(bounds)) if a < b]

    @property
    def kind(self) -> np.ndarray:
        """Hardware of each device, [N]."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def computing_s(self, chosen_N: np.ndarray) -> np.ndarray:
        """Seconds of each device under its option, with what every step takes, [N]."""
        return np.asarray(self.work_s(chosen_N) + self.base_s)

    def work_s(self, chosen_N: np.ndarray) -> np.ndarray:
        """Seconds that each device computes under its option, [N]."""
        return np.asarray(self.seconds_GK[self.kind, chosen_N] * self.slowdown)

    def sending_s(self, chosen_N: np.ndarray) -> np.ndarray:
        """Seconds that each device sends with the whole cell, [N]."""
        return np.asarray(self.up_s_per_byte * self.options.up_bytes[chosen_N])

    def receiving_s(self, chosen_N: np.ndarray) -> np.ndarray:
        """Seconds that each device receives with the whole cell, [N]."""
        return np.asarray(self.down_s_per_byte * self.options.down_bytes[chosen_N])

    def per_cell(self, values_N: np.ndarray) -> np.ndarray:
        """Sums over the devices of each cell, [C]."""
        return np.bincount(self.cell, values_N, minlength=self.cells)

    def allowing(self, allowed_GK: np.ndarray) -> "PlanFacts":
        """The same devices with these options allowed, and no others."""
        return replace(self, allowed_GK=allowed_GK)


_PER_DEVICE = ("slowdown", "base_s", "up_s_per_byte", "down_s_per_byte")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Who the devices of `PlanFacts` are, in its order."""

    ids: Sequence[DeviceId]
    facts: PlanFacts


def part(roster: Roster, rows: np.ndarray) -> Roster:
    """Some of the devices, in ascending order; cells are numbered anew."""
    facts = roster.facts
    kinds = np.arange(len(facts.starts))
    taken = {name: getattr(facts, name)[rows] for name in _PER_DEVICE}
    cells, cell = np.unique(facts.cell[rows], return_inverse=True)
    starts = np.searchsorted(facts.kind[rows], kinds)
    kept = replace(facts, **taken, starts=starts, cell=cell, cells=len(cells))
    return Roster(ids=[roster.ids[row] for row in rows], facts=kept)


def sorted_by(roster: Roster, allowed_NK: np.ndarray) -> Roster:
    """Devices of one hardware with other options allowed become another hardware."""
    facts = roster.facts
    first, kind_N = _kinds(facts, allowed_NK)
    order = np.argsort(kind_N, kind="stable")
    old = facts.kind[first]
    columns = {name: getattr(facts, name)[order] for name in (*_PER_DEVICE, "cell")}
    moved = replace(
        facts,
        **columns,
        hardware=facts.hardware.rows(old),
        starts=np.searchsorted(kind_N[order], np.arange(len(first) + 1)),
        seconds_GK=facts.seconds_GK[old],
        allowed_GK=allowed_NK[first],
    )
    return Roster(ids=[roster.ids[row] for row in order], facts=moved)


def _kinds(facts: PlanFacts, allowed_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Devices alike in hardware and in what is allowed: the first of each kind, and the kind of
    each device, [N]."""
    keys = np.column_stack([facts.kind, np.packbits(allowed_NK, axis=1)])
    _, first, kind = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first, kind.ravel()


def facts_of(hardware: Hardware, kind_N: np.ndarray, radio: "Radio", options: Options) -> PlanFacts:
    """Columns from arrays; `kind_N` is sorted. Devices may use the options that fit their
    memory."""
    seconds_GK = compute_s(
        options.device_flops[None],
        options.device_moved_bytes[None],
        hardware.speed_flops_per_s[:, None],
        hardware.memory_bytes_per_s[:, None],
    )
    return PlanFacts(
        options=options,
        hardware=hardware,
        starts=np.searchsorted(kind_N, np.arange(len(hardware.idle_w) + 1)),
        slowdown=radio.slowdown,
        base_s=radio.base_s,
        up_s_per_byte=BITS_PER_BYTE / radio.up_bps,
        down_s_per_byte=BITS_PER_BYTE / radio.down_bps,
        cell=radio.cell,
        cells=int(radio.cell.max(initial=-1)) + 1,
        seconds_GK=seconds_GK,
        allowed_GK=options.device_memory_bytes[None] <= hardware.memory_bytes[:, None],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """Rates, cells and slowdowns that a round finds, [N] each."""

    up_bps: np.ndarray
    down_bps: np.ndarray
    cell: np.ndarray
    slowdown: np.ndarray
    base_s: np.ndarray


def roster_of(
    devices: Sequence[Device], channels: Mapping[DeviceId, Channel], options: Options
) -> Roster:
    """Columns from the facts of a round. A device without a channel has its own link, a cell to
    itself."""
    traits = [_traits(device) for device in devices]
    number = {trait: g for g, trait in enumerate(sorted(set(traits)))}
    kinds = np.array([number[trait] for trait in traits], int)
    order = np.argsort(kinds, kind="stable")
    sorted_devices = [devices[row] for row in order]
    radio = _radio(sorted_devices, channels)
    facts = facts_of(_hardware(list(number)), kinds[order], radio, options)
    return Roster(ids=[device.id for device in sorted_devices], facts=facts)


def _hardware(traits: Sequence[tuple[float, ...]]) -> Hardware:
    columns = np.array(traits, float).reshape(-1, len(Hardware.__slots__)).T
    return Hardware(**dict(zip(Hardware.__slots__, columns, strict=True)))


def _traits(device: Device) -> tuple[float, ...]:
    """What makes its hardware, in the order of `Hardware`."""
    return (
        device.speed_flops_per_s,
        device.memory_bytes_per_s,
        float(device.memory_bytes),
        device.idle_w,
        device.busy_w,
        device.link.transmit_w,
    )


def _radio(devices: Sequence[Device], channels: Mapping[DeviceId, Channel]) -> Radio:
    found = [channels.get(device.id) for device in devices]
    pairs = list(zip(devices, found, strict=True))
    return Radio(
        up_bps=_column(c.up_bps if c else d.link.up_bps for d, c in pairs),
        down_bps=_column(c.down_bps if c else d.link.down_bps for d, c in pairs),
        cell=_cells(found),
        slowdown=_column(c.slowdown if c else 1.0 for c in found),
        base_s=_column(2 * d.link.latency_s for d in devices),
    )


def _cells(channels: Sequence[Channel | None]) -> np.ndarray:
    """Numbers from zero without holes: one for each shared cell, one for each device on its own
    link."""
    number: dict[object, int] = {}
    keys = (("cell", c.cell) if c else ("own", n) for n, c in enumerate(channels))
    return np.array([number.setdefault(key, len(number)) for key in keys], int)


def _column(values: Iterable[float]) -> np.ndarray:
    return np.fromiter(values, np.float64)
