"""The sum of delays and priced energies against references, and what must hold for every fleet."""

from dataclasses import replace

import numpy as np
import plan_parts as parts
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.plan.prune import extreme, undominated
from distilfleet.plan.total import least_total

TABLES = {
    "16 bits": parts.llama(),
    "4 bits": parts.llama(bits=(4,)),
    "adapters": parts.llama(bits=(8,), steps=20),
    "no cut of the teacher": parts.llama(teacher_cuts=(0,)),
    "net": parts.resnet18(),
}


def random_small(seed):
    """A fleet of three to five in any regime: radio, device or server may bind."""
    rng = np.random.default_rng(seed)
    options = list(TABLES.values())[seed % len(TABLES)]
    if len(options) > 9:
        options = parts.some(
            options, np.unique(np.r_[0, rng.choice(len(options), 8, replace=False)])
        )
    band_hz = 10 ** rng.uniform(7, 9.5)
    facts = parts.fleet(
        int(rng.integers(3, 6)), seed, options, cells=int(rng.integers(1, 3)), band_hz=band_hz
    )
    price = rng.choice([0.0, 0.02, 0.2])
    return parts.terms(
        facts, parts.server(10 ** rng.uniform(11.5, 15)), price, rng.choice([0.0, 0.02])
    )


@pytest.mark.parametrize("block", range(5))
def test_a_hundred_small_fleets_are_planned_as_by_trying_everything(block):
    for seed in range(20 * block, 20 * block + 20):
        of = random_small(seed)
        found, best = least_total(of, gap=1e-6), parts.brute(of)
        assert found.cost == pytest.approx(best, rel=1e-6)
        assert found.lower_bound <= best * (1 + 1e-12)
        assert found.cost - found.lower_bound <= 1e-3 * found.cost


@pytest.mark.slow
@pytest.mark.parametrize("name", ["4 bits", "net"])
@pytest.mark.parametrize("size", [20, 100])
def test_an_integer_solver_finds_nothing_better(name, size):
    of = parts.terms(parts.fleet(size, 3, TABLES[name]))
    found, (cost, bound) = least_total(of, gap=1e-7), parts.highs(of)
    assert found.cost <= cost * (1 + 1e-6)
    assert found.cost >= bound * (1 - 1e-6)


fleets = st.builds(
    lambda size, seed, name, cells, spread, band: parts.fleet(
        size, seed, TABLES[name], cells=min(cells, size), spread=spread, band_hz=10**band
    ),
    st.integers(1, 60),
    st.integers(0, 10_000),
    st.sampled_from(sorted(TABLES)),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.15]),
    st.floats(7, 9.5),
)
servers = st.floats(11.5, 15).map(lambda power: parts.server(10**power))


@given(fleets, servers)
def test_the_bound_is_below_the_cost_and_near_it(facts, at):
    of = parts.terms(facts, at)
    found = least_total(of, gap=1e-4)
    assert found.cost == pytest.approx(of.cost(found.chosen), rel=1e-9)
    assert found.lower_bound <= found.cost
    assert found.cost - found.lower_bound <= 1e-3 * found.cost
    assert facts.allowed_GK[facts.kind, found.chosen].all()


@given(fleets, servers, st.integers(0, 1000))
def test_no_choice_comes_below_the_bound(facts, at, seed):
    of = parts.terms(facts, at)
    rng = np.random.default_rng(seed)
    chosen = np.array(
        [rng.choice(np.flatnonzero(allowed)) for allowed in facts.allowed_GK[facts.kind]]
    )
    assert least_total(of).lower_bound <= of.cost(chosen) * (1 + 1e-12)


@given(fleets, servers, st.floats(1, 10))
def test_more_band_never_costs_more(facts, at, factor):
    wider = replace(
        facts,
        up_s_per_byte=facts.up_s_per_byte / factor,
        down_s_per_byte=facts.down_s_per_byte / factor,
    )
    narrow, wide = (
        least_total(parts.terms(facts, at), gap=1e-6),
        least_total(parts.terms(wider, at), gap=1e-6),
    )
    assert wide.lower_bound <= narrow.cost * (1 + 1e-9)
    assert wide.cost <= narrow.cost * (1 + 1e-3)


@given(fleets, servers)
def test_pruning_never_changes_the_optimum(facts, at):
    """At any prices, the cheapest of all options is as cheap as the cheapest of those that were
    kept."""
    of = parts.terms(facts, at)
    full, rng = parts.dense(of), np.random.default_rng(0)
    few, fewer = undominated(facts), extreme(facts)
    for _ in range(5):
        up, down, server = 10 ** rng.uniform(-4, 4, 3)
        values = full.own + up * full.up + down * full.down + server * full.server
        values = np.where(full.allowed, values, np.inf)
        for n, g in enumerate(facts.kind):
            assert set(fewer[g]) <= set(few[g])
            assert values[n, fewer[g]].min() == pytest.approx(values[n].min(), rel=1e-9)


def test_alike_devices_are_told_apart():
    """Equal devices that would all change their minds together end up on both sides of a tie."""
    facts = parts.fleet(1000, 1, TABLES["net"], cells=10, spread=0.0)
    same = np.zeros(1000, int)
    facts = replace(
        facts,
        starts=np.r_[0, np.full(len(facts.starts) - 1, 1000)],
        up_s_per_byte=np.full(1000, facts.up_s_per_byte.mean()),
        cell=same,
        cells=1,
    )
    for power in np.linspace(11, 15, 9):
        found = least_total(parts.terms(facts, parts.server(10**power)), gap=1e-4)
        assert found.cost - found.lower_bound <= 1e-3 * found.cost
