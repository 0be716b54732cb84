"""What the journal of a real fleet says, replayed in simulation: declined and late answers
included."""

import threading
from dataclasses import replace

import pytest
import torch
from in_process import RealFleet
from test_methods_over_tls import soft_koala

import contract
from contract import DEVICES, Case
from distilfleet.core.engine import rounds
from distilfleet.net.caps import Caps
from distilfleet.plan.sample import Sample

ROUNDS, DEADLINE_S = 3, 4.0


class Held:
    """A worker whose first answer takes until it is let go."""

    def __init__(self, inner, gate):
        self.inner, self.gate = inner, gate

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def handle(self, job):
        self.gate.wait(60)
        return self.inner.handle(job)


@pytest.fixture
def gate():
    torch.set_num_threads(1)
    opened = threading.Event()
    yield opened
    opened.set()
    for fleet in RealFleet.open_ones:
        fleet.close()
    RealFleet.open_ones.clear()


@pytest.mark.net
def test_simulation_replays_the_journal(gate):
    case = Case(make=soft_koala, fleet=RealFleet)
    method = case.make()
    fleet = contract.fleet_of(case, method)
    declining, late = fleet.agents[1], fleet.agents[2]
    declining.caps = Caps(jobs=1)
    build = late.build
    late.build = lambda spec: Held(build(spec), gate)
    planner = Sample(per_round=len(DEVICES), seed=0, deadline_s=DEADLINE_S)
    state = method.init(0)
    for done in rounds(method, planner, fleet, state, range(1, ROUNDS + 1)):
        gate.set()
        state = done.state
    missed = {
        (outcome.round, outcome.device): outcome.reason
        for number in range(1, ROUNDS + 1)
        for outcome in fleet.journal.outcomes("run", number)
        if outcome.reason
    }
    assert missed[1, "device-02"] == "deadline"
    assert missed[2, "device-01"] == "declined: 1 jobs are done"
    here = replace(case, fleet=Case(make=soft_koala).fleet)
    simulated = contract.run(here, ROUNDS, lost=lambda wave, device: (wave, device) in missed)
    assert contract.state_bits(simulated[-1].state) == contract.state_bits(state)
