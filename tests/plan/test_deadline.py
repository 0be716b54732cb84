"""Least energy within a deadline: feasible, bounded, and plain about what cannot be."""

import plan_parts as parts
import pytest

from distilfleet.core.errors import InfeasibleError
from distilfleet.plan.deadline import least_energy
from distilfleet.plan.makespan import least_makespan

TABLES = {"4 bits": parts.llama(bits=(4,)), "net": parts.resnet18()}


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize(("size", "cells"), [(5, 1), (100, 1), (100, 40)])
def test_later_deadlines_take_less_energy_and_are_kept(name, size, cells):
    facts, at = parts.fleet(size, 7, TABLES[name], cells=cells), parts.server(size / 100 * 1e13)
    quickest_s = least_makespan(facts, at).delay_s
    before_j = float("inf")
    for factor in (1.05, 1.25, 2.0, 5.0):
        found = least_energy(facts, at, factor * quickest_s)
        delays_s = facts.computing_s(found.chosen) + sum(found.slices_s)
        assert delays_s.max() <= factor * quickest_s * (1 + 1e-6)
        assert found.lower_bound_j <= found.energy_j <= before_j * (1 + 1e-9)
        assert (
            found.energy_j - found.lower_bound_j <= (0.05 if size < 10 else 0.03) * found.energy_j
        )
        assert (
            facts.per_cell(
                facts.up_s_per_byte * facts.options.up_bytes[found.chosen] / found.slices_s[0]
            )
        ).max() < 1 + 1e-6
        work_s = facts.options.server_flops[found.chosen] / at.speed_flops_per_s
        assert (work_s / found.slices_s[2]).sum() <= 1 + 1e-6
        before_j = found.energy_j


def test_with_time_enough_each_device_takes_its_least_energy():
    facts, at = parts.fleet(30, 3, TABLES["net"]), parts.server()
    found = least_energy(facts, at, 1e6)
    of = facts.options
    for n, g in enumerate(facts.kind):
        watts = facts.hardware.busy_w[g] - facts.hardware.idle_w[g]
        joules = (
            watts * facts.seconds_GK[g] * facts.slowdown[n] + at.energy_per_flop_j * of.server_flops
        )
        joules = joules + facts.hardware.transmit_w[g] * facts.up_s_per_byte[n] * of.up_bytes
        allowed = facts.allowed_GK[g]
        assert joules[found.chosen[n]] == pytest.approx(joules[allowed].min(), rel=1e-3)


def test_an_impossible_deadline_is_refused_with_the_smallest_possible_one():
    facts, at = parts.fleet(30, 3, TABLES["net"]), parts.server()
    quickest = least_makespan(facts, at, gap=1e-4)
    with pytest.raises(
        InfeasibleError, match=rf"within 0.01 s: the quickest one takes {quickest.delay_s:.4g} s"
    ) as told:
        least_energy(facts, at, 0.01)
    assert f"Allow {quickest.delay_s:.4g} s" in str(told.value)
    least_energy(facts, at, quickest.delay_s * 1.001)
