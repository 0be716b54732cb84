"""A device that sends nonsense is left out of the round; the others go on as if it were not
there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from contract import DEVICES, SERVER, windows
from distilfleet.core.engine import rounds
from distilfleet.methods.splitkd import server
from distilfleet.plan.sample import Sample
from distilfleet.sim.fleet import SimFleet, World

LIAR = "device-01"


def enormous(op, arrays):
    return (
        {**arrays, "student/exponent": np.array(40, arrays["student/exponent"].dtype)}
        if op == "step"
        else arrays
    )


def out_of_range(op, arrays):
    return (
        {**arrays, "student/index": np.full_like(arrays["student/index"], 9999)}
        if op == "step"
        else arrays
    )


def no_such_token(op, arrays):
    return {**arrays, "labels": np.full_like(arrays["labels"], 40)} if op == "step" else arrays


def too_long(op, arrays):
    return {**arrays, "lengths": np.full_like(arrays["lengths"], 9)} if op == "begin" else arrays


def learnt_too_much(op, arrays):
    return {**arrays, "rows": np.full_like(arrays["rows"], 1000)} if op == "end" else arrays


@dataclass
class Lying:
    """A method of which one device's worker does as `lie` says."""

    method: Any
    lie: Any

    def __getattr__(self, name):
        if name == "cohort":
            raise AttributeError(name)
        return getattr(self.method, name)

    def worker(self, device, data, seed):
        worker = self.method.worker(device, data, seed)
        return Liar(worker, self.lie) if device.id == LIAR else worker


@dataclass
class Liar:
    inner: Any
    lie: Any

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def handle(self, job):
        answer = self.inner.handle(job)
        asked = job.op != "step" or int(job.arrays["slot"]) >= 0
        return self.lie(job.op, dict(answer)) if asked else answer


def trained(lie):
    torch.set_num_threads(1)
    method = Lying(server.tiny(), lie)
    fleet = SimFleet(
        DEVICES, lambda device: windows(12, (8,), device), method, World(server=SERVER)
    )
    everyone = Sample(per_round=len(DEVICES), seed=0)
    (done,) = rounds(method, everyone, fleet, method.init(0), range(1, 2))
    return done.state, fleet.tally()


@pytest.mark.parametrize("lie", [enormous, out_of_range, no_such_token, too_long, learnt_too_much])
def test_a_lying_device_is_left_out_and_the_round_ends(lie):
    honest, _ = trained(lambda op, arrays: arrays)
    state, tally = trained(lie)
    assert all(np.isfinite(array).all() for array in state.student.values())
    assert 0 < state.tokens <= honest.tokens
    moved = max(
        float(np.abs(state.student[name] - honest.student[name]).max()) for name in state.student
    )
    assert moved < 0.1, "what it sent did not get into the weights"
    if lie is learnt_too_much:
        assert any(missed.device == LIAR and "norm" in missed.reason for missed in tally.missed)
    else:
        assert state.tokens < honest.tokens
