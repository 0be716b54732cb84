"""A large model that knows something keeps it, and one whose head is new learns more than it is
taught."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from distilfleet.core.chance import stream
from distilfleet.nn import soft_labels as soft
from distilfleet.nn import zoo
from distilfleet.nn.distil import Distillation, accuracy, distil, predict
from distilfleet.nn.retention import (
    KNOWN_HEAD_LR,
    LR,
    Retention,
    assumed,
    certainty,
    keep_statistics,
    knowledge,
)
from distilfleet.nn.weights import to_arrays
from trained_net import pretrained

DRAWN = Distillation(passes=2, batch=32, lr=2e-3)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return pretrained(tmp_path_factory.mktemp("pretrained"))


def taught(case, settings, soft_PC, rounds=1):
    """Accuracy after rounds of reverse distillation."""
    net = case.model.build(seed=0)
    prior = predict(net, case.proxy)
    moments = {}
    for number in range(rounds):
        rng = stream(0, "test", number)
        moments = distil(net, case.proxy, soft_PC, settings, rng, moments, prior).moments
    return accuracy(predict(net, case.test), case.labels)


def kept_settings(case):
    retention = Retention(head=knowledge(case.model).head, head_lr=KNOWN_HEAD_LR)
    return replace(DRAWN, lr=LR, retention=retention)


def noise(case, temperature):
    """What a teacher says that knows nothing and sees the first class everywhere."""
    logits = np.random.default_rng(0).normal(size=(len(case.proxy), case.model.classes))
    logits[:, 0] += 2
    return soft.soften(logits.astype(np.float32), temperature)


def test_a_teacher_that_knows_nothing_takes_nothing_away(case):
    began = accuracy(predict(case.model.build(seed=0), case.test), case.labels)
    assert began > 0.85
    wrong = noise(case, DRAWN.temperature)
    assert taught(case, DRAWN, wrong, rounds=10) < began - 0.2
    assert taught(case, kept_settings(case), wrong, rounds=10) > began - 0.01


def test_a_model_that_is_wrong_learns_from_a_teacher_that_is_surer(case):
    """The rows of two classes change places in its head; the teacher knows better."""
    net = case.model.build(seed=0)
    right = predict(net, case.proxy)
    with torch.no_grad():
        net.head.weight[:2] = net.head.weight[:2].flip(0) * 0.3
        net.head.bias[:2] = net.head.bias[:2].flip(0) * 0.3
    began = accuracy(predict(net, case.test), case.labels)
    settings = replace(DRAWN, lr=LR, retention=Retention(head="head"))
    moments = {}
    for number in range(20):
        soft_PC = soft.soften(right, settings.temperature)
        moments = distil(net, case.proxy, soft_PC, settings, stream(0, number), moments).moments
    assert accuracy(predict(net, case.test), case.labels) > began + 0.1


def test_statistics_of_normalisations_stay(case):
    net = case.model.build(seed=0)
    before = to_arrays(net)
    distil(net, case.proxy, noise(case, 3.0), kept_settings(case), stream(0, "test"))
    after = to_arrays(net)
    assert np.array_equal(before["norm.running_mean"], after["norm.running_mean"])
    assert not np.array_equal(before["body.weight"], after["body.weight"])
    assert not np.array_equal(before["head.weight"], after["head.weight"])


def test_only_normalisations_with_statistics_are_held(case):
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.LayerNorm(2)).train()
    keep_statistics(net)
    assert [part.training for part in net] == [False, True, True]


def test_what_the_model_learns_is_the_product_of_its_answers_and_the_teacher_s():
    own = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    teacher = np.array([[0.0, 3.0, 0.0], [0.0, 3.0, 0.0]], np.float32)
    found = Retention(head="").targets(own, soft.soften(teacher, 2.0), 2.0)
    assert np.allclose(found, soft.soften(own + teacher, 2.0), atol=1e-6)


def test_a_teacher_counts_by_how_sure_it_is_beside_the_model():
    own = np.array([[6.0, 0.0]], np.float32)
    teacher = np.array([[0.0, 1.0]], np.float32)
    share = certainty(soft.soften(teacher, 1.0)) / certainty(soft.soften(own, 1.0))
    found = Retention(head="").targets(own, soft.soften(teacher, 3.0), 3.0)
    assert np.allclose(found, soft.soften(own + share[:, None] * teacher, 3.0), atol=1e-5)


def test_without_an_anchor_it_learns_what_it_is_told():
    told = np.array([[0.2, 0.8]], np.float32)
    own = np.array([[9.0, 0.0]], np.float32)
    assert np.array_equal(Retention(head="", anchor=0.0).targets(own, told, 3.0), told)


def test_an_own_net_that_loads_weights_is_told_from_one_that_draws_them(case, tmp_path):
    known = knowledge(case.model)
    assert (known.head, known.knows_classes) == ("head", True)
    file = case.model.name.rpartition(":")[0]
    fresh = knowledge(zoo.model(f"{file}:new_head", case.model.shape, case.model.classes))
    assert (fresh.head, fresh.knows_classes) == ("head", False)
    drawn = zoo.model(f"{file}:drawn", case.model.shape, case.model.classes)
    assert knowledge(drawn) is None
    assert assumed(drawn).head == "head"
    assert knowledge(zoo.model("mlp-s", (4,), 3)) is None
