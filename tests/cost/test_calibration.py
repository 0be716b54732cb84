"""Calibration: a planted board is found again, a row says what was measured, meters read recorded
files."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilfleet.core.errors import ConfigError
from distilfleet.cost.calibration import (
    Board,
    Fit,
    Trial,
    copy_trial,
    fit,
    gemm_trials,
    nearest,
    row,
    timed_s,
)
from distilfleet.cost.catalogue import SOURCE_OF, as_csv, device, entries, entry, read
from distilfleet.cost.meters import battery_share, find, mean_w

DAY = "2026-02-03"
SIZES = (64, 256, 1024)
PI = Fit(peak_flops_per_s=5e10, training_flops_per_s=2e10, memory_bytes_per_s=8e9, call_s=1e-5)


class Ticks:
    """A clock that a test moves."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def planted(board, noise=0.0, rng=None):
    trials = [
        *(
            Trial(
                name=f"product {n}", flops=2.0 * n**3, moved_bytes=12.0 * n**2, calls=1, took_s=1.0
            )
            for n in SIZES
        ),
        Trial(name="copy", flops=0.0, moved_bytes=1.28e8, calls=1, took_s=1.0),
        Trial(name="layer", flops=5.2e9, moved_bytes=0.0, calls=41, took_s=1.0, training=True),
    ]
    factors = (
        np.ones(len(trials)) if rng is None else np.exp(noise * rng.standard_normal(len(trials)))
    )
    return [
        replace(t, took_s=board.predicted_s(t) * f) for t, f in zip(trials, factors, strict=True)
    ]


@settings(max_examples=60)
@given(st.floats(9, 13), st.floats(0.05, 0.9), st.floats(9, 12), st.floats(-6.5, -4))
def test_a_planted_board_is_found_again(peak, share, memory, call):
    board = Fit(
        peak_flops_per_s=10**peak,
        training_flops_per_s=share * 10**peak,
        memory_bytes_per_s=10**memory,
        call_s=10**call,
    )
    trials = planted(board)
    found = fit(trials)
    for trial in trials:
        assert found.predicted_s(trial) == pytest.approx(trial.took_s, rel=0.02)
    assert found.error_share < 0.01
    assert found.training_flops_per_s == pytest.approx(share * 10**peak, rel=0.05)


def test_noise_of_a_tenth_moves_the_result_by_little():
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = fit(planted(PI, 0.1, rng))
        assert found.peak_flops_per_s == pytest.approx(5e10, rel=0.3)
        assert found.training_flops_per_s == pytest.approx(2e10, rel=0.3)
        assert found.memory_bytes_per_s == pytest.approx(8e9, rel=0.4)


def test_calls_never_cost_less_than_nothing():
    trials = planted(replace(PI, call_s=0.0))
    trials[0] = replace(trials[0], took_s=trials[0].took_s * 0.6)
    assert fit(trials).call_s == 0


def test_without_torch_the_training_speed_is_an_estimate():
    found = fit(planted(PI)[:4])
    assert found.training_flops_per_s is None and found.peak_flops_per_s == pytest.approx(
        5e10, rel=0.01
    )
    made = row(
        Board(kind="mine", processor="test", cores=4), found, planted(PI)[:4], entry("rpi-4b"), DAY
    )
    assert made.train_efficiency == 0.4 and made.source_efficiency.startswith(
        "estimate, that of rpi-4b"
    )


def test_too_little_to_fit_is_refused():
    trials = planted(PI)
    with pytest.raises(ConfigError, match="and a copy"):
        fit(trials[:3])
    with pytest.raises(ConfigError, match="clock did not move"):
        fit([replace(trials[0], took_s=0.0), *trials[1:]])


def test_the_fastest_call_counts_and_the_first_does_not():
    clock, waits = Ticks(), iter([9.0, 3.0, 2.0, 4.0, 2.5, 3.0, 1.0])

    def work():
        clock.now_s += next(waits)

    assert timed_s(work, clock, 10.0) == 2.0


def test_real_trials_have_the_work_of_their_shapes():
    clock = Ticks()

    def ticking():
        clock.now_s += 1.0
        return clock.now_s

    products = gemm_trials(ticking, 1.0, np.random.default_rng(0))
    assert [trial.flops for trial in products] == [2.0 * 64**3, 2.0 * 256**3, 2.0 * 1024**3]
    assert copy_trial(ticking, 1.0).moved_bytes == 1.28e8


def test_the_row_says_what_was_measured_and_the_catalogue_reads_it_back(tmp_path):
    board = Board(
        kind="mine", processor="test", cores=4, memory_bytes=10**9, usable_memory_bytes=8 * 10**8
    )
    made = row(board, PI, planted(PI), entry("rpi-4b"), DAY)
    path = tmp_path / "own.csv"
    path.write_text(as_csv([made]))
    again = read(path)["mine"]
    assert device("mine", "d", extra=path).speed_flops_per_s == pytest.approx(2e10, rel=1e-5)
    assert again.memory_bytes_per_s == 8e9 and again.usable_memory_bytes == 8 * 10**8
    for name in ("train_efficiency", "peak_fp32_flops_per_s", "memory_bytes_per_s"):
        assert f"measured {DAY} by calibrate" in getattr(again, SOURCE_OF[name])
    for name in (
        "idle_w",
        "busy_w",
        "up_bps",
        "latency_s",
        "transmit_w",
        "peak_fp16_flops_per_s",
        "clock_hz",
    ):
        assert "estimate" in getattr(again, SOURCE_OF[name])


