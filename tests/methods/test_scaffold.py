"""SCAFFOLD, held against a plain reading of the paper's algorithm 1, with option II."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import contract
from contract import Case
from distilfleet.methods import fedavg, scaffold
from distilfleet.nn.train import LocalTraining, task

PLAIN = LocalTraining(passes=2, batch=8, lr=0.1, momentum=0.0, weight_decay=0.0)
COUNT = 24


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


class Equal(Case):
    """As many samples on every device, so that an average by samples is the paper's."""

    def data(self, device):
        return self.samples(COUNT, device)


def states(method, rounds, *, per_round=4, cohorts=False, case=Case):
    """The state after each round, with the devices that took part."""
    tried = case(make=lambda: method)
    fleet = contract.fleet_of(tried, method, cohorts=cohorts)
    planner = contract.Sample(per_round=per_round, seed=0)
    found, state = [], method.init(0)
    for number in range(1, rounds + 1):
        (done,) = contract.rounds(method, planner, fleet, state, range(number, number + 1))
        state = done.state
        found.append((state, fleet.tally().answered, fleet.kept()))
    return found


# --- the paper's algorithm, of a perceptron with one hidden layer, in numpy alone -----------------


def gradient(w, inputs, labels):
    hidden = np.maximum(inputs @ w["stem.1.weight"].T + w["stem.1.bias"], 0)
    logits = hidden @ w["head.weight"].T + w["head.bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    slope = (powers / powers.sum(axis=1, keepdims=True) - np.eye(3)[labels]) / len(labels)
    inner = (slope @ w["head.weight"]) * (hidden > 0)
    return {
        "stem.1.weight": inner.T @ inputs,
        "stem.1.bias": inner.sum(axis=0),
        "head.weight": slope.T @ hidden,
        "head.bias": slope.sum(axis=0),
    }


def of_each(function, *several):
    return {name: function(*(one[name] for one in several)) for name in several[0]}


def paper(x, batches, taking_part):
    """x and c after each round, and every c_i: `batches(round, device)` are the minibatches of its
    K steps."""
    zero = of_each(np.zeros_like, x)
    c, own, found = zero, dict.fromkeys(contract.DEVICES, zero), []
    for number, devices in enumerate(taking_part, 1):
        changes = []
        for i in devices:
            y, steps = x, batches(number, i)
            for inputs, labels in steps:
                g = gradient(y, inputs, labels)
                y = of_each(lambda y, g, ci, c: y - PLAIN.lr * (g - ci + c), y, g, own[i], c)
            rate = 1 / (len(steps) * PLAIN.lr)
            new = of_each(lambda ci, c, x, y, rate=rate: ci - c + rate * (x - y), own[i], c, x, y)
            changes.append((of_each(np.subtract, y, x), of_each(np.subtract, new, own[i])))
            own[i] = new
        dx, dc = (
            of_each(lambda *each: sum(each) / len(each), *part)
            for part in zip(*changes, strict=True)
        )
        x = of_each(np.add, x, dx)
        share = len(devices) / len(own)
        c = of_each(lambda c, d, share=share: c + share * d, c, dc)
        found.append((x, c, dict(own)))
    return found


def wide(arrays):
    return {name: np.asarray(array, np.float64) for name, array in arrays.items()}


@pytest.mark.parametrize("cohorts", [False, True], ids=["alone", "side by side"])
def test_rounds_are_those_of_the_papers_algorithm(cohorts):
    method = replace(scaffold.tiny(), local=PLAIN)
    ours = states(method, 4, per_round=3, cohorts=cohorts, case=Equal)

    def batches(number, device):
        data = Equal(make=None).data(device)
        key = (0, "train", f"{number}:train:{device}")
        order = task({}, data, 3, PLAIN, key).rows_SB
        return [(data.inputs[rows].astype(np.float64), data.labels[rows]) for rows in order]

    theirs = paper(wide(method.init(0).weights), batches, [answered for _, answered, _ in ours])
    for (state, _, kept), (x, c, own) in zip(ours, theirs, strict=True):
        close(wide(state.weights), x)
        close(wide(state.control), c)
        for device, arrays in kept.items():
            close(wide(arrays), own[device])


def close(one, other):
    for name in other:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-6, err_msg=name)


# --- beside federated averaging -------------------------------------------------------------------


@pytest.mark.parametrize("cohorts", [False, True], ids=["alone", "side by side"])
@pytest.mark.parametrize(
    "local", [PLAIN, LocalTraining(passes=1, batch=8)], ids=["plain", "momentum"]
)
def test_the_first_round_is_federated_averaging(local, cohorts):
    ((ours, _, _),) = states(replace(scaffold.tiny(), local=local), 1, cohorts=cohorts)
    ((theirs, _, _),) = states(replace(fedavg.tiny(), local=local), 1, cohorts=cohorts)
    contract.same(ours.weights, theirs.weights)
    assert any(array.any() for array in ours.control.values())


def test_later_rounds_are_not():
    ours = states(replace(scaffold.tiny(), local=PLAIN), 2)[-1][0]
    theirs = states(replace(fedavg.tiny(), local=PLAIN), 2)[-1][0]
    assert (
        max(np.abs(ours.weights[name] - theirs.weights[name]).max() for name in theirs.weights)
        > 1e-3
    )


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_a_control_variate_is_the_gradient_where_that_does_not_change(momentum):
    """Steps too small to change it: in every round, a device's control variate is the gradient on
    all its data."""
    local = LocalTraining(passes=3, batch=16, lr=1e-3, momentum=momentum, weight_decay=0.0)
    method = replace(scaffold.tiny(), local=local)
    device, data = next(iter(contract.DEVICES.values())), contract.samples(16, (8,), "device-00")
    worker = method.worker(device, data, 0)
    (job,) = [
        one
        for one in contract.wave_after(Case(make=lambda: method), method, 0)[0]
        if one.device == device.id
    ]
    worker.handle(job)
    net = method.model.build(0)
    logits = net(torch.from_numpy(data.inputs))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels)).backward()
    for name, weight in net.named_parameters():
        np.testing.assert_allclose(worker.control[name], weight.grad.numpy(), rtol=0.05, atol=2e-3)


def test_what_travels_and_what_is_held_is_declared():
    tries = {module: module.tiny() for module in (scaffold, fedavg)}
    loads = {}
    for module, method in tries.items():
        (job, *_), _ = contract.wave_after(Case(make=module.tiny), method, 0)
        loads[module] = method.worker(
            contract.DEVICES[job.device], contract.samples(16, (8,), job.device), 0
        ).load(job)
    control_bytes = sum(array.nbytes for array in scaffold.tiny().init(0).control.values())
    ours, theirs = loads[scaffold], loads[fedavg]
    assert ours.down_bytes > theirs.down_bytes + control_bytes
    assert ours.up_bytes > theirs.up_bytes + control_bytes
    assert ours.memory_bytes == theirs.memory_bytes + 4 * control_bytes
