"""Compute, link and energy: monotone in each argument, additive, never negative, and broadcast."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from distilfleet.cost.compute import compute_s
from distilfleet.cost.energy import energy_j
from distilfleet.cost.link import transfer_s

amounts = st.floats(0, 1e15)
speeds = st.floats(1e3, 1e15)
powers = st.floats(0, 1e3)
shares = st.floats(0, 1)
more = st.floats(1, 1e3)
SLACK = 1 + 1e-9


@given(amounts, amounts, speeds, speeds, more)
def test_more_load_never_computes_faster_and_more_speed_never_slower(
    flops, moved, speed, memory, factor
):
    took_s = compute_s(flops, moved, speed, memory)
    assert took_s >= 0
    assert compute_s(flops * factor, moved, speed, memory) >= took_s
    assert compute_s(flops, moved * factor, speed, memory) >= took_s
    assert compute_s(flops, moved, speed * factor, memory) <= took_s
    assert compute_s(flops, moved, speed, memory * factor) <= took_s


@given(amounts, amounts, amounts, amounts, speeds, speeds)
def test_joined_loads_take_no_longer_than_both_and_no_less_than_either(
    flops_a, moved_a, flops_b, moved_b, speed, memory
):
    a_s, b_s = compute_s([flops_a, flops_b], [moved_a, moved_b], speed, memory)
    joined_s = compute_s(flops_a + flops_b, moved_a + moved_b, speed, memory)
    assert max(a_s, b_s) / SLACK <= joined_s <= (a_s + b_s) * SLACK


@given(amounts, amounts, speeds, speeds)
def test_loads_of_one_shape_add_up(flops, moved, speed, memory):
    assert compute_s(2 * flops, 2 * moved, speed, memory) == pytest.approx(
        2 * compute_s(flops, moved, speed, memory)
    )


def test_roofline_by_hand():
    assert compute_s(10e9, 1e9, 5e9, 4e9) == 2.0
    assert compute_s(1e9, 12e9, 5e9, 4e9) == 3.0


@given(amounts, speeds, shares, more)
def test_larger_messages_and_slower_links_take_longer(size, rate, latency, factor):
    took_s = transfer_s(size, rate, latency)
    assert took_s >= 0
    assert transfer_s(size * factor, rate, latency) >= took_s
    assert transfer_s(size, rate, latency * factor) >= took_s
    assert transfer_s(size, rate * factor, latency) <= took_s


@given(st.floats(1, 1e12), st.floats(1, 1e12), speeds, shares)
def test_one_message_saves_one_latency_over_two(size_a, size_b, rate, latency):
    apart_s = transfer_s(size_a, rate, latency) + transfer_s(size_b, rate, latency)
    assert transfer_s(size_a + size_b, rate, latency) + latency == pytest.approx(apart_s)


def test_nothing_sent_takes_no_time():
    assert transfer_s(0, 1e6, 0.1) == 0.0
    np.testing.assert_allclose(transfer_s([0, 1000], 1e6, 0.01), [0.0, 0.018])


@given(amounts, shares, shares, powers, powers, powers, more)
def test_energy_is_monotone(elapsed, busy_share, sending_share, idle, extra, transmit, factor):
    busy, sending, full = elapsed * busy_share, elapsed * sending_share, idle + extra
    used_j = energy_j(elapsed, busy, sending, idle, full, transmit)
    assert used_j >= 0
    assert energy_j(elapsed * factor, busy, sending, idle, full, transmit) * SLACK >= used_j
    assert energy_j(elapsed, elapsed, sending, idle, full, transmit) * SLACK >= used_j
    assert energy_j(elapsed, busy, elapsed, idle, full, transmit) * SLACK >= used_j
    assert energy_j(elapsed, busy, sending, full, full, transmit) * SLACK >= used_j
    assert energy_j(elapsed, busy, sending, idle, full * factor, transmit) * SLACK >= used_j
    assert energy_j(elapsed, busy, sending, idle, full, transmit * factor) * SLACK >= used_j


@given(
    st.tuples(amounts, shares, shares), st.tuples(amounts, shares, shares), powers, powers, powers
)
def test_energies_of_two_jobs_add_up(first, second, idle, extra, transmit):
    (a_s, a_busy, a_sending), (b_s, b_busy, b_sending) = (
        (t, t * b, t * s) for t, b, s in (first, second)
    )
    watts = (idle, idle + extra, transmit)
    apart_j = energy_j(a_s, a_busy, a_sending, *watts) + energy_j(b_s, b_busy, b_sending, *watts)
    joined_j = energy_j(a_s + b_s, a_busy + b_busy, a_sending + b_sending, *watts)
    assert joined_j == pytest.approx(apart_j)


@given(amounts, powers, powers)
def test_a_device_that_does_nothing_idles(elapsed, idle, transmit):
    assume(idle > 0)
    assert energy_j(elapsed, 0, 0, idle, idle + 1, transmit) == pytest.approx(idle * elapsed)


def test_energy_by_hand():
    assert energy_j(10, 4, 2, 1.5, 6.5, 0.5) == 10 * 1.5 + 4 * 5.0 + 2 * 0.5


def test_prices_of_many_devices_are_those_of_each():
    draw = np.random.default_rng(0).uniform(1, 10, (6, 50))
    for price, count in ((compute_s, 4), (transfer_s, 3), (energy_j, 6)):
        together = price(*draw[:count])
        assert together.shape == (50,)
        np.testing.assert_allclose(together, [float(price(*column)) for column in draw[:count].T])
    assert compute_s(1.0, 1.0, np.ones((3, 1)), np.ones(4)).shape == (3, 4)
