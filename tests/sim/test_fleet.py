from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_parts import ANSWER, Doing, ask, board, fleet, frame_bytes, honest, no_data, seconds

from distilfleet.core.engine import drive, rounds
from distilfleet.core.errors import StarvedError
from distilfleet.core.types import ArraySpec, Load, Missed, Plan, Reply, Wave
from distilfleet.plan.sample import Sample

NAMES = ["a", "b", "c", "d"]
BOARDS = [board(name) for name in NAMES]
IN_FOUR_SPEEDS = [ask(name, flops=1e9 * (i + 1)) for i, name in enumerate(NAMES)]
"""The first device is done after about one second, the last after about four."""


def carry_out(on, wave):
    return on.collect(on.start(wave))


def reasons(results):
    return [result.reason if isinstance(result, Missed) else None for result in results]


def after_s(*jobs):
    """When the last of these is done, each on its own board."""
    return max(sum(seconds(job, board(job.device))) for job in jobs)


# --- who answers ----------------------------------------------------------------------------------


def test_all_answer_in_the_order_of_the_jobs_whatever_the_finishing_order():
    jobs = IN_FOUR_SPEEDS[::-1]
    results = carry_out(fleet(BOARDS), Wave(jobs=jobs))
    assert [result.device for result in results] == ["d", "c", "b", "a"]
    assert [result.arrays["y"][0] for result in results] == [4e9, 3e9, 2e9, 1e9]


def test_a_goal_calls_the_surplus_off():
    on = fleet(BOARDS)
    assert reasons(carry_out(on, Wave(jobs=IN_FOUR_SPEEDS, goal=2))) == [
        None,
        None,
        "surplus",
        "surplus",
    ]
    assert on.tally().elapsed_s == pytest.approx(after_s(*IN_FOUR_SPEEDS[:2]), rel=1e-12)


def test_called_off_devices_have_spent_a_part():
    on = fleet(BOARDS)
    carry_out(on, Wave(jobs=IN_FOUR_SPEEDS, goal=1))
    end_s, used = after_s(IN_FOUR_SPEEDS[0]), on.tally().devices
    down, up = frame_bytes(IN_FOUR_SPEEDS[0])
    down_s, compute_s, up_s = seconds(IN_FOUR_SPEEDS[0], BOARDS[0])
    late_busy_s = end_s - down_s
    assert used.busy_s == pytest.approx(compute_s + 3 * late_busy_s, rel=1e-9)
    own_j = 1.0 * (down_s + up_s) + 5.0 * compute_s + 2.0 * up_s
    late_j = 1.0 * down_s + 5.0 * late_busy_s
    assert used.energy_j == pytest.approx(own_j + 3 * late_j, rel=1e-9)
    assert (used.down_bytes, used.up_bytes) == (4 * down, up)


def test_the_late_miss_the_deadline_and_the_clock_stands_at_it():
    on = fleet(BOARDS)
    results = carry_out(on, Wave(jobs=IN_FOUR_SPEEDS, deadline_s=2.5))
    assert reasons(results) == [None, None, "deadline", "deadline"]
    assert on.tally().elapsed_s == 2.5


def test_the_minimum_extends_beyond_the_deadline():
    on = fleet(BOARDS)
    results = carry_out(on, Wave(jobs=IN_FOUR_SPEEDS, minimum=3, deadline_s=1.5))
    assert reasons(results) == [None, None, None, "deadline"]
    assert on.tally().elapsed_s == pytest.approx(after_s(*IN_FOUR_SPEEDS[:3]), rel=1e-12)


def test_all_in_time_do_not_wait_for_the_deadline():
    on = fleet(BOARDS)
    assert reasons(carry_out(on, Wave(jobs=IN_FOUR_SPEEDS, deadline_s=100))) == [None] * 4
    assert on.tally().elapsed_s == pytest.approx(after_s(*IN_FOUR_SPEEDS), rel=1e-12)


def test_a_goal_within_the_deadline_ends_the_wave():
    on = fleet(BOARDS)
    assert reasons(carry_out(on, Wave(jobs=IN_FOUR_SPEEDS, goal=1, deadline_s=2.5))) == [
        None,
        *["surplus"] * 3,
    ]
    assert on.tally().elapsed_s == pytest.approx(after_s(IN_FOUR_SPEEDS[0]), rel=1e-12)


def test_the_deadline_counts_from_the_start_of_the_wave():
    on = fleet(BOARDS)
    on.work(Load(flops=1e9))
    assert reasons(carry_out(on, Wave(jobs=IN_FOUR_SPEEDS, deadline_s=2.5))) == [
        None,
        None,
        "deadline",
        "deadline",
    ]
    assert on.tally().elapsed_s == 3.5


