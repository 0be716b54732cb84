from dataclasses import fields

import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.core.types import Device
from distilfleet.cost.catalogue import SOURCE_OF, Entry, device, entries, entry, trainable_kinds

NUMBERS = [field.name for field in fields(Entry) if field.type in (int, float, float | None)]


@pytest.fixture(params=entries(), ids=str)
def row(request) -> Entry:
    return entry(request.param)


def test_rows_are_found_under_their_own_name(row):
    assert entries()[row.kind] is row


def test_every_number_names_a_source(row):
    assert set(SOURCE_OF) == set(NUMBERS)
    for name in NUMBERS:
        assert getattr(row, name) is None or getattr(row, SOURCE_OF[name]).strip(), (
            f"{name} of {row.kind} has no source"
        )


def test_no_source_without_a_number(row):
    assert (row.measured_fp64_flops_per_s is None) == (row.source_measured == "")


def test_speeds_are_in_flops_per_s(row):
    assert row.cores * row.clock_hz * row.fp32_flops_per_cycle == pytest.approx(
        row.peak_fp32_flops_per_s, rel=0.05
    )
    assert 1e8 < row.clock_hz < 5e9
    assert (
        5e8
        < row.peak_fp32_flops_per_s
        <= row.peak_fp16_flops_per_s
        <= row.peak_int8_ops_per_s
        < 1e16
    )
    assert (
        row.measured_fp64_flops_per_s is None
        or row.measured_fp64_flops_per_s < row.peak_fp32_flops_per_s / 2
    )
    assert 0.05 < row.train_efficiency < 0.8


def test_memory_is_in_bytes(row):
    assert 1e5 < row.usable_memory_bytes < row.memory_bytes < 2e11
    assert 1e8 < row.memory_bytes_per_s < 1e13


def test_power_is_in_watts(row):
    assert 0 < row.idle_w < row.busy_w < 1000
    assert (row.transmit_w == 0) == (row.radio == "wired")
    assert row.transmit_w < 5


def test_links_are_in_bits_per_second(row):
    assert 1e7 < row.up_bps <= row.phy_bps
    assert 1e7 < row.down_bps <= row.phy_bps
    assert 1e-5 < row.latency_s < 0.1


def test_trainable_kinds_are_devices_that_can_train():
    kinds = trainable_kinds()
    assert "rpi-4b" in kinds and "jetson-nano" in kinds
    assert "esp32-s3" not in kinds
    assert not any(kind.startswith("server") for kind in kinds)


def test_device_has_the_rows_facts():
    made = device("rpi-4b", "d3")
    assert isinstance(made, Device)
    assert (made.id, made.kind) == ("d3", "rpi-4b")
    assert made.speed_flops_per_s == pytest.approx(57.6e9 * 0.4)
    assert made.memory_bytes == 3_300_000_000
    assert (made.link.up_bps, made.link.down_bps, made.link.transmit_w) == (110e6, 110e6, 0.8)


@pytest.mark.parametrize(
    ("quota_bytes", "expected"), [(1_000_000, 1_000_000), (10**12, 3_300_000_000)]
)
def test_a_quota_only_ever_lowers_the_memory(quota_bytes, expected):
    assert device("rpi-4b", "d", quota_bytes=quota_bytes).memory_bytes == expected


def test_a_quota_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least 1 byte, got 0"):
        device("rpi-4b", "d", quota_bytes=0)


def test_an_unknown_kind_is_answered_with_near_names_and_all_names():
    with pytest.raises(ConfigError, match="did you mean rpi-4b") as refusal:
        device("rpi-4", "d")
    assert all(kind in str(refusal.value) for kind in entries())


def test_a_kind_like_no_other_gets_no_guess():
    with pytest.raises(ConfigError) as refusal:
        entry("%%%")
    assert "did you mean" not in str(refusal.value)
