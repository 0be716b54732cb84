"""The earliest end of a step against a reference, and what must hold for every fleet."""

import itertools
from dataclasses import replace

import numpy as np
import plan_parts as parts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from distilfleet.plan.makespan import least_makespan
from distilfleet.plan.slices import Roots, slices

TABLES = {"16 bits": parts.llama(), "4 bits": parts.llama(bits=(4,)), "net": parts.resnet18()}


def reference(facts, at):
    """The least makespan of a few devices in one cell: every choice, its shares by a search over
    prices."""
    options, kind = facts.options, facts.kind
    grid = itertools.product(*(np.flatnonzero(facts.allowed_GK[g]) for g in kind))
    found = []
    for chosen in (np.array(row) for row in grid):
        seconds = np.stack(
            [
                facts.up_s_per_byte * options.up_bytes[chosen],
                facts.down_s_per_byte * options.down_bytes[chosen],
                options.server_flops[chosen] / at.speed_flops_per_s,
            ]
        )
        found.append(
            (
                max(refuted(facts.computing_s(chosen), s[None], np.ones(1)) for s in seconds),
                chosen,
                seconds,
            )
        )
    best = np.inf
    for bound, chosen, seconds in sorted(found, key=lambda one: one[0]):
        if bound >= best:
            break
        best = min(best, shared(facts.computing_s(chosen), seconds))
    return best


def refuted(before, seconds, prices):
    """The last deadline that these prices refute, for given options."""
    priced = (np.sqrt(prices[:, None] * seconds).sum(axis=0)) ** 2
    deadline = before.max() + 1e-12 + priced[before.argmax()]
    for _ in range(100):
        left = deadline - before
        excess = (priced / left).sum() - 1
        if excess < 1e-13:
            break
        deadline += excess / (priced / left**2).sum()
    return deadline


def shared(before, seconds):
    def against(x):
        shares = np.exp(np.r_[x, 0] - max(*x, 0))
        return -refuted(before, seconds, shares / shares.sum())

    tight = {"xatol": 1e-7, "fatol": 1e-10 * (1 + before.max()), "maxiter": 2000}
    starts = ((0, 0), (3, 0), (0, 3), (-3, -3))
    return max(
        -minimize(against, start, method="Nelder-Mead", options=tight).fun for start in starts
    )


@pytest.mark.parametrize("seed", range(9))
def test_small_fleets_are_planned_as_by_trying_everything(seed):
    rng = np.random.default_rng(1000 + seed)
    options = list(TABLES.values())[seed % 3]
    options = parts.some(options, np.unique(np.r_[0, rng.choice(len(options), 4, replace=False)]))
    facts = parts.fleet(4, seed, options, band_hz=10 ** rng.uniform(7, 9.5))
    at = parts.server(10 ** rng.uniform(11.5, 15))
    found, best = least_makespan(facts, at, gap=1e-4), reference(facts, at)
    assert found.lower_bound_s <= best * (1 + 1e-6)
    assert found.delay_s >= best * (1 - 1e-6)
    assert found.delay_s <= best * 1.01


fleets = st.builds(
    lambda size, seed, name, cells, spread, band: parts.fleet(
        size, seed, TABLES[name], cells=min(cells, size), spread=spread, band_hz=10**band
    ),
    st.integers(8, 60),
    st.integers(0, 10_000),
    st.sampled_from(sorted(TABLES)),
    st.integers(1, 60),
    st.just(0.15),
    st.floats(7, 9.5),
)
servers = st.floats(11.5, 15).map(lambda power: parts.server(10**power))


@settings(max_examples=40)
@given(fleets, servers)
def test_the_plan_is_feasible_and_the_bound_below_it(facts, at):
    found = least_makespan(facts, at)
    options, chosen = facts.options, found.chosen
    up_s, down_s, server_s = found.slices_s
    occupied = facts.up_s_per_byte * options.up_bytes[chosen]
    for seconds, slice_s in (
        (occupied, up_s),
        (facts.down_s_per_byte * options.down_bytes[chosen], down_s),
    ):
        shares = np.divide(seconds, slice_s, out=np.zeros(len(facts)), where=seconds > 0)
        assert facts.per_cell(shares).max() <= 1 + 1e-9
    assert (options.server_flops[chosen] / at.speed_flops_per_s / server_s).sum() <= 1 + 1e-9
    assert (facts.computing_s(chosen) + up_s + down_s + server_s).max() <= found.delay_s * (
        1 + 1e-12
    )
    assert found.lower_bound_s <= found.delay_s
    assert facts.allowed_GK[facts.kind, chosen].all()


@settings(max_examples=40)
@given(fleets, servers, st.floats(1, 10))
def test_more_band_never_takes_longer(facts, at, factor):
    wider = replace(
        facts,
        up_s_per_byte=facts.up_s_per_byte / factor,
        down_s_per_byte=facts.down_s_per_byte / factor,
    )
    assert least_makespan(wider, at).lower_bound_s <= least_makespan(facts, at).delay_s * (1 + 1e-9)


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize(("size", "cells"), [(100, 1), (100, 100), (1000, 10), (1000, 300)])
def test_large_fleets_are_within_a_hundredth(name, size, cells):
    at = parts.server(size / 100 * 1e13)
    found = least_makespan(parts.fleet(size, 1, TABLES[name], cells=cells), at)
    assert found.delay_s <= found.lower_bound_s * 1.01


def test_an_impossible_deadline_is_refuted_and_a_possible_one_is_not():
    facts = parts.fleet(50, 2, TABLES["net"], cells=3)
    at = parts.server()
    found = least_makespan(facts, at, gap=2e-3)
    roots = Roots.of(facts, at)
    everything = [np.flatnonzero(allowed) for allowed in facts.allowed_GK]
    rng = np.random.default_rng(0)
    for _ in range(20):
        prices = tuple(rng.uniform(0.01, 1, size) for size in (3, 3, 1))
        later = slices(roots, everything, found.delay_s, prices)
        assert later.excess <= 1e-9