def test_an_empty_wave_takes_no_time():
    on = fleet(BOARDS)
    assert carry_out(on, Wave(jobs=[], deadline_s=5)) == []
    assert on.tally().elapsed_s == 0


def test_a_share_of_the_calls_finds_nobody():
    many = [board(f"{i:03d}") for i in range(400)]
    on = fleet(many, offline_share=0.25)
    results = carry_out(on, Wave(jobs=[ask(one.id) for one in many]))
    assert set(reasons(results)) == {None, "offline"}
    assert 70 <= reasons(results).count("offline") <= 130
    again = carry_out(on, Wave(jobs=[ask(one.id, name=f"2:{one.id}") for one in many]))
    assert reasons(again) != reasons(results)


def test_nobody_there_is_no_end():
    on = fleet(BOARDS, offline_share=1.0)
    assert reasons(carry_out(on, Wave(jobs=IN_FOUR_SPEEDS))) == ["offline"] * 4
    assert on.tally().devices.energy_j == 0


def test_what_does_not_fit_is_refused_by_name():
    boards = [board("a", memory=999), board("b", memory=1000)]
    on = fleet(boards)
    assert reasons(carry_out(on, Wave(jobs=[ask("a"), ask("b")]))) == ["memory", None]
    missed = on.tally().missed
    assert [(one.device, one.reason) for one in missed] == [("a", "memory")]


def test_memory_can_be_ignored():
    on = fleet([board("a", memory=1)], ignore_memory=True)
    assert reasons(carry_out(on, Wave(jobs=[ask("a")]))) == [None]


def test_a_wave_has_one_job_per_device():
    with pytest.raises(ValueError, match="one job per device"):
        fleet(BOARDS).start(Wave(jobs=[ask("a", name="1"), ask("a", name="2")]))


def test_a_missed_device_is_as_before():
    method = Doing(keeps=True)
    on = fleet(BOARDS, method)
    carry_out(on, Wave(jobs=IN_FOUR_SPEEDS, goal=2))
    assert {device: int(kept["done"]) for device, kept in on.kept().items()} == {"a": 1, "b": 1}


# --- hostile devices ------------------------------------------------------------------------------

HOSTILE = {
    "holds NaN": lambda job: {"y": np.array([1, np.nan, 1, 1])},
    "infinity": lambda job: {"y": np.array([1, np.inf, 1, 1])},
    "expected <f8[4]": lambda job: {"y": np.ones((2, 2))},
    "is float32": lambda job: {"y": np.ones(4, np.float32)},
    "is over": lambda job: {"y": np.full(4, 1e30)},
    "expected arrays": lambda job: {"z": np.ones(4)},
    "got []": lambda job: {},
    "got ['extra', 'y']": lambda job: {**honest(job), "extra": np.ones(1)},
}


@pytest.mark.parametrize(("told", "answer"), HOSTILE.items(), ids=HOSTILE)
def test_a_hostile_answer_is_refused_and_seen(told, answer):
    on = fleet(BOARDS, Doing(answers={"b": answer}))
    results = carry_out(on, Wave(jobs=[ask(name, most_norm=1e12) for name in NAMES]))
    assert [isinstance(result, Reply) for result in results] == [True, False, True, True]
    assert results[1].reason.startswith("rejected: ")
    assert told in results[1].reason
    tally = on.tally()
    assert tally.missed == [results[1]]
    assert tally.answered == ["a", "c", "d"]


def test_a_refused_answer_counts_neither_for_the_goal_nor_for_the_minimum():
    method = Doing(answers={"a": HOSTILE["holds NaN"]})
    results = carry_out(fleet(BOARDS, method), Wave(jobs=IN_FOUR_SPEEDS, goal=1))
    assert [type(result) for result in results] == [Missed, Reply, Missed, Missed]
    results = carry_out(fleet(BOARDS, method), Wave(jobs=IN_FOUR_SPEEDS, minimum=1, deadline_s=0.5))
    assert [type(result) for result in results] == [Missed, Reply, Missed, Missed]


@pytest.mark.parametrize("deadline_s", [None, 2.5])
def test_hostile_devices_alone_end_the_run_with_their_reasons(deadline_s):
    on = fleet(BOARDS, Doing(answers=dict.fromkeys(NAMES, HOSTILE["holds NaN"])))
    wave = Wave(jobs=IN_FOUR_SPEEDS, goal=2, minimum=2, deadline_s=deadline_s)
    with pytest.raises(
        StarvedError, match=r"4 of 4 devices do not do its job.*a, b, c, d: rejected: y holds NaN"
    ):
        carry_out(on, wave)


