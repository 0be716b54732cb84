"""What a fleet finds around it, round after round: places, radio, cells, heat, batteries, who is
there.

One step takes the whole fleet from one round to the next; one draw of fading stands for the round.
Every draw depends on the seed and the number of the step alone, so state is arrays and two numbers.
Devices are worked on in blocks that stay in a core's cache, in float32; the energy is in float64,
as it must add up.

Axes: N devices in the order of the roster, B devices of a block.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..core.chance import stream
from ..core.types import Arrays, Channel, Device, DeviceId, Load
from ..core.units import BITS_PER_BYTE
from . import battery
from .catalogue import entries
from .cells import equal_shares, solo_bps
from .churn import Churn
from .compute import compute_s
from .pathloss import UMI, RadioScene, clear_share, losses_db
from .presets import Preset
from .radio import CQI_1, QUANTILES, Cqi, RateLaw, fading_quantiles_db, noise_dbm
from .throttle import Throttle, sustained_share

BLOCK = 16_384
"""Small enough for a core's cache, large enough to hide the cost of a call: 8,192 and 50,000 take a
tenth more."""
KEPT = (
    "phase_2N",
    "shadow_N",
    "heat_N",
    "present_N",
    "stored_j_N",
    "up_bps",
    "down_bps",
    "slowdown",
)
"""Arrays that change from step to step; everything else follows from devices, setting and seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a fleet lives. Band, powers and habits are estimates of a small cell in a city."""

    scene: RadioScene = UMI
    preset: Preset | None = None
    """Every device has a channel of this quality, whatever its distance."""
    law: RateLaw = CQI_1
    carrier_hz: float = 3.5e9
    bandwidth_hz: float = 20e6
    """Width of a cell's band in each direction."""
    devices_per_cell: int = 100
    reach_m: float = 100.0
    """Distance of a station from the sides of its square: stations 200 m apart, TR 38.901 table
    7.2-1, UMi."""
    device_dbm: float = 23.0
    """Power class 3, TS 38.101-1."""
    station_dbm: float = 33.0
    station_figure_db: float = 5.0
    """What the receiver adds to the noise."""
    device_figure_db: float = 7.0
    interference_db: float = 3.0
    """Decibels by which other cells raise the noise."""
    speed_m_per_s: float = 0.83
    """Mean speed of a device, on foot: 3 km/h, TR 38.901 table 7.2-1."""
    churn: Churn = field(default_factory=Churn)
    throttle: Throttle = field(default_factory=Throttle)
    charging_share: float = 0.3
    """Chance that a device with a battery is on its charger in a round."""
    charge_w: float = 10.0
    stop_share: float = battery.STOP_SHARE
    """Charge of the battery below which a device takes no part."""

    @property
    def up_db(self) -> float:
        """Signal-to-noise ratio at the station, without any loss on the way."""
        noise = noise_dbm(self.bandwidth_hz, self.station_figure_db)
        return self.device_dbm - noise - self.interference_db

    @property
    def down_db(self) -> float:
        """At the device."""
        noise = noise_dbm(self.bandwidth_hz, self.device_figure_db)
        return self.station_dbm - noise - self.interference_db


@dataclass(frozen=True, slots=True)
class EnergySpent:
    """Energy of a period, [N] each, in joules. A battery holds `taken_j` - `total_j` more
    afterwards."""

    idle_j: np.ndarray
    computing_j: np.ndarray
    sending_j: np.ndarray
    taken_j: np.ndarray
    """Energy that the charger put into the battery."""

    @property
    def total_j(self) -> np.ndarray:
        """Drawn from battery or mains."""
        return np.asarray(self.idle_j + self.computing_j + self.sending_j)


