"""The planner as a round meets it: conditions in, plan out, and plain words where there is none."""

from dataclasses import replace

import numpy as np
import plan_parts as parts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilfleet.core.errors import ConfigError, InfeasibleError
from distilfleet.core.types import Budget, Channel, Conditions
from distilfleet.cost import catalogue
from distilfleet.plan.card import card
from distilfleet.plan.facts import roster_of
from distilfleet.plan.open import owed_j
from distilfleet.plan.sample import Sample
from distilfleet.plan.split import SplitPlanner
from distilfleet.plan.stages import remarks

LLAMA = parts.llama(bits=(8,), teacher_bits=4, recompute=True)
NET = parts.resnet18()
H200 = catalogue.device("server-h200-sxm", "server")
CARD_16GB = catalogue.device("server-rtx4060ti-16g", "server")
KINDS = (
    "jetson-nano",
    "jetson-tx2",
    "jetson-xavier-nx",
    "jetson-orin-nano-8g",
    "jetson-agx-orin-64g",
)


def conditions(size=5, seed=0, cells=1, kinds=KINDS, shared=True):
    rng = np.random.default_rng(seed)
    devices = {f"d{n}": catalogue.device(kinds[n % len(kinds)], f"d{n}") for n in range(size)}
    channels = {
        device: Channel(up_bps=up * 1e6, down_bps=down * 1e6, cell=n % cells, slowdown=slowdown)
        for n, (device, up, down, slowdown) in enumerate(
            zip(
                devices,
                rng.uniform(5, 400, size),
                rng.uniform(50, 400, size),
                rng.uniform(1, 1.3, size),
                strict=True,
            )
        )
    }
    return Conditions(
        round=3, devices=devices, ids=tuple(devices), channels=channels if shared else {}
    )


def planner(options=NET, **settings):
    return SplitPlanner(options=options, server=H200, **settings)


OBJECTIVES = {
    "sum": {},
    "makespan": {},
    "deadline": {"budget": Budget(delay_s=1000.0)},
    "open": {"budget": Budget(energy_j=10.0)},
    "card": {},
}