def test_a_run_ends_when_fewer_devices_than_its_minimum_do_what_they_are_asked():
    on = fleet(BOARDS, Doing(answers=dict.fromkeys(NAMES[:2], HOSTILE["holds NaN"])))
    for minimum in (0, 1, 2):
        on.adopt(Plan(clusters=[NAMES], minimum=minimum))
        assert (
            sum(
                isinstance(one, Reply)
                for one in carry_out(on, Wave(jobs=[ask(name) for name in NAMES]))
            )
            == 2
        )
    on.adopt(Plan(clusters=[NAMES], minimum=3))
    with pytest.raises(
        StarvedError, match=r"2 of 4 devices .* needs 3 of its 4 devices. a, b: rejected"
    ):
        carry_out(on, Wave(jobs=[ask(name) for name in NAMES]))


def test_refusals_in_different_rounds_add_up_until_the_device_answers():
    refusing = set(NAMES)
    answers = {
        name: lambda job: HOSTILE["holds NaN"](job) if job.device in refusing else honest(job)
        for name in NAMES
    }
    on = fleet(BOARDS, Doing(answers=answers))
    for name in NAMES[:3]:
        carry_out(on, Wave(jobs=[ask(name)]))
    refusing.remove("a")
    assert isinstance(carry_out(on, Wave(jobs=[ask("a")]))[0], Reply)
    carry_out(on, Wave(jobs=[ask("d")]))
    refusing.add("a")
    with pytest.raises(StarvedError):
        carry_out(on, Wave(jobs=[ask("a")]))


def test_a_device_cannot_change_what_the_others_are_sent():
    def scribbles(job):
        job.arrays["flops"][...] = 0
        return honest(job)

    shared = {"flops": np.array(1e9)}
    jobs = [replace(ask(name), arrays=shared) for name in NAMES]
    with pytest.raises(ValueError, match="read-only"):
        carry_out(fleet(BOARDS, Doing(answers={"a": scribbles})), Wave(jobs=jobs))


# --- prices ---------------------------------------------------------------------------------------


def test_a_job_by_hand():
    one, job = board("a", up=4e6, down=2e6, latency=0.01, transmit=2.0), ask("a", flops=3e9)
    on = fleet([one])
    carry_out(on, Wave(jobs=[job]))
    tally, (down, up) = on.tally(), frame_bytes(job)
    down_s, up_s = 8 * down / 2e6 + 0.01, 8 * up / 4e6 + 0.01
    assert (tally.devices.down_bytes, tally.devices.up_bytes) == (down, up)
    assert tally.elapsed_s == pytest.approx(down_s + 3.0 + up_s, rel=1e-12)
    assert tally.devices.busy_s == pytest.approx(3.0, rel=1e-12)
    assert tally.devices.energy_j == pytest.approx(
        1.0 * (down_s + up_s) + 5.0 * 3.0 + 2.0 * up_s, rel=1e-12
    )
    assert tally.server.energy_j == pytest.approx(1.0 * tally.elapsed_s, rel=1e-12)
    assert not tally.devices.measured


def test_bytes_are_those_of_the_frames_also_when_arrays_are_shared():
    shared = {"flops": np.array(1e9)}
    jobs = [replace(ask(name), arrays=shared) for name in NAMES]
    on = fleet(BOARDS)
    carry_out(on, Wave(jobs=jobs))
    used = on.tally().devices
    assert used.down_bytes == sum(frame_bytes(job)[0] for job in jobs)
    assert used.up_bytes == sum(frame_bytes(job)[1] for job in jobs)


def test_the_server_is_priced_on_its_own_profile():
    on = fleet(BOARDS, server=board("server", speed=2e9))
    on.work(Load(flops=4e9))
    on.work(Load(flops=2e9))
    tally = on.tally()
    assert (tally.elapsed_s, tally.server.busy_s, tally.server.energy_j) == (3.0, 3.0, 15.0)


def test_a_tally_starts_anew_and_the_clock_goes_on():
    on = fleet(BOARDS)
    carry_out(on, Wave(jobs=IN_FOUR_SPEEDS))
    first = on.tally()
    second = on.tally()
    assert second.elapsed_s == first.elapsed_s > 0
    assert (second.devices.energy_j, second.server.energy_j, second.answered, second.missed) == (
        0,
        0,
        [],
        [],
    )


# --- everything at once ---------------------------------------------------------------------------

