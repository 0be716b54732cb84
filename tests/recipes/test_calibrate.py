"""`calibrate` on this machine, for a moment: the figures are this machine's, the row's form is
not."""

import time
from dataclasses import replace

import pytest

from distilfleet.cli.calibrate import calibrate
from distilfleet.cli.calibrate_flags import Calibrate
from distilfleet.core.errors import ConfigError
from distilfleet.cost.catalogue import as_csv, device, entry, read

DAY = "2026-02-03"


@pytest.fixture
def briefly(tmp_path):
    return Calibrate(out=tmp_path / "own.csv", lasting_s=0.1, idle_w=2.0, busy_w=6.0)


def test_a_row_of_this_machine_joins_those_that_are_there(briefly):
    briefly.out.write_text(as_csv([replace(entry("rpi-5"), kind="other")]))
    said = calibrate(briefly, time.perf_counter, time.sleep, DAY)
    rows = read(briefly.out)
    assert list(rows) == ["other", "this-board"]
    mine = rows["this-board"]
    assert (mine.idle_w, mine.busy_w, mine.source_power) == (2.0, 6.0, "as asked for")
    assert 1e8 < device("this-board", "d", extra=briefly.out).speed_flops_per_s < 1e14
    assert mine.source_efficiency == f"measured {DAY} by calibrate: layer forward and backward"
    assert 1e8 < mine.memory_bytes_per_s < 1e12
    for word in (
        "product 1024",
        "copy",
        "layer forward and backward",
        "the fit errs",
        str(briefly.out),
    ):
        assert word in said


def test_what_is_not_measured_is_that_of_the_kind_that_it_is_like(briefly):
    calibrate(
        replace(briefly, like="rpi-4b", idle_w=None, busy_w=6.5), time.perf_counter, time.sleep, DAY
    )
    mine = read(briefly.out)["this-board"]
    assert (mine.family, mine.idle_w, mine.busy_w) == ("sbc", 1.6, 6.5)
    assert mine.source_power == "busy_w: as asked for; the rest: estimate, that of rpi-4b"
    assert mine.source_radio == "estimate, that of rpi-4b"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"idle_w": 9.0}, "--busy-w is 6.0; it must be at least --idle-w, 9.0"),
        ({"up_bps": 0.0}, "--up-bps is 0.0; it must be above 0"),
        ({"lasting_s": float("inf")}, "--lasting-s is inf"),
        ({"kind": " "}, "--kind is empty"),
        ({"like": "rpi-9"}, "no device kind 'rpi-9'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(briefly, changed, said):
    def never():
        raise AssertionError("measured")

    with pytest.raises(ConfigError, match=said):
        calibrate(replace(briefly, **changed), never, time.sleep, DAY)


def test_a_place_that_cannot_be_written_is_refused(briefly, tmp_path):
    with pytest.raises(ConfigError, match="directory that exists"):
        calibrate(
            replace(briefly, out=tmp_path / "none" / "own.csv"), time.perf_counter, time.sleep, DAY
        )
    with pytest.raises(ConfigError, match="name a file"):
        calibrate(replace(briefly, out=tmp_path), time.perf_counter, time.sleep, DAY)
