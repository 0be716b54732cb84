"""What leaves a device only if its owner agrees: label counts, labels, data. The owner of device-01
keeps them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from in_process import RealFleet

import contract
from contract import Case, Watched, windows
from distilfleet.core.engine import rounds
from distilfleet.core.errors import ConfigError, StarvedError
from distilfleet.core.types import Dataset, Reply
from distilfleet.cost import catalogue
from distilfleet.data.own import Ready
from distilfleet.methods import central, fedavg_text
from distilfleet.net.job_runner import DeclinedError
from distilfleet.nn import zoo
from distilfleet.nn.weight_worker import LABELS
from distilfleet.plan.sample import Sample
from distilfleet.recipes.flags import Common
from distilfleet.recipes.machines import enrol
from distilfleet.service.agent import Consent, builder, owned
from distilfleet.service.spec import spec_of
from test_methods import KOALAS, SPLITS

KEEPS = "device-01"


@pytest.fixture(autouse=True)
def closed():
    torch.set_num_threads(1)
    yield
    for fleet in RealFleet.open_ones:
        fleet.close()
    RealFleet.open_ones.clear()


def missed(outcomes: list) -> set:
    return {(one.device, one.reason) for outcome in outcomes for one in outcome.tally.missed}


@pytest.mark.net
@pytest.mark.parametrize(
    "form", ["heterogeneous, weights", "heterogeneous, soft-labels", "homogeneous, soft-labels"]
)
def test_koala_by_label_counts_does_without_those_that_are_kept(form):
    simulated, real = (
        contract.run(replace(KOALAS[form], fleet=f), 2) for f in (KOALAS[form].fleet, RealFleet)
    )
    for one, other in zip(simulated, real, strict=True):
        assert contract.state_bits(one.state) == contract.state_bits(other.state)
        assert not missed([other])
        assert other.metrics["told_labels"] == len(contract.DEVICES) - 1


@pytest.mark.parametrize("form", ["heterogeneous, weights", "heterogeneous, soft-labels"])
def test_counts_travel_from_those_who_agree_and_a_total_from_the_others(form):
    watched = Watched(method=KOALAS[form].make(), wrap=lambda make, log: make())
    contract.run(KOALAS[form], 1, method=watched)
    ((_, results),) = watched.log.waves
    for result in results:
        assert isinstance(result, Reply)
        own = KOALAS[form].data(result.device).labels
        wanted = [len(own)] if result.device == KEEPS else np.bincount(own, minlength=3).tolist()
        assert result.arrays[LABELS].tolist() == wanted


def test_a_simulated_fleet_has_as_many_owners_who_agree_as_asked():
    devices = enrol(Common(label_counts_share=0.3), [f"device-{i}" for i in range(400)])
    assert 80 < sum(device.shares_label_counts for device in devices.values()) < 160
    assert all(device.shares_label_counts for device in enrol(Common(), ["a", "b"]).values())


def test_nobody_agrees_unasked():
    assert not owned(catalogue.device("rpi-4b", "pi"), Consent()).shares_label_counts


@pytest.mark.net
def test_labels_stay_where_their_counts_do():
    """As in a simulation in which that device is away."""
    form = SPLITS["classes"]
    away = contract.run(form, 2, lost=lambda wave, device: device == KEEPS)
    real = contract.run(replace(form, fleet=RealFleet), 2)
    assert contract.state_bits(away[-1].state) == contract.state_bits(real[-1].state)
    ((device, reason),) = missed(real)
    assert device == KEEPS
    assert reason.startswith("declined: labels go to the server in this run")


@pytest.mark.net
def test_data_stay_unless_the_owner_agrees(monkeypatch):
    monkeypatch.setattr(RealFleet, "consent", Consent())
    why = (
        "device-03: declined: central sends a device's data to the server; this one's owner has "
        "not agreed$"
    )
    with pytest.raises(StarvedError, match=why):
        contract.run(Case(make=central.tiny, fleet=RealFleet), 1)


def test_a_run_that_does_not_fit_the_data_is_refused_with_the_reason():
    device, data = contract.DEVICES["device-00"], Case(make=central.tiny).data("device-00")
    samples, text = (
        spec_of(KOALAS["heterogeneous, weights"].make(), 0),
        spec_of(SPLITS["a cut"].make(), 0),
    )
    windows = SPLITS["a cut"].data("device-00")
    refusals = (
        (
            Dataset(data.inputs[:, :5], data.labels),
            samples,
            r"float32 of shape \[5\] here; mlp-xs takes .* \[8\]",
        ),
        (Dataset(data.inputs, data.labels - 1), samples, "has a class -1; the run has 3 classes"),
        (Dataset(data.inputs[:0], data.labels[:0]), samples, "has no samples"),
        (Dataset(data.inputs, data.labels + 5), samples, "has a class 7; the run has 3 classes"),
        (Dataset(data.inputs), samples, "have no labels; the run has 3 classes"),
        (data, text, "no windows of tokens"),
        (
            Dataset(windows.inputs[:, :5]),
            text,
            "5 tokens with ids up to .* here, of 8 tokens out of 40",
        ),
        (
            Dataset(windows.inputs + 40),
            text,
            "8 tokens with ids up to .* here, of 8 tokens out of 40",
        ),
    )
    for owned_data, spec, why in refusals:
        with pytest.raises(ConfigError, match=why):
            builder(device, Ready(data=owned_data), Consent())(spec)


OWN_MODEL = """
from torch import nn


def net(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], classes))
"""


@pytest.mark.parametrize("form", ["heterogeneous, weights", "heterogeneous, soft-labels"])
def test_a_large_model_that_stays_on_the_server_is_not_for_the_device_to_refuse(form, tmp_path):
    (tmp_path / "nets.py").write_text(OWN_MODEL)
    own = zoo.model(f"{tmp_path / 'nets.py'}:net", (8,), 3)
    method, ready = KOALAS[form].make(), Ready(data=Case(make=central.tiny).data("device-00"))
    build = builder(contract.DEVICES["device-00"], ready, Consent())
    assert build(spec_of(replace(method, large=own), 0)) is not None
    with pytest.raises(ConfigError, match="is not of the zoo, and this device builds no others"):
        build(spec_of(replace(method, smalls=dict.fromkeys(method.smalls, own)), 0))


def test_a_smaller_profile_does_not_get_a_large_model_past_the_memory():
    spec = spec_of(SPLITS["a cut"].make(), 0)
    worker = builder(
        contract.DEVICES["device-00"], Ready(data=SPLITS["a cut"].data("device-00")), Consent()
    )(replace(spec, settings={**spec.settings, "student": "llama:4096x32"}))
    with pytest.raises(DeclinedError, match="is that of another model"):
        worker.front_of("student", 1)


@pytest.mark.net
def test_settings_that_no_method_has_end_no_agent():
    """A profile whose weights have no bytes would be divided by."""
    case = Case(make=fedavg_text.tiny, draw=windows, fleet=RealFleet)
    method = case.make()
    fleet = contract.fleet_of(
        case, replace(method, profile=replace(method.profile, bytes_per_weight=0))
    )
    with pytest.raises(
        StarvedError, match=r"device-00, .*: declined: a fault of the device: ZeroDivisionError"
    ):
        tuple(rounds(method, Sample(per_round=4, seed=0), fleet, method.init(0), range(1, 2)))
    assert not any(task.done() for task in fleet.tasks)
