"""When a wave is over: goal, minimum and deadline, with the same weights as in simulation given the
same outcomes."""

import threading
from dataclasses import replace

import pytest
import torch
from in_process import RealFleet
from test_methods_over_tls import soft_koala
from test_real_fleet import until
from test_replay import Held

import contract
from contract import Case
from distilfleet.core.engine import rounds
from distilfleet.core.errors import StarvedError
from distilfleet.core.types import Expected, Job, Missed, Plan, Reply, Wave
from distilfleet.net.agent import MOST_DEATHS
from distilfleet.net.caps import Caps
from distilfleet.net.fleet import ignore
from distilfleet.net.waiting import Standing
from distilfleet.net.wave import Collecting, Quorum
from distilfleet.plan.sample import Sample
from distilfleet.record.history import read_rounds
from distilfleet.record.queue import Queue
from distilfleet.record.run import create
from distilfleet.service.spec import write_spec
from distilfleet.service.waiting import GAVE_WAY, LetGoError, Waiting
from distilfleet.sim.fleet import SimFleet
from distilfleet.training.loop import about, train

JOBS = [
    Job(id=f"j{i}", device=f"d{i}", op="", arrays={}, expected=Expected(arrays={}))
    for i in range(4)
]


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
    assert reasons(wave(2, minimum=2, deadline_s=5.0).finished(105.0, there)) == [
        None,
        None,
        "deadline",
        "deadline",
    ]


@pytest.mark.parametrize(
    "limits", [{}, {"minimum": 0}, {"minimum": 2}, {"minimum": 2, "deadline_s": 5.0}, {"goal": 3}]
)
@pytest.mark.parametrize("away", [there, lambda device: 1e9], ids=["silent", "away"])
def test_below_its_minimum_which_is_one_at_least_a_wave_is_never_over(limits, away):
    short = wave(max(1, limits.get("minimum", 1)) - 1, **limits)
    short.longest_s = 500.0
    for now_s in (100.0, 105.0, 131.0, 599.0, 601.0, 1e9):
        assert short.finished(now_s, away) is None
    short.take(Reply(job="j3", device="d3", arrays={}))
    assert short.finished(1e9, away) is not None


def test_whoever_is_away_is_waited_for_from_the_begin_of_the_wave_or_from_when_it_was_last_heard():
    one = wave(1)
    assert one.finished(130.0, lambda device: 1e9) is None, "away since long before"
    assert reasons(one.finished(130.1, lambda device: 1e9))[1:] == ["offline"] * 3
    assert one.finished(150.0, lambda device: 30.0) is None, "heard since"
    assert one.finished(151.0, lambda device: 31.0) is not None


def test_whoever_was_given_up_is_waited_for_once_it_is_heard_again():
    one = wave(1)
    one.given_up = frozenset(job.device for job in JOBS)
    assert one.finished(101.0, lambda device: 1.5) is not None
    assert one.finished(101.0, lambda device: 0.5) is None


def test_what_is_put_off_is_not_waited_for_unless_it_is_needed():
    one = wave(3)
    assert not one.take(Missed(job="j3", device="d3", reason="later: only from 22 to 6 o'clock"))
    assert reasons(one.finished(100.0, there)) == [
        None,
        None,
        None,
        "later: only from 22 to 6 o'clock",
    ]
    needed = wave(3, minimum=4)
    needed.take(Missed(job="j3", device="d3", reason="later: only from 22 to 6 o'clock"))
    assert needed.finished(1e9, there) is None and not needed.refused
    assert needed.lacks(106.0, there) == ["d3"]
    needed.take(Reply(job="j3", device="d3", arrays={}))
    assert needed.finished(1e9, there) is not None


def test_a_wave_is_stuck_once_too_many_declined_for_good():
    one = wave(2, minimum=2)
    for job in JOBS[2:]:
        one.take(Missed(job=job.id, device=job.device, reason="memory"))
    assert not one.is_stuck(100.0, there)
    short = wave(2, minimum=3)
    short.take(Missed(job="j2", device="d2", reason="declined: for good"))
    assert not short.is_stuck(100.0, there)
    short.take(Missed(job="j3", device="d3", reason="rejected: NaN"))
    assert short.is_stuck(100.0, there)
    assert [short.spares(job.device) for job in JOBS] == [True, True, False, False]


