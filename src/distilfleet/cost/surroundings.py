"""What a fleet finds around it, round after round: places, radio, cells, heat, batteries, who is there.

One step takes the whole fleet from one round to the next; one draw of fading stands for the round. Every draw depends
on the seed and the number of the step alone, so state is arrays and two numbers. Devices are worked on in blocks that
stay in a core's cache, in float32; the energy is in float64, as it must add up.

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
"""Small enough for a core's cache, large enough to hide the cost of a call: 8,192 and 50,000 take a tenth more."""
KEPT = ("phase_2N", "shadow_N", "heat_N", "present_N", "stored_j_N", "up_bps", "down_bps", "slowdown")
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
    """Distance of a station from the sides of its square: stations 200 m apart, TR 38.901 table 7.2-1, UMi."""
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
class Spent:
    """Energy of a period, [N] each, in joules. A battery holds `taken_j` - `total_j` more afterwards."""

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
    """The state of a fleet's surroundings. Its arrays, [N] each, are to be read, not written, from outside.

    For the devices that share cells; leave out those on a wire of their own.
    """

    up_bps: np.ndarray
    """Rate of a device alone in its cell, lost blocks sent again; 0 is outage. `down_bps` is alike."""
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
        """`families` says which family a kind is of, for battery and heat; by default the catalogue does."""
        self.setting, self._seed = setting, seed
        self._index = {device: i for i, device in enumerate(devices)}
        self._settle_devices(list(devices.values()), families or {row.kind: row.family for row in entries().values()})
        self.steps, self.elapsed_s = 0, 0.0
        self._drawn = np.empty(2 * BLOCK, np.float32)
        sights = (setting.scene.clear, setting.scene.blocked)
        self._fades_db = np.concatenate([fading_quantiles_db(sight.rician_db) for sight in sights])
        self._begin(stream(seed, "surroundings"))
        rng = self._rng()
        for rows in _blocks(len(self._index)):
            self._renew(rows, rng, 0.0)

    @property
    def cells(self) -> int:
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
        """Of its cell's band, if all that are reachable take equal parts, [N]."""
        return equal_shares(self.cell, self.reachable, self.cells)

    def durations(self, load: Load) -> tuple[np.ndarray, np.ndarray]:
        """Seconds that each device computes and sends, [N] each, if all that are reachable do this in equal shares."""
        shares, up_bits = self.shares(), BITS_PER_BYTE * load.up_bytes
        computing_s, sending_s = np.empty((2, len(shares)), np.float32)
        for rows in _blocks(len(shares)):
            speed, memory = self._speed_flops_per_s_N[rows], self._memory_bytes_per_s_N[rows]
            active = shares[rows] > 0
            computing_s[rows] = compute_s(load.flops, load.moved_bytes, speed, memory) * self.slowdown[rows] * active
            sending_s[rows] = up_bits / np.where(active, self.up_bps[rows] * shares[rows], np.float32(np.inf))
        return computing_s, sending_s

    def step(self, duration_s: float, busy_s: ArrayLike = 0.0, transmit_s: ArrayLike = 0.0) -> Spent:
        """A round of `duration_s` passes, in which devices computed and sent so long; then what the next one finds.

        The energy is that of `cost.energy.energy_j`, less what an empty battery could not give. Whoever is away idles
        too.
        """
        duration_s = float(duration_s)
        at_s, self.elapsed_s, self.steps = self.elapsed_s, self.elapsed_s + duration_s, self.steps + 1
        rng, count = self._rng(), len(self._index)
        busy_N, transmit_N = np.broadcast_to(busy_s, count), np.broadcast_to(transmit_s, count)
        spent = Spent(*np.empty((4, count)))
        for rows in _blocks(count):
            leaving_B, charging_B = self._draw(rng.random, 2, rows)
            self._spend(rows, spent, duration_s, (busy_N[rows], transmit_N[rows], charging_B))
            busy_share = np.minimum(busy_N[rows] * np.float32(1 / max(duration_s, 1e-9)), np.float32(1))
            self.heat_N[rows] = self.setting.throttle.heat(self.heat_N[rows], busy_share, duration_s)
            self.present_N[rows] = self.setting.churn.after(self.present_N[rows], leaving_B, at_s, duration_s)
            self._renew(rows, rng, duration_s)
        return spent

    def rows(self, ids: Iterable[DeviceId]) -> np.ndarray:
        """Where these devices are in the arrays."""
        return np.array([self._index[device] for device in ids], np.int64)

    def channels(self, ids: Iterable[DeviceId]) -> dict[DeviceId, Channel]:
        """What these devices find this round, for `Conditions`. A rate of 0 is outage."""
        chosen = list(ids)
        rows = self.rows(chosen)
        columns = (self.up_bps, self.down_bps, self.cell, self.slowdown, self.battery_share)
        return {
            device: Channel(up_bps=up, down_bps=down, cell=cell, slowdown=slow, battery_share=left)
            for device, up, down, cell, slow, left in zip(
                chosen, *(column[rows].tolist() for column in columns), strict=True
            )
        }

    def snapshot(self) -> Arrays:
        """Everything that changes, by name."""
        clock = {"steps": np.int64(self.steps), "elapsed_s": np.float64(self.elapsed_s)}
        arrays = {name: np.array(getattr(self, name)) for name in KEPT}
        return {**arrays, **{name: np.asarray(value) for name, value in clock.items()}}

    def restore(self, kept: Arrays) -> None:
        for name in KEPT:
            setattr(self, name, np.array(kept[name]))
        self.steps, self.elapsed_s = int(kept["steps"]), float(kept["elapsed_s"])

    # --- how it is done -----------------------------------------------------------------------------------------

    def _settle_devices(self, devices: Sequence[Device], families: Mapping[str, str]) -> None:
        """Facts of the devices as columns."""
        of_kind = {device.kind: families.get(device.kind, "") for device in devices}
        capacity = {kind: battery.capacity_j(family) for kind, family in of_kind.items()}
        sustained = {kind: sustained_share(family) for kind, family in of_kind.items()}
        self._capacity_j_N = np.array([capacity[device.kind] for device in devices])
        self._mains_N = ~np.isfinite(self._capacity_j_N)
        self._stop_j_N = np.where(self._mains_N, 0.0, self.setting.stop_share * self._capacity_j_N)
        self._sustained_N = np.array([sustained[device.kind] for device in devices], np.float32)
        self._speed_flops_per_s_N = np.array([device.speed_flops_per_s for device in devices])
        self._memory_bytes_per_s_N = np.array([device.memory_bytes_per_s for device in devices])
        self._idle_w_N = np.array([device.idle_w for device in devices])
        self._busy_w_N = np.array([device.busy_w for device in devices])
        self._transmit_w_N = np.array([device.link.transmit_w for device in devices])

    def _begin(self, rng: np.random.Generator) -> None:
        """Where and how everyone starts."""
        count = len(self._index)
        self.cell = rng.integers(0, self.cells, count)
        self.phase_2N = rng.random((2, count), np.float32) * np.float32(4 * self.setting.reach_m)
        self._velocity_2N = rng.standard_normal((2, count), np.float32)
        self._velocity_2N *= np.float32(self.setting.speed_m_per_s / np.sqrt(np.pi / 2))
        self._speed_N = np.hypot(*self._velocity_2N)
        self.shadow_N = rng.standard_normal(count, np.float32)
        self.sight_N = rng.random(count, np.float32)
        self.heat_N = np.zeros(count, np.float32)
        self.present_N = rng.random(count) < self.setting.churn.present_share
        full_N = rng.uniform(self.setting.stop_share, 1.0, count)
        self.stored_j_N = np.where(self._mains_N, 0.0, full_N * np.where(self._mains_N, 0.0, self._capacity_j_N))
        self.up_bps, self.down_bps, self.slowdown = (np.zeros(count, np.float32) for _ in range(3))

    def _rng(self) -> np.random.Generator:
        """Of this step; SFC64 is the fastest for float32."""
        key = stream(self._seed, "surroundings", self.steps).integers(0, 2**32, 4)
        return np.random.Generator(np.random.SFC64(key.tolist()))

    def _draw(self, of: Callable[..., np.ndarray], rows_of_them: int, rows: slice) -> np.ndarray:
        """Numbers for a block, [rows_of_them, B], in memory that every block uses again."""
        count = rows.stop - rows.start
        return of(dtype=np.float32, out=self._drawn[: rows_of_them * count].reshape(rows_of_them, count))

    def _spend(
        self, rows: slice, spent: Spent, duration_s: float, did: tuple[np.ndarray, np.ndarray, np.ndarray]
    ) -> None:
        """What a block's devices used, by what each did: computed and sent for so long, and chance of a charger."""
        busy_s, transmit_s, charging_B = did
        parts_j = [
            self._idle_w_N[rows] * np.maximum(duration_s - busy_s, 0.0),
            self._busy_w_N[rows] * busy_s,
            self._transmit_w_N[rows] * transmit_s,
        ]
        asked_j = parts_j[0] + parts_j[1] + parts_j[2]
        offered_j = (charging_B < self.setting.charging_share) * (self.setting.charge_w * duration_s)
        flow = battery.flow(self.stored_j_N[rows], self._capacity_j_N[rows], asked_j, offered_j)
        self.stored_j_N[rows], spent.taken_j[rows] = flow.left_j, flow.taken_j
        given = 1.0 if (flow.drawn_j == asked_j).all() else flow.drawn_j / np.maximum(asked_j, 1e-300)
        for kept_j, part_j in zip((spent.idle_j, spent.computing_j, spent.sending_j), parts_j, strict=True):
            np.multiply(part_j, given, out=kept_j[rows])

    def _renew(self, rows: slice, rng: np.random.Generator, duration_s: float) -> None:
        """What a block's devices find in the next round."""
        quantile_B = (self._draw(rng.random, 1, rows)[0] * QUANTILES).astype(np.int32)
        normals_2B = self._draw(rng.standard_normal, 2, rows)
        up_db, down_db = self._snr_db(rows, duration_s, quantile_B, normals_2B[0])
        law, band_hz = self.setting.law, self.setting.bandwidth_hz
        self.up_bps[rows] = solo_bps(band_hz, law.bps_per_hz(up_db))
        self.down_bps[rows] = solo_bps(band_hz, law.bps_per_hz(down_db))
        self.slowdown[rows] = self.setting.throttle.slowdown(self.heat_N[rows], self._sustained_N[rows], normals_2B[1])

    def _snr_db(
        self, rows: slice, duration_s: float, quantile_B: np.ndarray, normal_B: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of a block after it moved, at the station and at the devices."""
        setting = self.setting
        distance_m = self._moved_m(rows, duration_s)
        clear = self.sight_N[rows] < clear_share(setting.scene, distance_m)
        self._shade(rows, clear, duration_s, normal_B)
        if setting.preset is not None:
            law = setting.law if isinstance(setting.law, Cqi) else CQI_1
            level_db = setting.preset.snr_db(law, self.shadow_N[rows])
            return level_db, level_db
        seen, unseen = setting.scene.clear, setting.scene.blocked
        clear_db, blocked_db = losses_db(setting.scene, distance_m, setting.carrier_hz)
        loss_db = np.where(clear, clear_db, blocked_db)
        loss_db += np.where(clear, np.float32(seen.shadow_db), np.float32(unseen.shadow_db)) * self.shadow_N[rows]
        quantile_B += np.where(clear, np.int32(0), np.int32(QUANTILES))
        gain_db = self._fades_db[quantile_B] - loss_db
        return gain_db + setting.up_db, gain_db + setting.down_db

    def _moved_m(self, rows: slice, duration_s: float) -> np.ndarray:
        """Distance from the station after a walk in a square that reflects at its sides.

        A coordinate is the triangle wave |phase - 2R| - R of a phase that runs on; so nobody's direction is state.
        """
        reach_m = self.setting.reach_m
        phase_2B = self.phase_2N[:, rows]
        phase_2B += self._velocity_2N[:, rows] * duration_s
        phase_2B -= (4 * reach_m) * np.floor(phase_2B * (1 / (4 * reach_m)))
        place_2B = np.abs(phase_2B - 2 * reach_m) - reach_m
        place_2B *= place_2B
        return np.asarray(np.sqrt(place_2B[0] + place_2B[1]))

    def _shade(self, rows: slice, clear: np.ndarray, duration_s: float, normal_B: np.ndarray) -> None:
        """Shadowing moves on by the way that each device went: see `radio.shadow`."""
        scene = self.setting.scene
        rate = np.where(clear, np.float32(-1 / scene.clear.shadow_m), np.float32(-1 / scene.blocked.shadow_m))
        kept = np.exp(rate * (self._speed_N[rows] * duration_s))
        self.shadow_N[rows] *= kept
        self.shadow_N[rows] += np.sqrt(1 - kept * kept) * normal_B


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, BLOCK):
        yield slice(start, min(start + BLOCK, count))
