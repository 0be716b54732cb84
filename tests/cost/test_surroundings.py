"""A fleet's surroundings: same seed, same bits; energy that adds up; spreads that stay."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilfleet.core.chance import stream
from distilfleet.core.types import Load
from distilfleet.cost.catalogue import device, trainable_kinds
from distilfleet.cost.churn import ALWAYS, Churn
from distilfleet.cost.energy import energy_j
from distilfleet.cost.pathloss import UMI, clear_share, losses_db
from distilfleet.cost.presets import PRESETS
from distilfleet.cost.radio import ATTENUATED, CQI_1, outage_share
from distilfleet.cost.surroundings import BLOCK, KEPT, Setting, Surroundings

KINDS = trainable_kinds()
QUIET = Setting(churn=ALWAYS)


def fleet(count, kinds=KINDS):
    of_kind = {kind: device(kind, kind) for kind in kinds}
    return {f"d{i}": replace(of_kind[kinds[i % len(kinds)]], id=f"d{i}") for i in range(count)}


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_same_seed_same_bits_and_another_seed_others():
    worlds = [Surroundings(fleet(300), Setting(), seed) for seed in (1, 1, 2)]
    for world in worlds:
        for _ in range(3):
            world.step(10.0, 2.0, 1.0)
    same(worlds[0].snapshot(), worlds[1].snapshot())
    assert (worlds[0].up_bps != worlds[2].up_bps).any()


def test_stop_restore_and_go_on_equals_never_having_stopped():
    through, stopped = (Surroundings(fleet(200), Setting(), 5) for _ in range(2))
    for world in (through, stopped):
        world.step(20.0, 4.0)
    again = Surroundings(fleet(200), Setting(), 5)
    again.restore(stopped.snapshot())
    for world in (through, again):
        world.step(7.0, 3.0, 0.5)
        world.step(8.0)
    same(through.snapshot(), again.snapshot())
    assert through.channels(["d3", "d150"]) == again.channels(["d3", "d150"])


def test_the_snapshot_is_plain_arrays_that_nobody_else_writes():
    world = Surroundings(fleet(10), Setting(), 1)
    other = Surroundings(fleet(10), Setting(), 2)
    other.restore(world.snapshot())
    kept = world.snapshot()
    shadow = kept["shadow_N"].copy()
    world.step(10.0)
    np.testing.assert_array_equal(kept["shadow_N"], shadow)
    assert other.steps == 0
    assert all(
        isinstance(array, np.ndarray) and array.dtype.kind in "fib"
        for array in world.snapshot().values()
    )
    assert (other.phase_2N != world.phase_2N).any()
    assert set(KEPT) < set(world.snapshot())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1000),
    st.lists(
        st.tuples(st.floats(1, 5000), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6
    ),
)
def test_energy_is_conserved(seed, rounds):
    devices = fleet(24)
    world = Surroundings(devices, Setting(charge_w=3.0), seed)
    idle_w, busy_w = (
        np.array([getattr(d, name) for d in devices.values()]) for name in ("idle_w", "busy_w")
    )
    transmit_w = np.array([d.link.transmit_w for d in devices.values()])
    battery = np.array([d.kind.startswith("phone") for d in devices.values()])
    began_j, drawn_j, taken_j = world.stored_j_N.copy(), np.zeros(24), np.zeros(24)
    for duration_s, busy_share, sending_share in rounds:
        busy_s, transmit_s = duration_s * busy_share, duration_s * sending_share
        spent = world.step(duration_s, busy_s, transmit_s)
        asked_j = energy_j(duration_s, busy_s, transmit_s, idle_w, busy_w, transmit_w)
        enough = ~battery | (world.stored_j_N > 0)
        np.testing.assert_allclose(spent.total_j[enough], asked_j[enough], rtol=1e-9)
        assert (spent.total_j <= asked_j * (1 + 1e-9)).all()
        drawn_j, taken_j = drawn_j + spent.total_j, taken_j + spent.taken_j
    change_j = world.stored_j_N - began_j
    np.testing.assert_allclose(
        change_j[battery], (taken_j - drawn_j)[battery], rtol=1e-9, atol=1e-6
    )
    assert (change_j[~battery] == 0).all() and (taken_j[~battery] == 0).all()
    assert (world.battery_share >= 0).all() and (world.battery_share <= 1).all()


def test_an_idle_a_computing_and_a_sending_device_differ():
    devices = fleet(3, ("rpi-5",))
    spent = Surroundings(devices, QUIET, 1).step(
        10.0, np.array([0.0, 5.0, 0.0]), np.array([0.0, 0.0, 5.0])
    )
    np.testing.assert_allclose(spent.total_j, [31.0, 31.0 + 5 * 9.6, 31.0 + 5 * 0.8])
    np.testing.assert_allclose(spent.sending_j, [0, 0, 4.0])


def test_an_empty_battery_takes_a_device_out_until_it_is_charged():
    world = Surroundings(fleet(40, ("phone-mid",)), replace(QUIET, charging_share=0.0), 1)
    world.step(200_000.0)
    assert world.battery_share.max() < 0.01 and not world.reachable.any()
    world.setting = replace(QUIET, charging_share=1.0)
    world.step(4_000.0)
    assert (world.battery_share > 0.3).all()
    assert all(channel.battery_share > 0.3 for channel in world.channels(["d0", "d39"]).values())


def test_spreads_stay_over_many_rounds_and_blocks():
    world = Surroundings(fleet(BLOCK + 4000), replace(QUIET, devices_per_cell=500), 3)
    for _ in range(30):
        world.step(15.0)
    assert world.shadow_N.std() == pytest.approx(
        1, abs=0.02
    ) and world.shadow_N.mean() == pytest.approx(0, abs=0.02)
    quarter = world.phase_2N / (4 * world.setting.reach_m)
    assert (
        quarter.min() >= 0 and quarter.max() <= 1 and quarter.mean() == pytest.approx(0.5, abs=0.01)
    )
    assert np.median(world.slowdown) == pytest.approx(1, abs=0.02)
    assert len(np.unique(world.cell)) == world.cells == -(-(BLOCK + 4000) // 500)
    assert world.reachable.mean() > 0.8


def test_who_stands_still_keeps_place_and_shadow():
    world = Surroundings(fleet(50), replace(QUIET, speed_m_per_s=0.0), 1)
    before = world.snapshot()
    world.step(100.0)
    np.testing.assert_array_equal(world.snapshot()["shadow_N"], before["shadow_N"])
    np.testing.assert_array_equal(world.snapshot()["phase_2N"], before["phase_2N"])


def test_a_round_without_time_changes_no_state_but_the_fading():
    world = Surroundings(fleet(50), Setting(), 1)
    before = world.snapshot()
    assert world.step(0.0).total_j.sum() == 0
    for name in ("phase_2N", "shadow_N", "heat_N", "present_N", "stored_j_N"):
        np.testing.assert_array_equal(world.snapshot()[name], before[name])


def test_a_clock_of_numpys_gives_the_same_bits():
    plain, numpys = (Surroundings(fleet(50), Setting(), 1) for _ in range(2))
    plain.step(12.3)
    numpys.step(np.float64(12.3))
    same(plain.snapshot(), numpys.snapshot())


def test_devices_that_leave_come_back():
    world = Surroundings(
        fleet(2000), Setting(churn=Churn(leave_hz=1 / 100, return_hz=1 / 100, day_share=0.0)), 1
    )
    there = []
    for _ in range(20):
        world.step(50.0)
        there.append(world.present_N.mean())
    assert np.mean(there) == pytest.approx(0.5, abs=0.03)


def test_channels_are_those_of_the_arrays():
    world = Surroundings(fleet(30), Setting(), 1)
    channel = world.channels(["d7"])["d7"]
    assert (channel.up_bps, channel.cell) == (world.up_bps[7], world.cell[7])
    assert channel.slowdown == world.slowdown[7] and channel.battery_share == world.battery_share[7]
    assert world.channels([]) == {}


def test_stronger_stations_make_downlinks_no_slower():
    world = Surroundings(fleet(500), Setting(), 1)
    assert (world.down_bps >= world.up_bps).all() and world.down_bps.mean() > world.up_bps.mean()


def test_those_in_coverage_share_and_the_rest_has_nothing():
    world = Surroundings(fleet(400), Setting(), 1)
    busy_s, transmit_s = world.durations(Load(flops=1e11, moved_bytes=1e9, up_bytes=10**5))
    assert (busy_s[~world.reachable] == 0).all() and (transmit_s[~world.reachable] == 0).all()
    assert (busy_s[world.reachable] > 0).all() and (transmit_s[world.reachable] > 0).all()
    crowded = Surroundings(fleet(400), Setting(devices_per_cell=400), 1)
    crowded_s = crowded.durations(Load(up_bytes=10**5))[1]
    assert crowded_s.sum() > 2 * transmit_s.sum()


def test_the_chain_is_that_of_the_formulas_one_device_at_a_time():
    """From place to rate in plain float64, on the same draws."""
    world, seed, count = Surroundings(fleet(200), QUIET, 9), 9, 200
    key = stream(seed, "surroundings", 0).integers(0, 2**32, 4).tolist()
    rng = np.random.Generator(np.random.SFC64(key))
    uniform, normals = (
        rng.random(count, np.float32),
        rng.standard_normal((2, count), np.float32).astype(float),
    )
    shadow = world.shadow_N.astype(float)
    below = [
        outage_share(np.linspace(-60, 15, 150_001), np.array(0.0), factor) for factor in (None, 9.0)
    ]
    differing = 0
    for i in range(count):
        x_m, y_m = (abs(float(phase) - 200.0) - 100.0 for phase in world.phase_2N[:, i])
        away_m = np.array([np.hypot(x_m, y_m)])
        clear = world.sight_N[i] < clear_share(UMI, away_m)[0]
        loss_db = (
            losses_db(UMI, away_m, 3.5e9)[0 if clear else 1][0]
            + (4.0 if clear else 7.82) * shadow[i]
        )
        power_db = -60 + 75 * np.searchsorted(below[bool(clear)], uniform[i]) / 150_000
        snr_db = 23 - loss_db + power_db + 174 - 10 * np.log10(20e6) - 5 - 3
        index = np.searchsorted(CQI_1.thresholds_db, snr_db, side="right")
        rate_bps = 0.75 / 1.111 * 20e6 * ([0.0, *CQI_1.efficiencies][index])
        differing += world.up_bps[i] != pytest.approx(rate_bps, rel=1e-5)
        assert world.slowdown[i] == pytest.approx(np.exp(0.15 * normals[1, i]), rel=1e-5)
    assert differing <= 0.02 * count, "the grid of 0.1 dB may differ at a threshold, nowhere else"


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_holds_its_band(preset):
    world = Surroundings(fleet(3000), replace(QUIET, preset=preset), 1)
    seen = set()
    for _ in range(5):
        world.step(60.0)
        rates = world.up_bps / (0.75 / 1.111 * world.setting.bandwidth_hz)
        seen |= {
            int(np.argmin(np.abs(np.array(CQI_1.efficiencies) - rate))) + 1
            for rate in np.unique(rates)
        }
    assert seen == set(range(preset.lowest_cqi, preset.highest_cqi + 1))
    np.testing.assert_array_equal(world.up_bps, world.down_bps)


def test_presets_are_in_order():
    good, normal, poor = (PRESETS[name] for name in ("good", "normal", "poor"))
    means = [preset.mean_bps_per_hz(CQI_1) for preset in (good, normal, poor)]
    assert means == sorted(means, reverse=True)
    assert (good.exponent, normal.exponent, poor.exponent) == (2, 4, 6)
    world = Surroundings(fleet(100), replace(QUIET, scene=poor.scene), 1)
    assert (world.up_bps == 0).mean() > 0.9


def test_another_rate_law_takes_the_tables_place():
    world = Surroundings(fleet(200), replace(QUIET, law=ATTENUATED), 1)
    assert (world.up_bps > 0).all() and len(np.unique(world.up_bps)) > 150
