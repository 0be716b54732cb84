"""Every method gives the same bits over TLS as in simulation, given the same outcome per job."""

import importlib
import pkgutil
from dataclasses import replace

import pytest
import torch
from in_process import RealFleet

import contract
from contract import Case, windows
from distilfleet import methods
from distilfleet.methods import koala
from distilfleet.methods.splitkd import server

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
    return Case(make=module.tiny, shape=(8,), draw=windows) if name in TEXTS else Case(make=module.tiny)


def soft_koala() -> koala.Koala:
    method = koala.tiny()
    return replace(method, how=replace(method.how, wire="soft-labels"))


def some(wave: int, device: str) -> bool:
    """Lost: the second device in the second wave, and the third one from then on."""
    return (wave, device) == (2, "device-01") or (wave >= 2 and device == "device-02")


@pytest.mark.net
@pytest.mark.parametrize("lost", [contract.nobody, some])
@pytest.mark.parametrize("name", [*FOUND, "koala, soft labels"])
def test_the_same_bits_as_in_simulation(name, lost):
    here = case(name)
    simulated = contract.run(here, 2, lost=lost)
    real = contract.run(replace(here, fleet=RealFleet), 2, lost=lost)
    for one, other in zip(simulated, real, strict=True):
        assert contract.state_bits(one.state) == contract.state_bits(other.state)
        assert one.learnt == other.learnt
        assert one.metrics == other.metrics
        assert one.tally.answered == other.tally.answered
        assert (one.tally.devices.up_bytes > 0) == (other.tally.devices.up_bytes > 0)