class Surroundings:
    """The state of a fleet's surroundings. Its arrays, [N] each, are to be read, not written, from
    outside.

    For the devices that share cells; leave out those on a wire of their own.
    """

    up_bps: np.ndarray
    """Rate of a device alone in its cell, lost blocks sent again; 0 is outage. `down_bps` is
    alike."""
    down_bps: np.ndarray
    cell: np.ndarray
    slowdown: np.ndarray
    """Seconds that a second of computing takes."""
    heat_N: np.ndarray
    present_N: np.ndarray
    stored_j_N: np.ndarray
    phase_2N: np.ndarray
    shadow_N: np.ndarray

    def __init__(
        self,
        devices: Mapping[DeviceId, Device],
        setting: Setting,
        seed: int,
        families: Mapping[str, str] | None = None,
    ) -> None:
        """`families` says which family a kind is of, for battery and heat; by default the catalogue
        does."""
        self.setting = setting
        self._seed = seed
        self._index = {device: row for row, device in enumerate(devices)}
        self._take_facts(list(devices.values()), families or _catalogue_families())
        self.steps = 0
        self.elapsed_s = 0.0
        self._drawn = np.empty(2 * BLOCK, np.float32)
        self._fades_db = np.concatenate(
            [
                fading_quantiles_db(setting.scene.clear.rician_db),
                fading_quantiles_db(setting.scene.blocked.rician_db),
            ]
        )
        self._begin(stream(seed, "surroundings"))
        rng = self._rng()
        for rows in _blocks(len(self._index)):
            self._renew(rows, rng, 0.0)

    @property
    def cells(self) -> int:
        """How many cells the fleet fills."""
        return -(-len(self._index) // self.setting.devices_per_cell)

    @property
    def battery_share(self) -> np.ndarray:
        """What batteries hold, [N]; 1 on mains."""
        return np.where(self._mains_N, 1.0, self.stored_j_N / self._capacity_j_N)

    @property
    def reachable(self) -> np.ndarray:
        """Who would take a call, [N]: is there, has battery enough, and is in coverage."""
        return np.asarray(self.present_N & (self.stored_j_N >= self._stop_j_N) & (self.up_bps > 0))

    def shares(self) -> np.ndarray:
        """Share of its cell's band that each device has if all that are reachable take equal parts,
        [N]."""
        return equal_shares(self.cell, self.reachable, self.cells)

    def durations(self, load: Load) -> tuple[np.ndarray, np.ndarray]:
        """Seconds that each device computes and sends, [N] each, if all that are reachable do this
        in equal shares."""
        shares = self.shares()
        computing_s, sending_s = np.empty((2, len(shares)), np.float32)
        for rows in _blocks(len(shares)):
            active_B = shares[rows] > 0
            computing_s[rows] = self._computing_s(rows, load) * active_B
            rate_bps_B = self.up_bps[rows] * shares[rows]
            sending_s[rows] = (
                BITS_PER_BYTE * load.up_bytes / np.where(active_B, rate_bps_B, np.float32(np.inf))
            )
        return computing_s, sending_s

    def _computing_s(self, rows: slice, load: Load) -> np.ndarray:
        speed_B = self._speed_flops_per_s_N[rows]
        memory_B = self._memory_bytes_per_s_N[rows]
        alone_B = compute_s(load.flops, load.moved_bytes, speed_B, memory_B)
        return np.asarray(alone_B * self.slowdown[rows])

    def step(
        self, duration_s: float, busy_s: ArrayLike = 0.0, transmit_s: ArrayLike = 0.0
    ) -> EnergySpent:
        """A round of `duration_s` passes, in which devices computed and sent so long; then what the
        next one finds.

        The energy is that of `cost.energy.energy_j`, less what an empty battery could not give.
        Whoever is away idles too.
        """
        began_s = self.elapsed_s
        duration_s = float(duration_s)
        self.elapsed_s += duration_s
        self.steps += 1
        rng = self._rng()
        count = len(self._index)
        busy_N = np.broadcast_to(busy_s, count)
        transmit_N = np.broadcast_to(transmit_s, count)
        energy = EnergySpent(*np.empty((4, count)))
        for rows in _blocks(count):
            leaving_B, charging_B = self._draw(rng.random, 2, rows)
            did = _Did(busy_s_B=busy_N[rows], transmit_s_B=transmit_N[rows], charging_B=charging_B)
            self._spend(rows, energy, duration_s, did)
            self._warm(rows, busy_N[rows], duration_s)
            self._come_and_go(rows, leaving_B, began_s, duration_s)
            self._renew(rows, rng, duration_s)
        return energy

    def _come_and_go(
        self, rows: slice, leaving_B: np.ndarray, began_s: float, duration_s: float
    ) -> None:
        present_B = self.present_N[rows]
        self.present_N[rows] = self.setting.churn.after(present_B, leaving_B, began_s, duration_s)

    def _warm(self, rows: slice, busy_s_B: np.ndarray, duration_s: float) -> None:
        per_second = np.float32(1 / max(duration_s, 1e-9))
        busy_share = np.minimum(busy_s_B * per_second, np.float32(1))
        self.heat_N[rows] = self.setting.throttle.heat(self.heat_N[rows], busy_share, duration_s)

    def rows(self, ids: Iterable[DeviceId]) -> np.ndarray:
        """Where these devices are in the arrays."""
        return np.array([self._index[device] for device in ids], np.int64)

    def channels(self, ids: Iterable[DeviceId]) -> dict[DeviceId, Channel]:
        """What these devices find this round, for `Conditions`. A rate of 0 is outage."""
        chosen = list(ids)
        rows = self.rows(chosen)
        columns = [getattr(self, name)[rows].tolist() for name in _OF_CHANNEL]
        found = {}
        for device, *values in zip(chosen, *columns, strict=True):
            found[device] = Channel(**dict(zip(_OF_CHANNEL, values, strict=True)))
        return found

    def snapshot(self) -> Arrays:
        """Everything that changes, by name."""
        kept = {name: np.array(getattr(self, name)) for name in KEPT}
        kept["steps"] = np.array(self.steps, np.int64)
        kept["elapsed_s"] = np.array(self.elapsed_s, np.float64)
        return kept

    def restore(self, kept: Arrays) -> None:
        """Go on from a snapshot; the next draws are those that would have come."""
        for name in KEPT:
            setattr(self, name, np.array(kept[name]))
        self.steps = int(kept["steps"])
        self.elapsed_s = float(kept["elapsed_s"])

    # --- how it is done ---------------------------------------------------------------------------

    def _take_facts(self, devices: Sequence[Device], families: Mapping[str, str]) -> None:
        """Facts of the devices as columns."""
        family_N = [families.get(device.kind, "") for device in devices]
        self._sustained_N = np.array([sustained_share(family) for family in family_N], np.float32)
        self._take_batteries(family_N)
        self._speed_flops_per_s_N = np.array([device.speed_flops_per_s for device in devices])
        self._memory_bytes_per_s_N = np.array([device.memory_bytes_per_s for device in devices])
        self._idle_w_N = np.array([device.idle_w for device in devices])
        self._busy_w_N = np.array([device.busy_w for device in devices])
        self._transmit_w_N = np.array([device.link.transmit_w for device in devices])

    def _take_batteries(self, family_N: Sequence[str]) -> None:
        self._capacity_j_N = np.array([battery.capacity_j(family) for family in family_N])
        self._mains_N = ~np.isfinite(self._capacity_j_N)
        stop_j_N = self.setting.stop_share * self._capacity_j_N
        self._stop_j_N = np.where(self._mains_N, 0.0, stop_j_N)

    def _begin(self, rng: np.random.Generator) -> None:
        """Where and how everyone starts."""
        count = len(self._index)
        self.cell = rng.integers(0, self.cells, count)
        self._place(rng, count)
        self.shadow_N = rng.standard_normal(count, np.float32)
        self.sight_N = rng.random(count, np.float32)
        self.heat_N = np.zeros(count, np.float32)
        self.present_N = rng.random(count) < self.setting.churn.present_share
        self._charge(rng, count)
        self.up_bps = np.zeros(count, np.float32)
        self.down_bps = np.zeros(count, np.float32)
        self.slowdown = np.zeros(count, np.float32)

    def _place(self, rng: np.random.Generator, count: int) -> None:
        around_m = np.float32(4 * self.setting.reach_m)
        self.phase_2N = rng.random((2, count), np.float32) * around_m
        self._velocity_2N = rng.standard_normal((2, count), np.float32)
        self._velocity_2N *= np.float32(self.setting.speed_m_per_s / np.sqrt(np.pi / 2))
        self._speed_N = np.hypot(*self._velocity_2N)

    def _charge(self, rng: np.random.Generator, count: int) -> None:
        full_N = rng.uniform(self.setting.stop_share, 1.0, count)
        capacity_j_N = np.where(self._mains_N, 0.0, self._capacity_j_N)
        self.stored_j_N = np.where(self._mains_N, 0.0, full_N * capacity_j_N)

    def _rng(self) -> np.random.Generator:
        """The generator of this step; SFC64 is the fastest for float32."""
        key = stream(self._seed, "surroundings", self.steps).integers(0, 2**32, 4)
        return np.random.Generator(np.random.SFC64(key.tolist()))

    def _draw(self, of: Callable[..., np.ndarray], rows_of_them: int, rows: slice) -> np.ndarray:
        """Numbers for a block, [rows_of_them, B], in memory that every block uses again."""
        count = rows.stop - rows.start
        return of(
            dtype=np.float32, out=self._drawn[: rows_of_them * count].reshape(rows_of_them, count)
        )

    def _spend(self, rows: slice, energy: EnergySpent, duration_s: float, did: "_Did") -> None:
        """What a block's devices used for what they did; an empty battery gives each part the same
        share of it."""
        idle_j = self._idle_w_N[rows] * np.maximum(duration_s - did.busy_s_B, 0.0)
        computing_j = self._busy_w_N[rows] * did.busy_s_B
        sending_j = self._transmit_w_N[rows] * did.transmit_s_B
        asked_j = idle_j + computing_j + sending_j
        flow = self._flow(rows, asked_j, did.charging_B, duration_s)
        energy.taken_j[rows] = flow.taken_j
        given = _given_share(flow, asked_j)
        np.multiply(idle_j, given, out=energy.idle_j[rows])
        np.multiply(computing_j, given, out=energy.computing_j[rows])
        np.multiply(sending_j, given, out=energy.sending_j[rows])

    def _flow(
        self, rows: slice, asked_j: np.ndarray, charging_B: np.ndarray, duration_s: float
    ) -> battery.Flow:
        """Through a block's batteries, which hold what is left."""
        charges = charging_B < self.setting.charging_share
        offered_j = charges * (self.setting.charge_w * duration_s)
        flow = battery.flow(self.stored_j_N[rows], self._capacity_j_N[rows], asked_j, offered_j)
        self.stored_j_N[rows] = flow.left_j
        return flow

    def _renew(self, rows: slice, rng: np.random.Generator, duration_s: float) -> None:
        """What a block's devices find in the next round."""
        setting = self.setting
        drawn_B = self._draw(rng.random, 1, rows)[0]
        quantile_B = (drawn_B * QUANTILES).astype(np.int32)
        shadowing_B, slowing_B = self._draw(rng.standard_normal, 2, rows)
        up_db, down_db = self._snr_db(rows, duration_s, quantile_B, shadowing_B)
        self.up_bps[rows] = solo_bps(setting.bandwidth_hz, setting.law.bps_per_hz(up_db))
        self.down_bps[rows] = solo_bps(setting.bandwidth_hz, setting.law.bps_per_hz(down_db))
        self.slowdown[rows] = setting.throttle.slowdown(
            self.heat_N[rows], self._sustained_N[rows], slowing_B
        )

    def _snr_db(
        self, rows: slice, duration_s: float, quantile_B: np.ndarray, normal_B: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Signal-to-noise ratios of a block after it moved, at the station and at the devices."""
        setting = self.setting
        distance_m = self._moved_m(rows, duration_s)
        clear = self.sight_N[rows] < clear_share(setting.scene, distance_m)
        self._shade(rows, clear, duration_s, normal_B)
        if setting.preset is not None:
            law = setting.law if isinstance(setting.law, Cqi) else CQI_1
            level_db = setting.preset.snr_db(law, self.shadow_N[rows])
            return level_db, level_db
        quantile_B += np.where(clear, np.int32(0), np.int32(QUANTILES))
        gain_db = self._fades_db[quantile_B] - self._loss_db(rows, distance_m, clear)
        return gain_db + setting.up_db, gain_db + setting.down_db

    def _loss_db(self, rows: slice, distance_m: np.ndarray, clear: np.ndarray) -> np.ndarray:
        """Path loss and shadowing of a block."""
        scene = self.setting.scene
        clear_db, blocked_db = losses_db(scene, distance_m, self.setting.carrier_hz)
        loss_db = np.where(clear, clear_db, blocked_db)
        shadow_db = np.where(
            clear, np.float32(scene.clear.shadow_db), np.float32(scene.blocked.shadow_db)
        )
        loss_db += shadow_db * self.shadow_N[rows]
        return loss_db

    def _moved_m(self, rows: slice, duration_s: float) -> np.ndarray:
        """Distance from the station after a walk in a square that reflects at its sides.

        A coordinate is the triangle wave |phase - 2R| - R of a phase that runs on; so nobody's
        direction is state.
        """
        reach_m = self.setting.reach_m
        around_m = 4 * reach_m
        phase_2B = self.phase_2N[:, rows]
        phase_2B += self._velocity_2N[:, rows] * duration_s
        phase_2B -= around_m * np.floor(phase_2B * (1 / around_m))
        place_2B = np.abs(phase_2B - 2 * reach_m) - reach_m
        place_2B *= place_2B
        return np.asarray(np.sqrt(place_2B[0] + place_2B[1]))

    def _shade(
        self, rows: slice, clear: np.ndarray, duration_s: float, normal_B: np.ndarray
    ) -> None:
        """Shadowing moves on by the way that each device went: see `radio.shadow`."""
        scene = self.setting.scene
        rate = np.where(
            clear, np.float32(-1 / scene.clear.shadow_m), np.float32(-1 / scene.blocked.shadow_m)
        )
        kept = np.exp(rate * (self._speed_N[rows] * duration_s))
        self.shadow_N[rows] *= kept
        self.shadow_N[rows] += np.sqrt(1 - kept * kept) * normal_B


_OF_CHANNEL = ("up_bps", "down_bps", "cell", "slowdown", "battery_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Did:
    """How long a block's devices computed and sent, and the draw that says whether each was on its
    charger."""

    busy_s_B: np.ndarray
    transmit_s_B: np.ndarray
    charging_B: np.ndarray


def _given_share(flow: battery.Flow, asked_j: np.ndarray) -> np.ndarray | float:
    """What batteries gave of what was asked of them."""
    if (flow.drawn_j == asked_j).all():
        return 1.0
    return np.asarray(flow.drawn_j / np.maximum(asked_j, 1e-300))


def _catalogue_families() -> dict[str, str]:
    return {row.kind: row.family for row in entries().values()}


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, BLOCK):
        yield slice(start, min(start + BLOCK, count))
