"""A simulated fleet in shared cells: shares make rates, a plan is taken up, and all of it
resumes."""

from dataclasses import replace

import numpy as np
import pytest
from sim_parts import ask, board, fleet, seconds

from distilfleet.core.types import Assignment, Load, Plan, Wave
from distilfleet.cost.churn import ALWAYS
from distilfleet.cost.presets import GOOD
from distilfleet.cost.surroundings import Setting, Surroundings
from distilfleet.sim.fleet import PATIENCE_S

NAMES = ["a", "b", "c"]
BOARDS = [board(name) for name in NAMES]
EVERYONE = Plan(clusters=[NAMES])


def around(**changed):
    setting = Setting(preset=GOOD, churn=ALWAYS, **changed)
    return Surroundings({one.id: one for one in BOARDS}, setting, 0, families={"board": "sbc"})


def heavy(name):
    """A job of a megabyte and next to no work."""
    job = ask(name, flops=1.0)
    return replace(job, arrays={**job.arrays, "ballast": np.zeros(1_000_000, np.uint8)})


def surrounded(**changed):
    return fleet(BOARDS, surroundings=around(**changed))


def carry_out(on, wave):
    return on.collect(on.start(wave))


def lasting_s(on, plan, *jobs):
    on.adopt(plan)
    before_s = on._clock.now_s
    carry_out(on, Wave(jobs=jobs))
    return on._clock.now_s - before_s


def test_conditions_tell_the_channels_of_whoever_can_be_reached():
    on = surrounded()
    known = on.conditions(1)
    assert known.ids == tuple(NAMES)
    assert all(known.channels[name].up_bps > 0 for name in NAMES)
    assert on.conditions(1) == known, "asking changes nothing"
    assert fleet(BOARDS).conditions(1).channels == {}


def test_without_shares_in_the_plan_a_cell_is_shared_in_equal_parts():
    job = heavy("a")
    alone_s = lasting_s(surrounded(), Plan(clusters=[["a"]]), job)
    crowded_s = lasting_s(surrounded(), EVERYONE, job)
    assert crowded_s == pytest.approx(3 * alone_s, rel=0.05)


def test_a_plans_shares_are_taken_up():
    job = heavy("a")
    times_s = []
    for share in (0.8, 0.2):
        given = Assignment(cut=0, bits=8, uplink_share=share, downlink_share=share)
        rest = Assignment(
            cut=0, bits=8, uplink_share=(1 - share) / 2, downlink_share=(1 - share) / 2
        )
        plan = replace(EVERYONE, assignments={"a": given, "b": rest, "c": rest})
        times_s.append(lasting_s(surrounded(), plan, job))
    assert times_s[1] == pytest.approx(4 * times_s[0], rel=0.05)


def test_a_share_lengthens_a_transfer_and_not_its_energy():
    """A radio sends in its own slots alone; what is left is idling."""
    sending_s, lasted_s = [], []
    for plan in (Plan(clusters=[["a"]]), EVERYONE):
        on = surrounded()
        lasted_s.append(lasting_s(on, plan, ask("a", flops=1.0)))
        sending_s.append(on._spending.transmit_s[0])
    assert sending_s[0] == pytest.approx(sending_s[1], rel=1e-6)
    assert lasted_s[1] > lasted_s[0]


def test_the_servers_clock_is_the_plans():
    quick, slow = surrounded(), surrounded()
    slow.adopt(replace(EVERYONE, server_clock_share=0.5))
    for on in (quick, slow):
        on.work(Load(flops=1e12))
    tallies = quick.tally(), slow.tally()
    assert tallies[1].elapsed_s == pytest.approx(2 * tallies[0].elapsed_s)
    assert tallies[1].server.energy_j < 2 * tallies[0].server.energy_j


def test_whoever_cannot_be_reached_is_offline():
    on = surrounded()
    on._world.surroundings.present_N[:] = [False, True, True]
    results = carry_out(on, Wave(jobs=[ask(name) for name in NAMES]))
    assert [getattr(result, "reason", None) for result in results] == ["offline", None, None]
    assert on.conditions(2).ids == ("b", "c")


def test_a_round_without_anybody_waits_until_somebody_may_be_back():
    on = surrounded()
    on._world.surroundings.present_N[:] = False
    assert on.conditions(1).ids == ()
    on.adopt(Plan(clusters=[[]]))
    assert carry_out(on, Wave(jobs=[])) == []
    assert on.tally().elapsed_s == PATIENCE_S
    assert on.conditions(2).ids == tuple(NAMES), "who is always there is back"


def test_spending_is_told_and_a_restored_fleet_goes_on_the_same():
    whole, parts = surrounded(), surrounded()
    told = []
    for on in (whole, parts):
        for number in (1, 2):
            if on is parts and number == 2:
                kept = on.snapshot()
                on = surrounded()
                on.restore({name: array.copy() for name, array in kept.items()})
            known = on.conditions(number)
            on.adopt(EVERYONE)
            carry_out(on, Wave(jobs=[ask(name) for name in NAMES]))
            tally = on.tally()
        told.append((known, tally, on.conditions(3)))
    assert told[0] == told[1]
    assert all(joules > 0 for joules in told[0][2].spent_j.values())
    assert told[0][0].channels != told[0][2].channels, "channels change from round to round"


def test_overlapping_jobs_idle_once():
    """Two jobs of a device that are under way together: its idle power counts once."""
    jobs = [ask("a", flops=2e9), replace(ask("a", flops=2e9), id="second")]
    on = fleet(BOARDS)
    tickets = [on.start(Wave(jobs=[job])) for job in jobs]
    for ticket in tickets:
        on.collect(ticket)
    used = on.tally()
    _, compute_s, up_s = seconds(jobs[0], BOARDS[0])
    idle_j = BOARDS[0].idle_w * (used.elapsed_s - used.devices.busy_s)
    assert used.devices.busy_s == pytest.approx(2 * compute_s)
    expected_j = (
        idle_j + BOARDS[0].busy_w * used.devices.busy_s + 2 * up_s * BOARDS[0].link.transmit_w
    )
    assert used.devices.energy_j == pytest.approx(expected_j, rel=1e-6)
