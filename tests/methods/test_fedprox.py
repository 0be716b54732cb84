"""FedProx: what its proximal term does, beside federated averaging without it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import contract
from contract import Case
from distilfleet.methods import fedavg, fedprox
from distilfleet.nn.train import LocalTraining

LOCAL = LocalTraining(passes=3, batch=8, lr=0.02)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def after(method, rounds=2, cohorts=False):
    fleet_of = contract.fleet_of
    case = Case(make=lambda: method)
    fleet = fleet_of(case, method, cohorts=cohorts)
    state = method.init(0)
    planner = contract.Sample(per_round=len(contract.DEVICES), seed=0)
    (*_, done) = contract.rounds(method, planner, fleet, state, range(1, rounds + 1))
    return done.state.weights


def far(mu):
    method = replace(fedprox.tiny(), local=replace(LOCAL, momentum=0.0), mu=mu)
    start, end = method.init(0).weights, after(method, rounds=1)
    return float(np.sqrt(sum(((end[name] - start[name]) ** 2).sum() for name in start)))


@pytest.mark.parametrize("cohorts", [False, True], ids=["alone", "side by side"])
def test_without_the_term_it_is_federated_averaging_to_the_bit(cohorts):
    ours = after(replace(fedprox.tiny(), mu=0.0, local=LOCAL), cohorts=cohorts)
    theirs = after(replace(fedavg.tiny(), local=LOCAL), cohorts=cohorts)
    contract.same(ours, theirs)


def test_the_larger_the_term_the_nearer_devices_stay():
    distances = [far(mu) for mu in (0.0, 1.0, 10.0, 49.0)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.4 * distances[0]


def test_a_device_descends_on_its_loss_and_the_proximal_term():
    """Held against torch's own gradient of the whole objective."""
    method = replace(fedprox.tiny(), local=LOCAL, mu=0.7)
    device, own = next(iter(contract.DEVICES.values())), contract.samples(8, (8,), "device-00")
    learner = method.worker(device, own, 0)
    (job,) = [
        one
        for one in contract.wave_after(Case(make=lambda: method), method, 0)[0]
        if one.device == device.id
    ]
    net = method.model.build(0)
    received = [weight.detach().clone() for weight in net.parameters()]
    descent = torch.optim.SGD(
        net.parameters(), lr=0.02, momentum=0.9, weight_decay=LOCAL.weight_decay
    )
    x, y = torch.from_numpy(own.inputs), torch.from_numpy(own.labels)
    for rows in learner.task(job).rows_SB:
        descent.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
        strayed = sum(
            ((w - start) ** 2).sum() for w, start in zip(net.parameters(), received, strict=True)
        )
        (loss + 0.7 / 2 * strayed).backward()
        descent.step()
    answer = learner.handle(job)
    for name, weight in net.named_parameters():
        np.testing.assert_allclose(answer[name], weight.detach().numpy(), rtol=1e-5, atol=1e-6)