def test_a_wave_is_stuck_when_everybody_has_been_away_for_too_long():
    one = wave(0)
    assert not one.is_stuck(130.0, lambda device: 1e9)
    assert one.is_stuck(130.1, lambda device: 1e9)
    assert not one.is_stuck(1e9, lambda device: 1e9 * (device != "d3")), (
        "one is here, and may be slow"
    )


def test_a_round_in_parts_goes_on_without_one_of_them_and_never_without_all():
    """Clusters are asked one after the other, of one device each."""
    quorum = Quorum.of(Plan(clusters=(("d0",), ("d1",), ("d2",)), minimum=1))
    for job in JOBS[:2]:
        part = Collecting(Wave(jobs=[job]), began_s=100.0, patience_s=30.0, quorum=quorum)
        results = part.finished(131.0, lambda device: 31.0)
        assert reasons(results) == ["offline"]
        quorum.note(results)
    last = Collecting(Wave(jobs=[JOBS[2]]), began_s=200.0, patience_s=30.0, quorum=quorum)
    assert last.finished(1e9, lambda device: 1e9) is None


def test_a_device_that_is_there_and_silent_holds_up_no_wave_without_a_deadline():
    silent = wave(3)
    silent.longest_s = 500.0
    assert silent.finished(599.9, there) is None
    assert reasons(silent.finished(600.0, there)) == [None, None, None, "deadline"]


# --- over TLS -------------------------------------------------------------------------------------


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


def hold(fleet, agents, gate):
    """These answer nothing until the gate is open, in a run that begins now."""
    for agent in agents:
        agent.build = lambda spec, build=agent.build: Held(build(spec), gate)
    fleet.open("held", write_spec(fleet.spec))


def replayed(missed: set, planner, count=3):
    """In simulation, with these devices lost in these rounds."""
    case = Case(make=soft_koala, fleet=SimFleet)
    return contract.run(
        case, count, lost=lambda wave, device: (wave, device) in missed, planner=planner
    )[-1].state


@pytest.mark.net
def test_who_is_superfluous_is_as_if_never_asked(gate):
    """Two of four are slow, and the goal is two: the slow ones come late, and take part later as if
    never asked."""
    method, planner = soft_koala(), Sample(per_round=2, spare=2, seed=0)
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    hold(fleet, fleet.agents[2:], gate)
    state, tallies = follow(fleet, method, planner, gate.set)
    missed = {
        (n, one.device): one.reason for n, tally in enumerate(tallies, 1) for one in tally.missed
    }
    assert missed[1, "device-02"] == missed[1, "device-03"] == "surplus"
    assert set(missed.values()) == {"surplus"}
    assert [len(tally.answered) for tally in tallies] == [2, 2, 2]
    assert contract.state_bits(replayed(set(missed), planner)) == contract.state_bits(state)


@pytest.mark.net
def test_a_round_below_its_minimum_waits_past_its_deadline_says_so_and_loses_nobody(gate):
    method, planner = soft_koala(), Sample(per_round=4, minimum=4, seed=0)
    fleet, heard = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method), []
    fleet._session_server.coordinator.patience_s = 0.2
    hold(fleet, fleet.agents[1:2], gate)

    def hear(standing: Standing) -> None:
        if standing.waits != (heard[-1] if heard else ""):
            heard.append(standing.waits)
            gate.set()

    fleet._waiting = hear
    state, tallies = follow(fleet, method, replace(planner, deadline_s=1.0), lambda: None, 2)
    assert not any(tally.missed for tally in tallies)
    needs = (
        "round 1 waits for devices: 3 of 4 have answered, and the round needs 4 of its 4 devices"
    )
    assert heard[0] == f"{needs}. Not here, or without an answer: device-01"
    assert heard[-1] == ""
    assert contract.state_bits(replayed(set(), planner, 2)) == contract.state_bits(state)


