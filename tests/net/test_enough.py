"""When a wave is over: goal, minimum and deadline, with the same weights as in simulation given the same outcomes."""

import threading
from dataclasses import replace

import pytest
import torch
from in_process import RealFleet
from test_methods_over_tls import soft_koala
from test_replay import Held

import contract
from contract import Case
from distilfleet.core.engine import rounds
from distilfleet.core.types import Expected, Job, Missed, Reply, Wave
from distilfleet.net.wave import Collecting
from distilfleet.plan.sample import Sample
from distilfleet.recipes.run import about, train
from distilfleet.record.history import read_rounds
from distilfleet.record.run import create
from distilfleet.sim.fleet import SimFleet

JOBS = [Job(id=f"j{i}", device=f"d{i}", op="", arrays={}, expected=Expected(arrays={})) for i in range(4)]


def wave(answers: int, **limits) -> Collecting:
    collecting = Collecting(Wave(jobs=JOBS, **limits), began_s=100.0, patience_s=30.0)
    for job in JOBS[:answers]:
        collecting.take(Reply(job=job.id, device=job.device, arrays={}))
    return collecting


def there(device: str) -> float:
    return 0.0


def reasons(results) -> list:
    return [one.reason if isinstance(one, Missed) else None for one in results]


def test_the_first_answers_up_to_the_goal_count():
    done = wave(3, goal=2)
    assert reasons(done.finished(100.0, there)) == [None, None, "surplus", "surplus"]


def test_a_refused_answer_is_none():
    collecting = wave(1, goal=2)
    collecting.take(Missed(job="j1", device="d1", reason="rejected: NaN"))
    assert collecting.finished(100.0, there) is None
    collecting.take(Reply(job="j2", device="d2", arrays={}))
    assert reasons(collecting.finished(100.0, there)) == [None, "rejected: NaN", None, "surplus"]


def test_at_the_deadline_the_minimum_is_enough():
    assert wave(1, minimum=2, deadline_s=5.0).finished(105.0, there) is None
    assert wave(2, minimum=2, deadline_s=5.0).finished(104.9, there) is None
    assert reasons(wave(2, minimum=2, deadline_s=5.0).finished(105.0, there)) == [None, None, "deadline", "deadline"]


def test_below_the_minimum_a_device_that_is_there_and_silent_holds_up_no_round():
    short = wave(1, minimum=2, deadline_s=5.0)
    assert short.finished(134.9, there) is None
    assert reasons(short.finished(135.0, there)) == [None, "deadline", "deadline", "deadline"]
    long = wave(1, minimum=2, deadline_s=50.0)
    assert long.finished(199.9, there) is None
    assert long.finished(200.0, there) is not None


def test_whoever_is_away_is_not_waited_for_past_the_deadline():
    assert reasons(wave(1, minimum=2, deadline_s=5.0).finished(105.0, lambda device: 1.0))[1:] == ["offline"] * 3
    assert wave(1).finished(120.0, lambda device: 20.0) is None
    assert wave(1).finished(131.0, lambda device: 31.0) is not None


def test_a_device_that_is_there_and_silent_holds_up_no_wave_without_a_deadline():
    silent = wave(3)
    silent.longest_s = 500.0
    assert silent.finished(599.9, there) is None
    assert reasons(silent.finished(600.0, there)) == [None, None, None, "deadline"]


# --- over TLS ---------------------------------------------------------------------------------------------------


@pytest.fixture
def gate():
    torch.set_num_threads(1)
    opened = threading.Event()
    yield opened
    opened.set()
    for fleet in RealFleet.open_ones:
        fleet.close()
    RealFleet.open_ones.clear()


def follow(fleet, method, planner, after, count=3):
    """State after so many rounds, and tallies; `after` is called after each."""
    state, tallies = method.init(0), []
    for done in rounds(method, planner, fleet, state, range(1, count + 1)):
        state = done.state
        tallies.append(fleet.tally())
        after()
    return state, tallies


def replayed(missed: set, planner, count=3):
    """In simulation, with these devices lost in these rounds."""
    case = Case(make=soft_koala, fleet=SimFleet)
    return contract.run(case, count, lost=lambda wave, device: (wave, device) in missed, planner=planner)[-1].state


@pytest.mark.net
def test_who_is_superfluous_is_as_if_never_asked(gate):
    """Two of four are slow, and the goal is two: the slow ones come late, and take part later as if never asked."""
    method, planner = soft_koala(), Sample(per_round=2, spare=2, seed=0)
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    for agent in fleet.agents[2:]:
        build = agent.build
        agent.build = lambda spec, build=build: Held(build(spec), gate)
    state, tallies = follow(fleet, method, planner, gate.set)
    missed = {(n, one.device): one.reason for n, tally in enumerate(tallies, 1) for one in tally.missed}
    assert missed[1, "device-02"] == missed[1, "device-03"] == "surplus"
    assert set(missed.values()) == {"surplus"}
    assert [len(tally.answered) for tally in tallies] == [2, 2, 2]
    assert contract.state_bits(replayed(set(missed), planner)) == contract.state_bits(state)


@pytest.mark.net
def test_a_round_below_its_minimum_counts_with_what_it_has(gate):
    method, planner = soft_koala(), Sample(per_round=4, minimum=4, seed=0)
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    fleet._hub.desk.patience_s = 1.0
    silent = fleet.agents[1]
    build = silent.build
    silent.build = lambda spec: Held(build(spec), gate)
    state, tallies = follow(fleet, method, replace(planner, deadline_s=2.0), lambda: None, 2)
    missed = {(n, one.device): one.reason for n, tally in enumerate(tallies, 1) for one in tally.missed}
    assert missed == {(1, "device-01"): "deadline", (2, "device-01"): "deadline"}
    assert contract.state_bits(replayed(set(missed), planner, 2)) == contract.state_bits(state)


def test_the_record_says_where_answers_were_too_few(tmp_path):
    case = Case(make=soft_koala)
    fresh = replace(contract.recorded(case), planner=Sample(per_round=4, minimum=3, seed=0))
    record = create(tmp_path / "run", about(fresh, "none", {}, "now"), {})
    for _ in train(fresh, record, None, lambda: 0.0):
        pass
    record.close()
    lines = read_rounds(tmp_path / "run")
    assert {line["devices"] >= 3 for line in lines} == {True, False}
    assert all(line.get("below_minimum") == (None if line["devices"] >= 3 else 3) for line in lines)
