"""A method's own objective trains alike on one device, in a cohort, and with the perceptrons' own
backward pass."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from test_workers import job

from distilfleet.core.chance import stream
from distilfleet.core.types import Dataset
from distilfleet.cost import catalogue
from distilfleet.nn import zoo
from distilfleet.nn.train import LocalTraining, task, train, train_cohort
from distilfleet.nn.weight_worker import WeightWorker, train_together
from distilfleet.nn.weights import to_arrays

SHAPES = {"mlp-xs": (8,), "conv-bn": (1, 8, 8)}
PLAIN = LocalTraining(passes=2, batch=8, momentum=0.0, weight_decay=0.0)
COUNTS = (9, 40, 8)


@dataclass(frozen=True, slots=True)
class Everything:
    """Of all that an objective sees."""

    share: float = 0.3

    def gradient(self, weight, received, extra):
        return self.share * (weight - received) + extra["mine"] * weight - extra["theirs"]


@dataclass(frozen=True, slots=True)
class Nothing:
    def gradient(self, weight, received, extra):
        return torch.zeros_like(weight)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def data(samples, shape):
    rng = stream(0, "data", samples)
    labels = rng.integers(0, 3, samples)
    return Dataset(
        (rng.normal(size=(samples, *shape)) + labels.reshape(-1, *[1] * len(shape))).astype(
            np.float32
        ),
        labels,
    )


def devices(name, local, starts=(0, 0, 0)):
    """Tasks of devices with arrays of their own for every parameter."""
    model, found = zoo.model(name, SHAPES[name], 3), []
    for samples, start in zip(COUNTS, starts, strict=True):
        net, rng = model.build(start), stream(samples, "extra")
        extra = {
            kind: {
                n: 0.1 * rng.normal(size=tuple(w.shape)).astype(np.float32)
                for n, w in net.named_parameters()
            }
            for kind in ("mine", "theirs")
        }
        own = task(to_arrays(net), data(samples, model.shape), 3, local, (0, "order", samples))
        found.append(replace(own, extra=extra))
    return model, found


def cohort(model, own, local, objective):
    came = {}
    for chunk, table in train_cohort(model.build(7), own, local, objective):
        came.update(
            (d, {name: array[at] for name, array in table.items()}) for at, d in enumerate(chunk)
        )
    return [came[d] for d in range(len(own))]


@pytest.mark.parametrize("starts", [(0, 0, 0), (0, 1, 2)], ids=["from one model", "from several"])
@pytest.mark.parametrize(
    "local", [PLAIN, replace(PLAIN, momentum=0.9, weight_decay=0.01)], ids=["plain", "momentum"]
)
@pytest.mark.parametrize("name", SHAPES)
def test_side_by_side_each_device_ends_where_it_would_alone(name, local, starts):
    model, own = devices(name, local, starts)
    for one, other in zip(own, cohort(model, own, local, Everything()), strict=True):
        alone = train(model.build(5), one, local, Everything())
        plain = train(model.build(5), one, local)
        assert any(np.abs(alone[n] - plain[n]).max() > 1e-2 for n in alone)
        for part, array in alone.items():
            np.testing.assert_allclose(other[part], array, rtol=1e-5, atol=1e-5, err_msg=part)


def test_a_step_is_the_gradient_of_the_loss_and_what_is_added():
    local = replace(PLAIN, passes=1)
    model, own = devices("mlp-xs", local)
    one = own[2]  # eight samples: one step
    net = model.build(0)
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    x, y = torch.from_numpy(one.data.inputs), torch.from_numpy(one.data.labels)
    torch.nn.functional.cross_entropy(net(x), y).backward()
    trained = train(model.build(0), one, local, Everything())
    for name, weight in net.named_parameters():
        mine, theirs = (torch.from_numpy(one.extra[kind][name]) for kind in ("mine", "theirs"))
        added = mine * before[name] - theirs
        expected = before[name] - local.lr * (weight.grad + added)
        np.testing.assert_allclose(trained[name], expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_an_objective_that_adds_nothing_changes_no_bit(name):
    local = LocalTraining(passes=1, batch=8)
    model, own = devices(name, local)
    together = zip(
        cohort(model, own, local, Nothing()), cohort(model, own, local, None), strict=True
    )
    alone = [
        (train(model.build(5), one, local, Nothing()), train(model.build(5), one, local))
        for one in own
    ]
    for one, other in (*together, *alone):
        assert all(one[part].tobytes() == other[part].tobytes() for part in one)


def test_learners_of_several_objectives_each_train_with_their_own():
    model = zoo.model("mlp-xs", (8,), 3)
    names, objectives = "abcd", (Everything(), Everything(2.0), None, Everything())
    workers = [
        WeightWorker(
            device=catalogue.device("rpi-5", name),
            data=data(16, (8,)),
            model=model,
            local=PLAIN,
            seed=0,
            objective=one,
        )
        for name, one in zip(names, objectives, strict=True)
    ]
    extra = devices("mlp-xs", PLAIN)[1][0].extra
    jobs = [job(name) for name in names]
    together = train_together(workers, jobs, [extra] * 4)
    for worker, asked, answer in zip(workers, jobs, together, strict=True):
        for part, array in worker.learn(asked, extra).items():
            np.testing.assert_allclose(answer[part], array, rtol=1e-5, atol=1e-5)
