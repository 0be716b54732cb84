"""Clocks, batteries, coming and going, heat."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.core.chance import stream
from distilfleet.cost.battery import capacity_j, flow
from distilfleet.cost.catalogue import entries, entry
from distilfleet.cost.churn import ALWAYS, Churn
from distilfleet.cost.dvfs import ClockRate
from distilfleet.cost.throttle import Throttle, sustained_share

watts = st.floats(0.1, 1000)
joules = st.floats(0, 1e5)


# --- clocks ---------------------------------------------------------------------------------------


def test_clock_of_a_row_by_hand():
    clock = ClockRate.of(entry("server-h200-sxm"))
    np.testing.assert_allclose(clock.power_w([0.5, 1.0]), [80 + 620 / 8, 700])
    assert clock.best_share * clock.top_hz == pytest.approx(0.794e9, rel=1e-3)
    assert clock.energy_j(10.0, 0.5) == pytest.approx((80 + 620 / 8) * 20)


@given(watts, watts)
def test_no_clock_takes_less_than_the_best(static_w, dynamic_w):
    clock = ClockRate(static_w=static_w, dynamic_w=dynamic_w, top_hz=1e9)
    least_j = clock.energy_j(1.0, clock.best_share)
    assert (
        clock.energy_j(1.0, np.linspace(clock.lowest_share, 1, 101)) >= least_j * (1 - 1e-12)
    ).all()
    steps = clock.steps()
    assert len(steps) == 12 and steps[0] == clock.best_share and steps[-1] == 1.0


@pytest.mark.parametrize("kind", entries())
def test_every_row_has_a_clock(kind):
    assert 0.1 <= ClockRate.of(entry(kind)).best_share <= 1


# --- batteries ------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(1, 1e5), joules, joules)
def test_a_battery_loses_nothing_and_stays_in_its_bounds(share, full_j, asked_j, offered_j):
    stored, full, asked, offered = (
        np.array([x]) for x in (share * full_j, full_j, asked_j, offered_j)
    )
    then = flow(stored, full, asked, offered)
    assert then.left_j - stored == pytest.approx(then.taken_j - then.drawn_j, abs=1e-6)
    assert 0 <= then.left_j <= full * (1 + 1e-12)
    assert 0 <= then.drawn_j <= asked and 0 <= then.taken_j <= offered
    assert then.drawn_j == asked or then.left_j == 0


def test_mains_give_all_and_take_nothing():
    then = flow(np.array([0.0]), np.array([inf]), np.array([500.0]), np.array([100.0]))
    assert (then.drawn_j, then.taken_j, then.left_j) == (500.0, 0.0, 0.0)


def test_phones_have_batteries_and_boards_are_on_mains():
    assert capacity_j("phone") == pytest.approx(4.5 * 3600 * 3.85, rel=0.01)
    assert capacity_j("jetson") == inf


# --- coming and going -----------------------------------------------------------------------------


def test_in_the_long_run_the_expected_share_is_there():
    churn, rng = Churn(day_share=0.0), stream(1, "churn")
    present = np.ones(20_000, bool)
    for step in range(60):
        present = churn.after(present, rng.random(len(present)), step * 600.0, 600.0)
    assert present.mean() == pytest.approx(churn.present_share, abs=0.01)
    assert churn.present_share == pytest.approx(0.8)


def test_two_short_periods_are_one_long_one():
    churn, rng = Churn(day_share=0.0), stream(2, "churn")
    start = np.ones(200_000, bool)
    once = churn.after(start, rng.random(len(start)), 0.0, 1200.0)
    half = churn.after(start, rng.random(len(start)), 0.0, 600.0)
    twice = churn.after(half, rng.random(len(start)), 600.0, 600.0)
    assert once.mean() == pytest.approx(twice.mean(), abs=0.005)


def test_more_leave_at_noon():
    churn = Churn()
    assert churn.day(43_200) == 1.5 and churn.day(0) == pytest.approx(0.5)
    assert churn.lost_share(43_200, 60) > churn.lost_share(0, 60) > churn.lost_share(0, 0) == 0


def test_nobody_leaves_when_asked_not_to():
    assert ALWAYS.after(np.ones(9, bool), np.zeros(9), 43_200, 1e6).all()


# --- heat -----------------------------------------------------------------------------------------


def test_a_busy_phone_slows_down_to_what_it_sustains_and_recovers():
    throttle, heat, phone = Throttle(), np.zeros(1), np.array([sustained_share("phone")])
    cold = throttle.slowdown(heat, phone, np.zeros(1))
    for _ in range(60):
        heat = throttle.heat(heat, np.ones(1), 60.0)
    hot = throttle.slowdown(heat, phone, np.zeros(1))
    assert cold == 1.0 and hot == pytest.approx(1 / 0.55)
    assert throttle.slowdown(heat, np.array([sustained_share("sbc")]), np.zeros(1)) == 1.0
    assert throttle.heat(heat, np.zeros(1), 180.0) == pytest.approx(np.exp(-1))


def test_other_programs_double_and_halve_alike():
    normal = stream(3, "slow").standard_normal(100_000)
    slow = Throttle().slowdown(np.zeros(1), np.ones(1), normal)
    assert np.median(slow) == pytest.approx(1, abs=0.01)
    assert np.log(slow).std() == pytest.approx(0.15, abs=0.005)
