"""What is kept is bounded, seeded, as it travelled, and the same for a run that was interrupted."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from distilfleet.core import wire
from distilfleet.core.types import Expected, Job, Missed, Reply, Wave
from distilfleet.training import capture as overhear
from distilfleet.training.capture import CapturingFleet
from distilfleet.training.experiment import Keep


@dataclass
class Echo:
    """A fleet that answers with twice the number it was asked; `gone` does not answer."""

    waves: dict = field(default_factory=dict)

    def start(self, wave):
        self.waves[len(self.waves)] = wave
        return len(self.waves) - 1

    def collect(self, ticket):
        return [
            Missed(job=job.id, device=job.device, reason="offline")
            if job.device == "gone"
            else Reply(
                job=job.id,
                device=job.device,
                arrays={"y": 2 * job.arrays["x"]} if job.op == "ask" else {},
            )
            for job in self.waves[ticket].jobs
        ]


def job(number, op="ask", device="a"):
    arrays = {"x": np.array([number], np.float32)}
    return Job(
        id=f"{number}.{op}.{device}",
        device=device,
        op=op,
        arrays=arrays,
        expected=Expected(arrays={}),
    )


def overheard(numbers, *, most=3, seed=0, kept=None, **keep):
    fleet = CapturingFleet(
        inner=Echo(),
        keep=Keep(most=most, **keep),
        seed=seed,
        kept_wire={} if kept is None else kept,
    )
    for number in numbers:
        ticket = fleet.start(Wave(jobs=[job(number), job(number, device="gone")]))
        fleet.collect(ticket)
    return fleet.kept_wire


def test_a_bounded_sample_is_kept_as_it_travelled():
    kept = overheard(range(50))
    assert len(kept) == 3
    for name, one in kept.items():
        sent, came = wire.decode_job(one.job, Expected(arrays={})), wire.decode_reply(one.reply)
        assert sent.id == came.job == name
        assert came.arrays["y"] == 2 * sent.arrays["x"]
        assert one.before == b""


def test_the_seed_and_ids_alone_choose():
    assert overheard(range(50)) == overheard(reversed(range(50)))
    assert overheard(range(50)) != overheard(range(50), seed=1)


def test_an_interrupted_run_keeps_what_it_would_have_kept():
    before = overheard(range(30))  # of which rounds from 20 on are lost, and done again
    assert overheard(range(20, 50), kept=before) == overheard(range(50))


def test_only_the_ops_that_are_named_and_the_job_before():
    fleet = CapturingFleet(
        inner=Echo(), keep=Keep(most=9, ops=("ask",), before="begin"), seed=0, kept_wire={}
    )
    for jobs in (
        [job(1, "begin")],
        [job(2)],
        [job(3, "begin")],
        [job(4), job(5, device="b")],
        [job(6, "end")],
    ):
        fleet.collect(fleet.start(Wave(jobs=jobs)))
    begun = {
        name: one.before and wire.decode_job(one.before, Expected(arrays={})).id
        for name, one in fleet.kept_wire.items()
    }
    assert begun == {"2.ask.a": "1.begin.a", "4.ask.a": "3.begin.a", "5.ask.b": b""}


def test_the_reply_after_is_kept_along():
    keep = Keep(most=9, ops=("ask",), after="end")
    fleet = CapturingFleet(inner=Echo(), keep=keep, seed=0, kept_wire={})
    for jobs in (
        [job(2)],
        [job(3, device="b"), job(4)],
        [job(5, "end"), job(6, "end", device="c")],
        [job(7, "end")],
    ):
        fleet.collect(fleet.start(Wave(jobs=jobs)))
    told = {
        name: one.after and wire.decode_reply(one.after).job
        for name, one in fleet.kept_wire.items()
    }
    assert told == {"2.ask.a": "5.end.a", "3.ask.b": b"", "4.ask.a": "5.end.a"}


def test_what_is_too_large_is_passed_over(monkeypatch):
    monkeypatch.setattr(overhear, "MOST_BYTES", 8)
    assert overheard(range(5)) == {}


@pytest.mark.parametrize("most", [1, 4])
def test_no_more_is_held_than_asked(most):
    assert len(overheard(range(20), most=most)) == most
