import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.sim.clock import COMPUTE, DOWN, UP, Clock

seconds = st.floats(0, 1e6)
waves = st.lists(
    st.lists(
        st.tuples(st.integers(0, 3), seconds, seconds, seconds),
        min_size=1,
        max_size=4,
        unique_by=lambda j: j[0],
    ),
    max_size=6,
)


def fresh(devices=4):
    return Clock(np.zeros((3, devices)))


def passes(clock, jobs, until_s=np.inf):
    """Jobs as (device, down, compute, up) through the clock."""
    index_J = np.array([job[0] for job in jobs])
    passage = clock.pass_through(index_J, np.array([job[1:] for job in jobs], float).T)
    clock.occupy(index_J, passage, until_s)
    return passage


def test_a_job_goes_down_computes_and_comes_up():
    passage = passes(fresh(), [(0, 1, 2, 3)])
    assert passage.start_3J.T.tolist() == [[0, 1, 3]]
    assert passage.finish_s.tolist() == [6]


def test_a_second_job_waits_for_each_stage_of_the_first():
    clock = fresh()
    passes(clock, [(0, 1, 5, 1)])
    second = passes(clock, [(0, 1, 5, 1)])
    assert second.start_3J[:, 0].tolist() == [1, 6, 11]


def test_other_devices_do_not_wait():
    clock = fresh()
    passes(clock, [(0, 1, 5, 1)])
    assert passes(clock, [(1, 1, 5, 1)]).start_3J[:, 0].tolist() == [0, 1, 6]


def test_a_job_starts_no_sooner_than_now():
    clock = fresh()
    clock.wait(10)
    assert passes(clock, [(0, 1, 1, 1)]).finish_s.tolist() == [13]


def test_what_is_called_off_frees_its_stages():
    clock = fresh()
    passes(clock, [(0, 1, 5, 1)], until_s=3)
    assert clock.free_3N[:, 0].tolist() == [1, 3, 3]


def test_time_spent_until_the_call_off():
    passage = passes(fresh(), [(0, 1, 5, 1)])
    assert passage.spent_s(3).T.tolist() == [[1, 2, 0]]
    assert passage.spent_s(6.5).T.tolist() == [[1, 5, 0.5]]
    assert passage.spent_s(99).T.tolist() == [[1, 5, 1]]


def test_the_server_does_one_thing_at_a_time():
    clock = fresh()
    clock.serve(2)
    clock.serve(3)
    assert (clock.now_s, clock.serving_s) == (5, 5)


def test_waiting_never_turns_back():
    clock = fresh()
    clock.wait(5)
    clock.wait(2)
    assert clock.now_s == 5


@given(waves)
def test_stages_are_first_in_first_out(given_waves):
    clock = fresh()
    ends = {}
    for jobs in given_waves:
        passage = passes(clock, jobs)
        for j, job in enumerate(jobs):
            for stage in (DOWN, COMPUTE, UP):
                assert passage.start_3J[stage, j] >= ends.get((stage, job[0]), 0)
                ends[stage, job[0]] = passage.start_3J[stage, j] + passage.duration_3J[stage, j]


@given(waves, st.lists(seconds, min_size=6, max_size=6))
def test_stages_of_a_job_come_one_after_the_other_and_cost_no_more_than_they_last(
    given_waves, until
):
    clock = fresh()
    for jobs, until_s in zip(given_waves, until, strict=False):
        before = clock.free_3N.copy()
        passage = passes(clock, jobs, until_s)
        ends_3J = passage.start_3J + passage.duration_3J
        assert (passage.start_3J[1:] >= ends_3J[:-1]).all()
        spent = passage.spent_s(until_s)
        assert (spent >= 0).all()
        assert (spent <= passage.duration_3J).all()
        assert (clock.free_3N >= before).all()


@pytest.mark.parametrize("stage", [DOWN, COMPUTE, UP])
def test_micro_batches_take_the_longest_stage_and_a_share_of_the_others(stage):
    lasting = [1.0, 1.0, 1.0]
    lasting[stage] = 4.0
    clock = fresh()
    for _ in range(5):
        passage = passes(clock, [(0, *(total / 5 for total in lasting))])
    assert passage.finish_s[0] == pytest.approx(4 + 2 / 5, rel=1e-12)
