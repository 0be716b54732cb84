"""What a device's owner allows, over real sessions: each limit declines with its reason, and the
round goes on."""

import re
import time
from dataclasses import replace

import pytest
import torch
from in_process import RealFleet

import contract
from contract import Case, Watched
from distilfleet.core.engine import rounds
from distilfleet.core.types import Load
from distilfleet.methods import fedavg
from distilfleet.net.caps import Account, Caps, refusal
from distilfleet.plan.sample import Sample

OWNED = "device-02"
BOARD = contract.DEVICES[OWNED]


@pytest.fixture(autouse=True)
def closed():
    torch.set_num_threads(1)
    yield
    for fleet in RealFleet.open_ones:
        fleet.close()
    RealFleet.open_ones.clear()


def reasons(caps: Caps, count: int = 2) -> list[str | None]:
    """Of each round, why the device missed it, or None; everybody else answers."""
    return [reason for reason, _ in told(caps, count)]


def told(caps: Caps, count: int = 2) -> list[tuple[str | None, int]]:
    """The same, each with the bytes on the device's account after the round."""
    method = fedavg.tiny()
    fleet = contract.fleet_of(Case(make=fedavg.tiny, fleet=RealFleet), method)
    agent = next(agent for agent in fleet.agents if agent.badge.device == OWNED)
    agent.caps = caps
    agent.side.most_bytes = caps.job_bytes
    said = []
    planner = Sample(per_round=len(contract.DEVICES), seed=0)
    for _ in rounds(method, planner, fleet, method.init(0), range(1, count + 1)):
        tally = fleet.tally()
        assert {*tally.answered, OWNED} == set(contract.DEVICES)
        reason = next((one.reason for one in tally.missed if one.device == OWNED), None)
        said.append((reason, agent.account.total_bytes))
    return said


def frame_bytes() -> tuple[int, int]:
    """Of a job and its answer, in the first round."""
    watched = Watched(method=fedavg.tiny(), wrap=contract.ExactWorker)
    contract.run(Case(make=fedavg.tiny), 1, method=watched)
    load = next(load for load, job, _ in watched.log.handled.values() if job.device == OWNED)
    return load.down_bytes, load.up_bytes


HOUR = time.localtime().tm_hour


@pytest.mark.net
@pytest.mark.parametrize(
    ("caps", "wanted"),
    [
        (Caps(), [None, None]),
        (Caps(jobs=1), [None, "declined: 1 jobs are done"]),
        (Caps(busy_s=1e-9), [None, "declined: 1e-09 s of work are done"]),
        (
            Caps(hours=((HOUR + 2) % 24, (HOUR + 3) % 24)),
            [f"later: only from {(HOUR + 2) % 24} to"] * 2,
        ),
        (Caps(job_s=1e-12), ["declined: .* s of work, more than 1e-12 s for one job"] * 2),
        (Caps(job_bytes=100), ["declined: a job of .* bytes; this device takes 100"] * 2),
    ],
)
def test_beyond_a_limit_the_device_declines(caps, wanted):
    check(reasons(caps), wanted)


@pytest.mark.net
@pytest.mark.parametrize("name", ["day_bytes", "total_bytes"])
def test_bytes_are_counted_in_both_directions(name):
    job, answer = frame_bytes()
    (_, first), (_, second) = told(Caps())
    assert job + answer < second - first < job + answer + 1000  # and words about them
    when = "later" if name == "day_bytes" else "declined"
    no_job = f"{when}: a job of .* bytes; this device takes"
    no_answer = f"{when}: an answer of .* bytes, and .* may yet travel"
    check(reasons(Caps(**{name: first - answer - job // 2})), [no_job, no_job])
    check(reasons(Caps(**{name: first - answer // 2})), [no_answer, no_job])
    check(reasons(Caps(**{name: first + job // 2})), [None, no_job])


def check(said: list, wanted: list) -> None:
    assert [one is None for one in said] == [one is None for one in wanted], said
    assert all(one is None or re.match(why, one) for one, why in zip(said, wanted, strict=True)), (
        said
    )


def test_the_account_outlives_the_agent_and_a_day_does_not(tmp_path):
    file, caps = tmp_path / "account.json", Caps(day_bytes=100, total_bytes=250)
    account = Account.read(file)
    account.moved(60, "monday")
    account.did(2.0)
    account.write(file)
    again = Account.read(file)
    assert (again.jobs, again.busy_s, again.left_bytes(caps, "monday")) == (1, 2.0, 40)
    again.moved(100, "tuesday")
    assert again.left_bytes(caps, "tuesday") == 0
    assert again.left_bytes(caps, "wednesday") == 90
    file.write_bytes(b"{")
    assert Account.read(file) == Account()


def test_hours_may_go_over_midnight():
    night = Caps(hours=(22, 6))
    assert [hour for hour in range(24) if night.at(hour)] == [0, 1, 2, 3, 4, 5, 22, 23]
    assert refusal(night, Account(), BOARD, Load(), 12) == "later: only from 22 to 6 o'clock"
    assert refusal(night, Account(), BOARD, Load(), 23) is None


def test_memory_and_work_are_checked_before_they_are_spent():
    assert (
        refusal(Caps(), Account(), BOARD, Load(memory_bytes=BOARD.memory_bytes + 1), 0) == "memory"
    )
    second = Load(flops=BOARD.speed_flops_per_s)
    assert refusal(replace(Caps(), job_s=1.01), Account(), BOARD, second, 0) is None
    assert refusal(replace(Caps(), job_s=0.99), Account(), BOARD, second, 0) is not None