def test_what_was_asked_for_says_so():
    board = Board(
        kind="mine",
        processor="test",
        cores=4,
        clock_hz=1e9,
        idle_w=2.0,
        busy_w=5.0,
        power_source="a plug",
    )
    made = row(replace(board, up_bps=3e9), PI, planted(PI), entry("rpi-4b"), DAY)
    assert (made.idle_w, made.busy_w, made.source_power) == (2.0, 5.0, "a plug")
    assert made.up_bps == made.phy_bps == 3e9 and made.source_radio.startswith(
        "up_bps: as asked for; the rest: estimate"
    )
    assert made.clock_hz == 1e9 and "clock: the system's" in made.source_peak
    half = row(replace(board, busy_w=None), PI, planted(PI), entry("rpi-4b"), DAY)
    assert (half.idle_w, half.busy_w) == (
        2.0,
        7.2,
    ) and half.source_power == "idle_w: a plug; the rest: estimate, that of rpi-4b"
    assert "size and usable: estimate" in made.source_memory


def test_the_nearest_board_is_itself():
    for kind in ("rpi-zero-2w", "rpi-5", "jetson-orin-nano-8g"):
        one = entry(kind)
        found = replace(
            PI,
            peak_flops_per_s=one.peak_fp32_flops_per_s,
            memory_bytes_per_s=one.memory_bytes_per_s,
        )
        assert nearest(found, list(entries().values())).kind == kind


# --- meters: trees of files as boards have them ---------------------------------------------------


def rail(system, number, label, millivolts, milliamperes):
    folder = system / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"in{number}_label").write_text(f"{label}\n")
    (folder / f"in{number}_input").write_text(f"{millivolts}\n")
    (folder / f"curr{number}_input").write_text(f"{milliamperes}\n")


def test_a_jetsons_input_rail_is_the_board_and_its_parts_are_not_added(tmp_path):
    rail(tmp_path, 1, "VDD_IN", 5000, 1200)
    rail(tmp_path, 2, "VDD_CPU_GPU_CV", 5000, 700)
    meter = find(tmp_path)
    assert meter.what == "whole board, rails VDD_IN"
    clock = Ticks()

    def work():
        clock.now_s += 0.25

    assert mean_w(meter, work, clock, 1.0) == pytest.approx(6.0)


def test_rails_that_together_are_the_board_are_added(tmp_path):
    for number, label in enumerate(("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), 1):
        rail(tmp_path, number, label, 5000, 1000 * number)
    assert find(tmp_path).mean_w(1.0) == pytest.approx(30.0)


def test_a_part_alone_is_no_meter(tmp_path):
    rail(tmp_path, 1, "VDD_CPU_CV", 5000, 1000)
    assert find(tmp_path) is None


def test_counters_begin_again_at_their_maximum(tmp_path):
    zone = tmp_path / "class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "max_energy_range_uj").write_text("9999999\n")
    (zone / "energy_uj").write_text("9000000\n")
    meter, clock, counted = find(tmp_path), Ticks(), iter([9_500_000, 500_000, 3_000_000])

    def work():
        clock.now_s += 0.5
        (zone / "energy_uj").write_text(f"{next(counted)}\n")

    assert mean_w(meter, work, clock, 1.5) == pytest.approx((0.5 + 1.0 + 2.5) / 1.5)
    assert "RAPL" in meter.what


def test_a_meter_that_shows_nothing_is_refused(tmp_path):
    rail(tmp_path, 1, "VDD_IN", 0, 0)
    clock = Ticks()

    def work():
        clock.now_s += 1.0

    with pytest.raises(ConfigError, match="shows nothing; give --idle-w"):
        mean_w(find(tmp_path), work, clock, 2.0)


def test_a_machine_without_a_meter_has_none(tmp_path):
    assert find(tmp_path) is None


def test_the_battery_is_that_of_the_machine_and_not_of_its_mouse(tmp_path):
    assert battery_share(tmp_path) is None
    for name, facts in {
        "AC": {"type": "Mains"},
        "hid-mouse": {"type": "Battery", "capacity": "7", "scope": "Device"},
        "hid-none": {"type": "Battery"},
        "system": {"type": "Battery", "capacity": "63"},
    }.items():
        folder = tmp_path / "class" / "power_supply" / name
        folder.mkdir(parents=True)
        for fact, value in facts.items():
            (folder / fact).write_text(f"{value}\n")
    assert battery_share(tmp_path) == 0.63
