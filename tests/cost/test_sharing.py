"""Cells, access points and long-range bearers, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.cost.cells import crowd, equal_shares, solo_bps, wifi_airtime_s, wifi_fair_bps
from distilfleet.cost.lpwan import BEARERS, lora, on_air_s, sending_s


def test_a_cell_alone_carries_three_quarters_less_what_is_sent_again():
    assert solo_bps(20e6, np.array([0.0, 2.0])) == pytest.approx([0, 0.75 / 1.111 * 40e6])


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40))
def test_shares_of_a_cell_add_up_to_one_among_those_that_are_there(devices):
    cell, active = (np.array(column) for column in zip(*devices, strict=True))
    shares = equal_shares(cell, active, 4)
    there = crowd(cell, active, 4)
    assert there.sum() == active.sum()
    np.testing.assert_allclose(np.bincount(cell, shares, minlength=4), (there > 0).astype(float), rtol=1e-5)
    assert (shares[~active] == 0).all()


def test_airtime_by_hand():
    assert wifi_airtime_s(1e6, 100e6, 0.5) == pytest.approx(0.16)


def test_one_slow_station_slows_its_access_point():
    rates = wifi_fair_bps(np.array([100e6, 100e6, 100e6, 1e6]), np.array([0, 0, 1, 1]), 2)
    np.testing.assert_allclose(rates, 0.6 * np.array([50e6, 50e6, 1 / 1.01e-6, 1 / 1.01e-6]))


def test_every_bearer_says_where_its_numbers_are_from():
    assert {"lte-m", "nb-iot", "lora-sf7", "lora-sf12"} <= set(BEARERS)
    assert all(bearer.source for bearer in BEARERS.values())


def test_lora_by_hand():
    assert lora(7).up_bps == pytest.approx(5469, abs=1)
    assert lora(12).up_bps == pytest.approx(293, abs=1)
    assert 3600 / float(sending_s(lora(7), 1.0)) == pytest.approx(24_609, abs=1)
    with pytest.raises(ValueError, match="7 to 12, got 6"):
        lora(6)


def test_repeats_and_duty_cycle_lengthen():
    narrow, long_range = BEARERS["nb-iot"], BEARERS["lora-sf7"]
    assert on_air_s(narrow, 62_500) == pytest.approx(8.0)
    assert on_air_s(narrow, 62_500, 128) == pytest.approx(1024.0)
    assert sending_s(narrow, 1000) == on_air_s(narrow, 1000)
    assert sending_s(long_range, 1000) == pytest.approx(100 * on_air_s(long_range, 1000))