@pytest.mark.net
def test_a_round_that_too_many_decline_for_good_ends_the_run_with_their_reasons():
    method = soft_koala()
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    try:
        for agent in fleet.agents[:2]:
            agent.caps = Caps(jobs=0)
        with pytest.raises(StarvedError) as told:
            follow(fleet, method, Sample(per_round=4, minimum=3, seed=0), lambda: None)
    finally:
        fleet.close()
        RealFleet.open_ones.clear()
    assert "2 of 4 devices do not do its job, and the round needs 3 of its 4" in str(told.value)
    assert "device-00, device-01: declined: 0 jobs are done" in str(told.value)


@pytest.mark.net
def test_a_round_that_is_done_again_by_others_says_who_did_not_answer(gate, caplog):
    method = soft_koala()
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    fleet.agents[0].caps = Caps(jobs=0)
    follow(fleet, method, Sample(per_round=3, minimum=3, seed=0), lambda: None, 3)
    told = [line for line in caplog.messages if "is done again by other devices" in line]
    assert told
    assert {line.rpartition(": ")[2] for line in told} == {"device-00"}


@pytest.mark.net
def test_a_run_that_is_stopped_while_it_waits_lets_go_of_its_round_and_the_next_begins(
    gate, tmp_path
):
    method, queue = soft_koala(), Queue(tmp_path)
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    fleet._session_server.coordinator.patience_s = 0.2
    hold(fleet, fleet.agents[1:2], gate)
    queue.ask("run", {"recipe": "koala"})
    waiting = Waiting(queue, "run")

    def hear(standing: Standing) -> None:
        waiting(standing)
        if standing.waits:
            assert queue.entry("run").state == "waiting for devices"
            assert queue.entry("run").waits == standing.waits
            queue.stop("run")

    fleet._waiting = hear
    with pytest.raises(LetGoError):
        follow(fleet, method, Sample(per_round=4, minimum=4, seed=0, deadline_s=1.0), lambda: None)
    fleet.abandon(0)
    queue.set_aside("run")
    assert (queue.entry("run").state, queue.entry("run").waits) == ("stopped", "")
    gate.set()
    fleet._waiting = ignore
    fleet.open("next", write_spec(fleet.spec))
    _, (tally,) = follow(fleet, method, Sample(per_round=4, minimum=4, seed=0), lambda: None, 1)
    assert len(tally.answered) == 4
    until(lambda: not any("held/" in key for agent in fleet.agents for key in agent.side.held))


@pytest.mark.net
def test_a_run_whose_devices_are_there_and_silent_is_stopped_at_once_while_nothing_would_be_lost(
    gate, tmp_path
):
    method, queue = soft_koala(), Queue(tmp_path)
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    hold(fleet, fleet.agents, gate)
    queue.ask("run", {"recipe": "koala"})
    queue.stop("run")
    fleet._waiting = Waiting(queue, "run")
    with pytest.raises(LetGoError, match="stopped in the middle of a round"):
        follow(fleet, method, Sample(per_round=4, seed=0), lambda: None)
    assert fleet._session_server.coordinator.waits == "", "all devices are there"


@pytest.mark.net
def test_a_run_with_answers_is_stopped_when_they_are_older_than_the_patience(gate, tmp_path):
    method, queue = soft_koala(), Queue(tmp_path)
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    hold(fleet, fleet.agents[:1], gate)
    queue.ask("run", {"recipe": "koala"})
    coordinator, waiting, losing = fleet._session_server.coordinator, Waiting(queue, "run"), []

    def hear(standing: Standing) -> None:
        if any(wave.answers == 3 for wave in coordinator.waves.values()):
            queue.stop("run")
            losing.append(not standing.loses_nothing)
            coordinator.patience_s = 60.0 if len(losing) < 3 else 0.0
        waiting(standing)

    fleet._waiting = hear
    with pytest.raises(LetGoError):
        follow(fleet, method, Sample(per_round=4, seed=0), lambda: None)
    assert losing[:3] == [True, True, True]
    assert losing[-1] is False