some_waves = st.lists(
    st.builds(
        lambda flops, goal, minimum, deadline_s: (flops, goal, minimum, deadline_s),
        st.lists(st.floats(0, 1e10), min_size=1, max_size=4),
        st.none() | st.integers(0, 4),
        st.integers(0, 4),
        st.none() | st.floats(0, 10),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(some_waves, st.floats(0, 1), st.sets(st.sampled_from(NAMES), max_size=len(NAMES) - 1))
def test_whatever_happens_results_are_complete_time_goes_on_and_nothing_is_given_back(
    given_waves, offline, bad
):
    on = fleet(
        BOARDS, Doing(answers=dict.fromkeys(bad, HOSTILE["holds NaN"])), offline_share=offline
    )
    before_s = 0.0
    for number, (flops, goal, minimum, deadline_s) in enumerate(given_waves):
        jobs = [
            ask(name, flops=f, name=f"{number}:{name}")
            for name, f in zip(NAMES, flops, strict=False)
        ]
        results = carry_out(on, Wave(jobs=jobs, goal=goal, minimum=minimum, deadline_s=deadline_s))
        assert [(r.job, r.device) for r in results] == [(job.id, job.device) for job in jobs]
        tally = on.tally()
        assert tally.elapsed_s >= before_s
        assert tally.devices.energy_j >= 0
        assert tally.devices.busy_s >= 0
        assert len(tally.answered) + len(tally.missed) == len(jobs)
        assert goal is None or len(tally.answered) <= max(goal, minimum)
        assert tally.devices.up_bytes <= sum(frame_bytes(job)[1] for job in jobs)
        before_s = tally.elapsed_s


# --- size -----------------------------------------------------------------------------------------


class Waves:
    """The server half: one wave per round."""

    def round(self, state, plan, conditions):
        yield Wave(
            jobs=[ask(device, name=f"{conditions.round}:{device}") for device in plan.devices]
        )
        return state


@pytest.mark.parametrize("keeps", [True, False])
def test_the_work_of_a_round_does_not_grow_with_the_fleet(keeps):
    def effort(size):
        looked_up, method = [], Doing(keeps=keeps)
        boards = [board(f"{i:05d}") for i in range(size)]
        on = fleet(boards, method, data=lambda device: looked_up.append(device) or no_data(device))
        for _ in rounds(Waves(), Sample(per_round=4, seed=0), on, None, range(1, 4)):
            assert len(on.kept()) <= 12
        return len(method.made), len(looked_up)

    for made, looked_up in (effort(3000), effort(300)):
        assert 4 <= made <= 12
        assert 4 <= looked_up <= 12


def test_devices_that_keep_nothing_leave_nothing_behind():
    boards = [board(f"{i:03d}") for i in range(50)]
    method = Doing()
    on = fleet(boards, method, offline_share=0.5)
    carry_out(on, Wave(jobs=[ask(one.id) for one in boards], goal=10))
    assert len(method.made) > 10
    assert len(method.alive) == 0


# --- snapshots ------------------------------------------------------------------------------------


def test_a_restored_fleet_goes_on_as_the_one_that_never_stopped():
    def second_half(on):
        results = [
            carry_out(
                on, Wave(jobs=[ask(n, name=f"{w}:{n}") for n in NAMES], goal=2, deadline_s=1.5)
            )
            for w in (2, 3)
        ]
        return [reasons(one) for one in results], on.tally(), on.kept()

    going = fleet(BOARDS, Doing(keeps=True), offline_share=0.3)
    carry_out(going, Wave(jobs=IN_FOUR_SPEEDS, goal=2))
    going.work(Load(flops=1e9))
    going.tally()
    kept = {name: array.copy() for name, array in going.snapshot().items()}
    resumed = fleet(BOARDS, Doing(keeps=True), offline_share=0.3)
    resumed.restore(kept)
    assert second_half(resumed) == second_half(going)


def test_a_restored_fleet_keeps_the_order_of_its_devices():
    """However a file orders the arrays: means over devices are taken in this order."""
    on = fleet(BOARDS, Doing(keeps=True))
    for name in ("c", "a", "d"):
        carry_out(on, Wave(jobs=[ask(name)]))
    shuffled = dict(sorted(on.snapshot().items(), reverse=True))
    resumed = fleet(BOARDS, Doing(keeps=True))
    resumed.restore(shuffled)
    assert list(resumed.kept()) == list(on.kept())


def test_devices_may_be_named_after_anything():
    names = ["ward/3", "a b", "é", "worker/x", "1"]
    on = fleet([board(name) for name in names], Doing(keeps=True))
    carry_out(on, Wave(jobs=[ask(name) for name in names]))
    resumed = fleet([board(name) for name in names], Doing(keeps=True))
    resumed.restore(on.snapshot())
    assert resumed.kept() == on.kept()
    assert set(on.kept()) == set(names)


def test_results_are_collected_once():
    on = fleet(BOARDS)
    ticket = on.start(Wave(jobs=IN_FOUR_SPEEDS))
    on.collect(ticket)
    with pytest.raises(KeyError):
        on.collect(ticket)


def test_a_drive_through_the_engine_gives_the_rounds_own_state():
    def steps():
        results = yield Wave(jobs=[ask("a", answer={**ANSWER, "n": ArraySpec("<i8", ())})])
        return reasons(results)

    assert drive(steps(), fleet(BOARDS)) == ["rejected: expected arrays ['n', 'y'], got ['y']"]
