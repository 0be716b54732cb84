"""How a device's worker came to be, on its disk: the same worker after any crash, at the price of
what is new."""

from contextlib import closing
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilfleet.core.types import ArraySpec, Expected, Job, Load, Usage
from distilfleet.net.job_runner import REDONE_S, JobRunner
from distilfleet.net.protocol import pack_job
from distilfleet.net.store import SqliteStore

EXPECTED = Expected(arrays={"x": ArraySpec("<i8", ())})
LARGE = 1 << 14


class Mixer:
    """What it answers depends on all that it was asked, in order; `size` numbers are its state."""

    def __init__(self, size: int = 1) -> None:
        self.x = np.zeros(size, np.int64)
        self.done = 0

    def load(self, job):
        return Load()

    def handle(self, job):
        self.done += 1
        self.x = self.x * 31 + job.arrays["x"]
        if job.op == "fail":
            raise ValueError("in the middle of it")
        return {"x": self.x[0]}

    def snapshot(self):
        return {"x": self.x}

    def restore(self, kept):
        self.x = np.array(kept["x"])


def metered(busy_s, work):
    return work(), Usage(busy_s=busy_s)


def bench_of(store, size=1, busy_s=0.0):
    return JobRunner(Mixer(size), store, partial(metered, busy_s))


def do(runner, number, value, op="mix"):
    job = Job(id=str(number), device="pi", op=op, arrays={"x": np.array(value)}, expected=EXPECTED)
    return runner.handle(f"run/{number}", b"digest", bytes(pack_job(job)))


@pytest.fixture
def store(tmp_path):
    with closing(SqliteStore(tmp_path / "answers.sqlite")) as store:
        store.open_run("run")
        yield store


def held_bytes(store, what):
    (size,) = store._base.execute(f"select coalesce(sum(length({what})), 0) from work").fetchone()
    return size


def states(store):
    (count,) = store._base.execute("select count(state) from work").fetchone()
    return count


def test_short_jobs_over_a_large_state_cost_the_disk_their_own_bytes(store):
    runner = bench_of(store, LARGE)
    for number in range(50):
        do(runner, number, number)
    assert held_bytes(store, "state") == 0
    assert held_bytes(store, "job") < 50 * 200


def test_jobs_over_a_small_state_are_not_kept(store):
    runner = bench_of(store)
    for number in range(10):
        do(runner, number, number)
    assert held_bytes(store, "job") == 0
    assert states(store) == 10


def test_long_jobs_are_not_done_again(store):
    runner = bench_of(store, LARGE, busy_s=0.4 * REDONE_S)
    for number in range(7):
        do(runner, number, number)
    assert states(store) == 2
    again = bench_of(store, LARGE)
    again.refresh()
    assert again.worker.done == 1
    np.testing.assert_array_equal(again.worker.x, runner.worker.x)


def test_what_nobody_goes_back_to_is_forgotten(store):
    runner = bench_of(store, 64, busy_s=0.1)
    for number in range(200):
        do(runner, number, number)
        store.keep([f"run/{number}"])
    assert states(store) == 1
    assert held_bytes(store, "job") + held_bytes(store, "state") < 3 * 64 * 8
    again = bench_of(store, 64)
    again.refresh()
    np.testing.assert_array_equal(again.worker.x, runner.worker.x)


def test_a_failed_job_leaves_no_traces(store):
    runner = bench_of(store, LARGE)
    do(runner, 1, 7)
    with pytest.raises(ValueError, match="in the middle"):
        do(runner, 2, 8, op="fail")
    do(runner, 3, 9)
    assert runner.worker.x[0] == 7 * 31 + 9
    assert list(store.held()) == ["run/1", "run/3"]


def test_a_job_that_counted_may_be_asked_again_by_a_server_that_came_back_from_a_copy(store):
    runner = bench_of(store, LARGE)
    do(runner, 1, 7)
    store.keep(["run/1"])
    do(runner, 1, 8)
    runner.take_back("run/1")
    do(runner, 1, 9)
    assert runner.worker.x[0] == 7 * 31 + 9
    assert list(store.held()) == ["run/1"]


ACTS = st.lists(
    st.sampled_from(["short", "long", "fail", "keep", "take back", "crash"]), max_size=40
)


@settings(max_examples=200, deadline=None)
@given(acts=ACTS, size=st.sampled_from([1, 30, 400]))
def test_the_worker_is_what_its_counted_and_open_jobs_make_it(acts, size):
    """Against a plain list of what was done."""
    with closing(SqliteStore(":memory:")) as store:
        store.open_run("run")
        runner, done, kept = bench_of(store, size), [], 0
        for number, act in enumerate(acts):
            if act in ("short", "long"):
                runner.metered = partial(metered, 0.2 if act == "short" else 2.0)
                do(runner, number, number)
                done.append(number)
            elif act == "fail":
                with pytest.raises(ValueError, match="in the middle"):
                    do(runner, number, number, op="fail")
            elif act == "keep" and kept < len(done):
                store.keep([f"run/{done[kept]}"])
                kept += 1
            elif act == "take back" and kept < len(done):
                runner.take_back(f"run/{done.pop()}")
            elif act == "crash":
                runner = bench_of(store, size)
        runner.refresh()
        wanted = 0
        for number in done:
            wanted = (wanted * 31 + number + 2**63) % 2**64 - 2**63
        assert runner.worker.x[0] == wanted
        assert list(store.held()) == [f"run/{number}" for number in done[kept:]]