@pytest.mark.net
def test_a_paused_run_gives_the_next_one_its_turn_and_goes_on_after_it(gate, tmp_path):
    method, queue = soft_koala(), Queue(tmp_path)
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    coordinator, waiting, needs_all = (
        fleet._session_server.coordinator,
        Waiting(queue, "first"),
        Sample(per_round=4, minimum=4, seed=0),
    )
    coordinator.patience_s, coordinator.longest_s = 0.2, 4.0
    hold(fleet, fleet.agents[1:2], gate)
    queue.ask("first", {"recipe": "koala"})
    paused, turns = [], []

    def hear(standing: Standing) -> None:
        paused.append(standing.is_paused)
        turns.append(waiting(standing))
        if len(turns) > 2 and standing.is_paused:
            queue.ask("next", {"recipe": "koala"})

    fleet._waiting = hear
    with pytest.raises(LetGoError, match="gave way"):
        follow(fleet, method, needs_all, lambda: None)
    assert paused[:2] != [True, True], "it waits before it gives way"
    assert "round 1 is paused, waiting for devices" in coordinator.waits
    fleet.abandon(0)
    queue.put_last("first")
    assert queue.waiting() == ["next", "first"]
    assert queue.entry("first").state == "waiting"
    assert queue.entry("first").waits.startswith(f"{GAVE_WAY}: round 1 is paused")
    fleet._waiting = Waiting(queue, "next")
    fleet.open("next", write_spec(fleet.spec))
    _, (tally,) = follow(
        fleet, method, Sample(per_round=3, minimum=3, seed=0, spare=1), lambda: None, 1
    )
    assert len(tally.answered) == 3
    assert queue.entry("first").waits, "who follows it is told until it goes on"


@pytest.mark.net
def test_words_go_on_while_a_device_loads_its_model_and_it_takes_that_of_the_newest_run(gate):
    method = soft_koala()
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    slow, begun = fleet.agents[1], threading.Event()
    build = slow.build

    def build_slowly(spec):
        begun.set()
        assert gate.wait(20)
        return build(spec)

    slow.build = build_slowly
    fleet.open("first", write_spec(fleet.spec))
    assert begun.wait(20)
    fleet.open("second", write_spec(fleet.spec))
    until(lambda: slow.run == "second")
    assert not gate.is_set() and slow.runner is None
    gate.set()
    _, (tally,) = follow(fleet, method, Sample(per_round=4, minimum=4, seed=0), lambda: None, 1)
    assert len(tally.answered) == 4


@pytest.mark.net
def test_a_device_whose_process_died_again_and_again_in_a_run_does_no_more_until_started_anew():
    method = soft_koala()
    fleet = contract.fleet_of(Case(make=soft_koala, fleet=RealFleet), method)
    weak, sound = fleet.agents[0], fleet.agents[1]
    try:
        for agent, deaths in ((weak, MOST_DEATHS), (sound, MOST_DEATHS - 1)):
            for _ in range(deaths):
                agent.attempts.begin("run")
        _, (first, second) = follow(fleet, method, Sample(per_round=4, seed=0), lambda: None, 2)
        assert [weak.attempts.died("run"), sound.attempts.died("run")] == [MOST_DEATHS, 0]
        fleet.run(weak.leave())
        assert weak.attempts.died("run") == 0
    finally:
        fleet.close()
        RealFleet.open_ones.clear()
    for tally in (first, second):
        (missed,) = tally.missed
        assert missed.device == "device-00"
        assert missed.reason.startswith(
            f"declined: the agent's process died {MOST_DEATHS} times in a row"
        )


def test_the_record_says_where_answers_were_too_few(tmp_path):
    case = Case(make=soft_koala)
    fresh = replace(contract.recorded(case), planner=Sample(per_round=4, minimum=3, seed=0))
    record = create(tmp_path / "run", about(fresh, "none", {}, "now"), {})
    for _ in train(fresh, contract.unreliable(case, fresh), record, None, lambda: 0.0):
        pass
    record.close()
    lines = read_rounds(tmp_path / "run")
    assert {line["devices"] >= 3 for line in lines} == {True, False}
    assert all(line.get("below_minimum") == (None if line["devices"] >= 3 else 3) for line in lines)
