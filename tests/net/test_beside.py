"""Predicted beside measured: a real fleet's round is predicted to take what it takes in
simulation."""

import time
from dataclasses import replace

import pytest
import torch
from in_process import RealFleet
from test_methods_over_tls import soft_koala

import contract
from contract import Case
from distilfleet.core.engine import rounds
from distilfleet.cost import catalogue, meters
from distilfleet.methods import koala
from distilfleet.plan.sample import Sample
from distilfleet.service.prediction import PredictingFleet
from distilfleet.sim.fleet import SimFleet, World
from test_methods import splitkd_of


@pytest.fixture(autouse=True)
def closed():
    torch.set_num_threads(1)
    yield
    for fleet in RealFleet.open_ones:
        fleet.close()
    RealFleet.open_ones.clear()


def watched(*args):
    return PredictingFleet(inner=RealFleet(*args), server=contract.SERVER)


CASES = {
    "koala": Case(make=koala.tiny),
    "koala, soft labels": Case(make=soft_koala),
    "split KD": splitkd_of(cut=1),
    "split KD, labels kept": splitkd_of(labels="kept", micro_batches=1),
}


@pytest.mark.net
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_prediction_is_the_simulation(case):
    simulated, real = (contract.run(replace(case, fleet=fleet), 3) for fleet in (SimFleet, watched))
    before_s = 0.0
    for one, other in zip(simulated, real, strict=True):
        beside = other.tally.prediction
        assert beside.round_s[1] == pytest.approx(one.tally.elapsed_s - before_s, rel=1e-9)
        assert beside.server_s[1] == pytest.approx(one.tally.server.busy_s, rel=1e-9)
        assert sum(own.busy_s[1] for own in beside.kinds.values()) == pytest.approx(
            one.tally.devices.busy_s, rel=1e-9
        )
        before_s = one.tally.elapsed_s


@pytest.mark.net
def test_what_was_measured_is_that_of_the_jobs():
    (outcome,) = contract.run(Case(make=koala.tiny, fleet=watched), 1)
    tally = outcome.tally
    assert {kind: own.jobs for kind, own in tally.prediction.kinds.items()} == {
        "rpi-4b": 2,
        "rpi-5": 2,
    }
    for kind, own in tally.prediction.kinds.items():
        mine = [job for job in tally.times.jobs if contract.DEVICES[job.device].kind == kind]
        assert own.busy_s[0] == sum(job.busy_s for job in mine) > 0
        assert own.down_s[0] == sum(job.received_s - job.sent_s for job in mine) > 0
        assert own.up_s[0] == sum(job.uploaded_s - job.offered_s for job in mine) > 0
        assert own.metered == 0
        assert own.busy_j[0] == pytest.approx(own.busy_s[0] * catalogue.device(kind, "").busy_w)
    measured_s, _ = tally.prediction.round_s
    assert max(job.uploaded_s - job.sent_s for job in tally.times.jobs) < measured_s < 60


@pytest.mark.net
def test_who_is_missed_is_not_predicted():
    (outcome,) = contract.run(
        Case(make=koala.tiny, fleet=watched), 1, lost=lambda wave, device: device != "device-00"
    )
    assert {kind: own.jobs for kind, own in outcome.tally.prediction.kinds.items()} == {"rpi-4b": 1}
    (nobody,) = contract.run(
        Case(make=koala.tiny, fleet=watched), 1, lost=lambda wave, device: True
    )
    assert nobody.tally.prediction.round_s[1] == 0
    assert nobody.tally.prediction.kinds == {}


def counter(folder):
    """A processor's energy counter, as Linux shows it."""
    package = folder / "class" / "powercap" / "intel-rapl:0"
    package.mkdir(parents=True)
    for name, value in (("energy_uj", 1_000_000), ("max_energy_range_uj", 10_000_000)):
        (package / name).write_text(f"{value}\n")
    return package / "energy_uj"


class Burning:
    """A worker that takes two joules for each job, by the counter."""

    def __init__(self, inner, energy):
        self.inner, self.energy = inner, energy

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def handle(self, job):
        self.energy.write_text(f"{int(self.energy.read_text()) + 2_000_000}\n")
        return self.inner.handle(job)


@pytest.mark.net
def test_joules_of_a_power_meter_are_told_from_reckoned_ones(tmp_path):
    energy = counter(tmp_path)
    method = koala.tiny()
    fleet = watched(contract.DEVICES, CASES["koala"].data, method, World(server=contract.SERVER))
    metered = fleet.inner.agents[0]
    build, metered.meter = metered.build, meters.find(tmp_path)
    metered.build = lambda spec: Burning(build(spec), energy)
    tuple(rounds(method, Sample(per_round=4, seed=0), fleet, method.init(0), range(1, 2)))
    tally = fleet.tally()
    own = {job.device: job for job in tally.times.jobs}
    assert [device for device, job in own.items() if job.metered] == ["device-00"]
    assert own["device-00"].energy_j == pytest.approx(2.0)
    assert {kind: jobs.metered for kind, jobs in tally.prediction.kinds.items()} == {
        "rpi-4b": 1,
        "rpi-5": 0,
    }


@pytest.mark.net
def test_time_and_energy_begin_with_the_first_round():
    method = koala.tiny()
    fleet = contract.fleet_of(Case(make=koala.tiny, fleet=RealFleet), method)
    state = method.init(0)
    time.sleep(0.5)  # a server that trains a teacher first
    began_s = time.monotonic()
    for _ in rounds(
        method, Sample(per_round=len(contract.DEVICES), seed=0), fleet, state, range(1, 2)
    ):
        tally = fleet.tally()
        took_s = time.monotonic() - began_s
        assert 0.0 < tally.elapsed_s <= took_s
        assert tally.server.energy_j <= took_s * contract.SERVER.busy_w
        assert fleet.snapshot()["elapsed"] >= tally.elapsed_s