@pytest.mark.parametrize("options", [NET, LLAMA], ids=["net", "llama"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_gives_a_whole_plan(objective, shared, options):
    there = conditions(shared=shared, cells=2)
    planning = planner(options, objective=objective, **OBJECTIVES[objective])
    plan = planning.plan(there)
    assert sorted(plan.devices) == sorted(there.ids) == sorted(plan.assignments)
    assert plan == planning.plan(there)
    for cluster in plan.clusters:
        given = [plan.assignments[device] for device in cluster]
        assert sum(one.server_share for one in given) <= 1 + 1e-9
        for cell in {there.channels[device].cell for device in cluster} if shared else ():
            inside = [
                plan.assignments[device]
                for device in cluster
                if there.channels[device].cell == cell
            ]
            assert sum(one.uplink_share for one in inside) <= 1 + 1e-9
            assert sum(one.downlink_share for one in inside) <= 1 + 1e-9
    if not shared:
        assert {one.uplink_share for one in plan.assignments.values()} == {1.0}
    assert plan.forecast.lower_bound <= plan.forecast.cost
    if objective != "card":
        assert plan.forecast.gap <= 0.05
    assert plan.forecast.binds in ("radio", "device", "server")
    assert min(one.uplink_share for one in plan.assignments.values()) > 0


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_stages_add_up_to_what_was_planned(objective):
    there = conditions(7, cells=2)
    planning = planner(objective=objective, **OBJECTIVES[objective])
    plan = planning.plan(there)
    ids, seen = planning.stages(there, plan)
    given = [plan.assignments[device] for device in ids]
    assert seen.delay_s == pytest.approx([one.delay_s for one in given])
    assert seen.device_j == pytest.approx([one.energy_j for one in given])
    assert seen.server_j.sum() == pytest.approx(plan.forecast.server_energy_j)
    if objective == "makespan":
        assert seen.delay_s.max() == pytest.approx(plan.forecast.cost)
    if objective == "sum":
        price = planning.price_s_per_j
        cost = seen.delay_s.sum() + price * (seen.device_j.sum() + seen.server_j.sum())
        assert cost / len(ids) == pytest.approx(plan.forecast.cost)


@settings(max_examples=30)
@given(
    st.integers(2, 12),
    st.integers(0, 99),
    st.sampled_from(["sum", "makespan", "deadline"]),
    st.randoms(),
)
def test_the_order_of_devices_does_not_matter(size, seed, objective, shuffler):
    there = conditions(size, seed, cells=2)
    ids = list(there.ids)
    shuffler.shuffle(ids)
    planning = planner(objective=objective, **OBJECTIVES[objective])
    first, second = planning.plan(there), planning.plan(replace(there, ids=tuple(ids)))
    assert first.forecast.cost == pytest.approx(
        second.forecast.cost, rel=0.02 if objective != "sum" else 1e-4
    )
    assert second.forecast.lower_bound <= first.forecast.cost * (1 + 1e-9)


def test_a_slower_clock_saves_energy_where_there_is_time():
    there = conditions()
    quick, slow = (
        planner(objective="deadline", budget=Budget(delay_s=limit)).plan(there)
        for limit in (4.0, 10_000.0)
    )
    assert quick.forecast.delay_s <= 4.0 * (1 + 1e-6)
    assert slow.server_clock_share < 1
    assert slow.forecast.cost < quick.forecast.cost
    # with static power, the best clock has (static / (2 x dynamic))^(1/3) of the highest
    best = (H200.idle_w / (2 * (H200.busy_w - H200.idle_w))) ** (1 / 3)
    assert abs(slow.server_clock_share - best) <= 0.06


def test_a_transformer_is_cut_at_an_end():
    for seed in range(10):
        plan = planner(LLAMA).plan(conditions(seed=seed, kinds=("jetson-agx-orin-64g",)))
        assert {one.cut for one in plan.assignments.values()} <= {0, 16}


def test_a_net_is_cut_inside():
    cuts = {
        one.cut
        for seed in range(10)
        for one in planner().plan(conditions(seed=seed)).assignments.values()
    }
    assert cuts - {1, 9}


def test_privacy_floor_is_kept():
    plan = planner(privacy_floor=5).plan(conditions())
    assert min(one.cut for one in plan.assignments.values()) >= 5


def test_hard_energy_budget_is_kept():
    there = conditions(10)
    free = planner(price_s_per_j=0.0).plan(there)
    budget = planner(price_s_per_j=0.0, budget=Budget(energy_j=20.0))
    plan = budget.plan(there)
    ids, seen = budget.stages(there, plan)
    idle = np.array([there.devices[device].idle_w for device in ids])
    above = seen.device_j - idle * (seen.delay_s - seen.server_s)
    assert above.max() <= 20.0 * (1 + 1e-9)
    assert plan.forecast.cost >= free.forecast.lower_bound


# --- clusters -------------------------------------------------------------------------------------


def test_clusters_come_from_the_servers_memory():
    small = SplitPlanner(options=parts.llama(bits=(8,), teacher_bits=4), server=CARD_16GB)
    plan = small.plan(conditions(7, kinds=("jetson-agx-orin-64g",)))
    assert len(plan.clusters) > 1
    each = small.options.server_memory_bytes.max()
    for cluster in plan.clusters:
        assert small.options.server_held_bytes + len(cluster) * each <= CARD_16GB.memory_bytes
    assert len(planner(LLAMA).plan(conditions(7)).clusters) == 1


def test_devices_alike_share_a_cluster():
    there = conditions(8, kinds=("jetson-nano", "jetson-agx-orin-64g"), shared=False)
    plan = planner(cluster=4).plan(there)
    kinds = [{there.devices[device].kind for device in cluster} for cluster in plan.clusters]
    assert sorted(map(len, plan.clusters)) == [4, 4]
    assert kinds == [{"jetson-nano"}, {"jetson-agx-orin-64g"}]


def test_clusters_keep_a_deadline_together():
    plan = planner(objective="deadline", budget=Budget(delay_s=60.0), cluster=3).plan(conditions(7))
    assert len(plan.clusters) == 3
    assert plan.forecast.delay_s <= 60 * (1 + 1e-6)


# --- what cannot be -------------------------------------------------------------------------------


def test_a_device_without_memory_is_named():
    there = conditions(3, kinds=("rpi-zero-2w",))
    options = parts.llama(rows=None)
    with pytest.raises(
        InfeasibleError,
        match=r"device d0 lends 350 MB, .* takes 1.6 GB, 1.25 GB more. Hold fewer rows",
    ):
        planner(options).plan(there)


def test_a_floor_that_memory_does_not_allow_is_named():
    with pytest.raises(
        InfeasibleError,
        match=r"device d0 lends 3.2 GB, .*privacy floor of 16 that asks for so much",
    ):
        planner(parts.llama(bits=(8,)), privacy_floor=16).plan(conditions())


def test_a_floor_beyond_the_model_is_refused():
    with pytest.raises(
        InfeasibleError, match=r"privacy floor of 17 is beyond llama-3.2-1b: its 16 layers"
    ):
        planner(LLAMA, privacy_floor=17).plan(conditions())


def test_a_channel_in_outage_is_named():
    there = conditions()
    dark = {**there.channels, "d2": replace(there.channels["d2"], up_bps=0.0, cell=4)}
    with pytest.raises(
        InfeasibleError, match=r"device d2 has no uplink in round 3: 0 bit/s in cell 4"
    ):
        planner().plan(replace(there, channels=dark))


def test_devices_in_outage_may_be_left_out_even_all_of_them():
    there = conditions()
    dark = {one: replace(channel, up_bps=0.0) for one, channel in there.channels.items()}
    lenient = planner(outage="leave out")
    plan = lenient.plan(replace(there, channels={**there.channels, "d2": dark["d2"]}))
    assert sorted(plan.devices) == ["d0", "d1", "d3", "d4"]
    assert lenient.plan(replace(there, channels=dark)).devices == []


def test_an_impossible_deadline_names_the_smallest_possible_one():
    with pytest.raises(
        InfeasibleError, match=r"no plan is done within 0.001 s: the quickest one takes"
    ):
        planner(objective="deadline", budget=Budget(delay_s=0.001)).plan(conditions())
    with pytest.raises(ConfigError, match="set one in the budget"):
        planner(objective="deadline").plan(conditions())


def test_an_energy_budget_below_the_least_is_refused():
    with pytest.raises(
        InfeasibleError, match=r"spends .* in a step at least, .* more than its budget of 0.001 J"
    ):
        planner(budget=Budget(energy_j=0.001)).plan(conditions())


def test_a_server_too_small_is_told_what_is_missing():
    with pytest.raises(
        InfeasibleError, match=r"the server has 15 GB of memory; the models take 18.6 GB"
    ):
        SplitPlanner(options=parts.llama(), server=CARD_16GB).plan(
            conditions(kinds=("jetson-agx-orin-64g",))
        )


def test_a_sample_is_planned_for_alone():
    sample = Sample(per_round=3, seed=0, spare=1, minimum=2)
    there = conditions(9)
    planning = planner(sample=sample)
    plan = planning.plan(there)
    assert sorted(plan.devices) == sorted(sample.plan(there).devices) == sorted(plan.assignments)
    assert (plan.goal, plan.minimum) == (3, 2)
    assert len(planning.stages(there, plan)[0]) == 4


def test_nobody_is_not_planned_for():
    with pytest.raises(InfeasibleError, match="round 3 has no device"):
        planner().plan(replace(conditions(), ids=()))


# --- long-term budgets ----------------------------------------------------------------------------


def test_debts_are_what_was_spent_beyond_the_budget():
    assert owed_j({"a": 5.0, "b": 1.0}, 2.0) == {"a": 3.0, "b": 0.0}


def test_debts_price_joules():
    there = replace(conditions(6), round=2)
    planning = planner(
        objective="open", budget=Budget(energy_j=1.0), delay_weight=1.0, clocks=(1.0,)
    )
    free = planning.plan(there)
    owing = planning.plan(replace(there, spent_j=dict.fromkeys(there.ids, 1e6)))
    assert owing.forecast.device_energy_j < free.forecast.device_energy_j
    assert owing.forecast.delay_s > free.forecast.delay_s
    with pytest.raises(ConfigError, match="open needs energy"):
        planner(objective="open").plan(there)


def test_the_budget_is_met_in_the_long_run_and_debts_stay_bounded():
    rng = np.random.default_rng(0)
    base = conditions(6)
    most = planner(price_s_per_j=0.0, clocks=(1.0,)).plan(base)
    least = planner(price_s_per_j=1e6, clocks=(1.0,)).plan(base)
    limit_j = max(
        (most.assignments[d].energy_j + least.assignments[d].energy_j) / 2 for d in base.ids
    )
    planning = planner(
        objective="open", delay_weight=30.0, clocks=(1.0,), budget=Budget(energy_j=limit_j)
    )
    spent = dict.fromkeys(base.ids, 0.0)
    debts = []
    for number in range(1, 301):
        factor = rng.uniform(0.6, 1.4, 6)
        channels = {
            d: replace(c, up_bps=c.up_bps * f)
            for (d, c), f in zip(base.channels.items(), factor, strict=True)
        }
        plan = planning.plan(replace(base, round=number, channels=channels, spent_j=spent))
        spent = {device: spent[device] + one.energy_j for device, one in plan.assignments.items()}
        debts.append(max(owed_j(spent, limit_j * number).values()))
    assert max(debts) > 0
    assert max(debts[150:]) <= max(debts[:150]) * 1.5 + limit_j
    assert max(spent.values()) / 300 <= 1.1 * limit_j


# --- the reference --------------------------------------------------------------------------------


def test_the_published_clock_is_the_best_of_a_grid():
    there = conditions(4)
    facts = roster_of([there.devices[one] for one in there.ids], there.channels, NET).facts
    found = card(facts, CARD_16GB, weight=0.3, lowest_share=0.1)
    assert len(set(found.clock.tolist())) > 1
    above_w = CARD_16GB.busy_w - CARD_16GB.idle_w
    kind, of = facts.kind, NET
    own = facts.seconds_GK[kind] * facts.slowdown[:, None] + facts.base_s[:, None]
    own = (
        own
        + facts.up_s_per_byte[:, None] * of.up_bytes
        + facts.down_s_per_byte[:, None] * of.down_bytes
    )
    work_s = of.server_flops / CARD_16GB.speed_flops_per_s
    for n in range(4):
        range_s = (own[n] + work_s / 0.1).max() - (own[n] + work_s).min()
        range_j = above_w * (work_s.max() - 0.01 * work_s.min())

        def value(clock, n=n, range_s=range_s, range_j=range_j):
            return (
                0.3 * (own[n] + work_s / clock) / range_s
                + 0.7 * above_w * clock**2 * work_s / range_j
            )

        best = min(value(clock).min() for clock in np.linspace(0.1, 1, 2001))
        assert value(found.clock[n])[found.chosen[n]] <= best * (1 + 1e-6)


def test_remarks_say_what_binds_and_what_is_true():
    planning = planner(LLAMA)
    there = conditions()
    _, seen = planning.stages(there, planning.plan(there))
    told = "\n".join(remarks(LLAMA, seen, privacy_floor=2))
    assert f"binds      {seen.binds}" in told
    assert "every cut of llama-3.2-1b sends the same bytes" in told
    assert "end point" in told
    assert "sends fewer bytes the deeper it is cut" in "\n".join(remarks(NET, seen))
