"""A device that lies to a real fleet: the run over mutual TLS ends as the simulation with the same
liar does."""

import urllib.request
from dataclasses import replace
from functools import partial

import pytest
import rogue
from patience import HANGS_S
from ports import free_ports
from supervised import Fleet, flags, keep_running, running, weights

from cli_runs import table
from distilfleet.recipes.flags import Smalls, Training
from distilfleet.recipes.simulate import simulate
from distilfleet.trust.attackers import pick

ROUNDS = 4
SHARE = 1 / 3
LIAR = 0
LOSS = 0.02
"""Accuracy that a liar may cost."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz", count=800)


def asked(data, **common):
    """Devices own much the same, so that one that lies is one too many for a plain mean."""
    few = flags(data, ROUNDS)
    return replace(
        few,
        common=replace(few.common, alpha=100.0, **common),
        smalls=Smalls(small=("mlp-xs",)),
        training=Training(local_passes=2),
        wire="weights",
    )


def simulated(flags, path):
    return simulate("koala", flags, path).rounds


def lied_to(data, folder, attack, settings=None):
    """A fleet with one liar, and its processes, not yet started."""
    fleet = Fleet(folder, data, asked(data), settings)
    liar = replace(fleet.agent(LIAR), program=partial(rogue.lie, attack))
    return fleet, [fleet.server(), liar, fleet.agent(1), fleet.agent(2)]


@pytest.mark.net
def test_a_reversed_step_over_tls_is_as_harmless_as_in_simulation(data, tmp_path):
    lying = asked(data, poison="sign-flip", poison_share=SHARE)
    liar = f"device-{LIAR}"
    assert pick(["device-0", "device-1", "device-2"], SHARE, lying.common.seed) == {liar}
    fleet, processes = lied_to(data, tmp_path, "sign-flip")
    with running(processes) as kept:
        keep_running(kept, fleet.finished)
    rounds = simulated(lying, tmp_path / "lying")
    assert weights(fleet.path) == weights(tmp_path / "lying")
    honest = simulated(asked(data), tmp_path / "honest")[-1]
    defenceless = simulated(replace(lying, aggregate="mean"), tmp_path / "defenceless")[-1]
    for accuracy in ("small_accuracy", "large_accuracy"):
        assert fleet.lines()[-1][accuracy] == rounds[-1][accuracy] >= honest[accuracy] - LOSS
        assert defenceless[accuracy] < honest[accuracy] - 10 * LOSS
    assert [[name for name, *_ in line["discounts"]] for line in fleet.lines()] == [[liar]] * ROUNDS


@pytest.mark.net
@pytest.mark.parametrize(
    ("attack", "reason"), [("nan", "holds NaN or infinity"), ("huge", "norm 1")]
)
def test_what_is_no_number_is_rejected_and_counted(data, tmp_path, attack, reason):
    (port,) = free_ports(1)
    fleet, processes = lied_to(data, tmp_path, attack, {"page": f'"localhost:{port}"'})
    with running(processes) as kept:
        keep_running(kept, fleet.finished)
        with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=HANGS_S) as answer:
            told = answer.read().decode()
    assert f'distilfleet_jobs_missed_total{{reason="rejected"}} {ROUNDS}.0' in told
    for line in fleet.lines():
        ((device, why),) = line["missed_jobs"]
        assert device == f"device-{LIAR}"
        assert why.startswith("rejected: ")
        assert reason in why
    honest = simulated(asked(data), tmp_path / "honest")[-1]
    assert fleet.lines()[-1]["large_accuracy"] >= honest["large_accuracy"] - LOSS
