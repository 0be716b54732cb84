"""Every method gives the same bits over TLS as in simulation, given the same outcome per job."""

import importlib
import pkgutil
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from in_process import RealFleet

import contract
from contract import Case, windows
from distilfleet import methods
from distilfleet.core.types import Assignment, Conditions, Plan
from distilfleet.methods import koala
from distilfleet.methods.splitkd import server
from distilfleet.plan.options import Workload, decoder_options
from distilfleet.plan.sample import Sample
from distilfleet.plan.split import SplitPlanner
from test_methods import SPLITS, splitkd_of

FOUND = [module.name for module in pkgutil.iter_modules(methods.__path__)]
TEXTS = ("central_kd", "fedavg_text", "koala_text")


@pytest.fixture(autouse=True)
def closed():
    torch.set_num_threads(1)
    yield
    for fleet in RealFleet.open_ones:
        fleet.close()
    RealFleet.open_ones.clear()


def case(name: str) -> Case:
    if name == "splitkd":
        return Case(make=server.tiny, shape=(8,), draw=windows)
    if name == "koala, soft labels":
        return Case(make=soft_koala)
    module = importlib.import_module(f"distilfleet.methods.{name}")
    return (
        Case(make=module.tiny, shape=(8,), draw=windows)
        if name in TEXTS
        else Case(make=module.tiny)
    )


def soft_koala() -> koala.Koala:
    method = koala.tiny()
    return replace(method, settings=replace(method.settings, wire="soft-labels"))


def some(wave: int, device: str) -> bool:
    """Lost: the second device in the second wave, and the third one from then on."""
    return (wave, device) == (2, "device-01") or (wave >= 2 and device == "device-02")


def same_over_tls(here: Case, lost: contract.Lost, planner: Any = None) -> None:
    simulated = contract.run(here, 2, lost=lost, planner=planner)
    real = contract.run(replace(here, fleet=RealFleet), 2, lost=lost, planner=planner)
    for one, other in zip(simulated, real, strict=True):
        assert contract.state_bits(one.state) == contract.state_bits(other.state)
        assert one.learnt == other.learnt
        assert one.metrics == other.metrics
        assert one.tally.answered == other.tally.answered
        assert (one.tally.devices.up_bytes > 0) == (other.tally.devices.up_bytes > 0)


@pytest.mark.net
@pytest.mark.parametrize("lost", [contract.nobody, some])
@pytest.mark.parametrize("name", [*FOUND, "koala, soft labels"])
def test_the_same_bits_as_in_simulation(name, lost):
    same_over_tls(case(name), lost)


@pytest.mark.net
@pytest.mark.parametrize("form", [name for name in SPLITS if name != "classes"])
def test_split_kd_in_every_form(form):
    """With classes, labels travel from devices whose owners agree: see `test_consent`."""
    same_over_tls(SPLITS[form], some)


@dataclass(frozen=True)
class Mixed:
    """Another cut and another number of bits for each device, in two clusters, and other ones in
    the next round."""

    def plan(self, conditions: Conditions) -> Plan:
        devices = list(conditions.devices)
        hows = {
            device: Assignment(cut=(at + conditions.round) % 3, bits=(16, 8, 4, 8)[at])
            for at, device in enumerate(devices)
        }
        return Plan(clusters=(devices[:2], devices[2:]), assignments=hows)


@pytest.mark.net
def test_split_kd_as_planned_in_several_clusters():
    same_over_tls(splitkd_of(), contract.nobody, Mixed())


@pytest.mark.net
def test_split_kd_as_its_own_planner_cuts_it():
    method = server.tiny()
    options = decoder_options(
        method.split.teacher, method.split.student, Workload(batch_tokens=16, steps=2, bits=(8,))
    )
    sample = Sample(per_round=len(contract.DEVICES), seed=0)
    planner = SplitPlanner(
        options=options, server=contract.SERVER, cluster=2, privacy_floor=1, sample=sample
    )
    same_over_tls(splitkd_of(), contract.nobody, planner)
