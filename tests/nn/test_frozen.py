"""Features of a frozen part are worked out once, and change nothing."""

import numpy as np
import pytest
import torch

from distilfleet.core.chance import stream
from distilfleet.nn import soft_labels as soft
from distilfleet.nn import zoo
from distilfleet.nn.distil import Distillation, distil, predict
from distilfleet.nn.frozen import FeatureStore, features, on_features, trained_head
from distilfleet.nn.weights import to_arrays
from trained_net import pretrained


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return pretrained(tmp_path_factory.mktemp("frozen"))


@pytest.fixture
def net(case):
    return zoo.model(case.model.name, case.model.shape, case.model.classes, "head").build(seed=0)


def head_of(net):
    return trained_head(net, torch.ones(2, 12))


def test_a_head_that_alone_trains_is_found(case, net):
    assert head_of(net) == "head"
    assert head_of(case.model.build(seed=0)) is None


def test_a_head_that_takes_more_than_the_frozen_part_gives_is_none(net):
    net.forward = lambda x: net.head(torch.relu(net.norm(net.body(x)))) + x[:, :6]
    assert head_of(net) is None


def test_a_net_on_its_features_says_the_same(case, net):
    before = predict(net, case.proxy)
    given = features(net, "head", case.proxy)
    with on_features(net, "head"):
        assert np.allclose(predict(net, given), before, atol=1e-6)
    assert np.array_equal(predict(net, case.proxy), before)


def test_features_are_worked_out_once_and_have_the_bits_of_those_worked_out_anew(case, net):
    store = FeatureStore()
    kept = store.of(net, "head", case.proxy)
    assert store.of(None, "", case.proxy) is kept
    assert np.array_equal(kept, features(net, "head", case.proxy))


def test_large_features_lie_in_a_file_with_the_same_numbers(case, net, monkeypatch):
    plain = features(net, "head", case.proxy)
    monkeypatch.setattr("distilfleet.nn.frozen.KEPT_BYTES", 1000)
    mapped = features(net, "head", case.proxy)
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, plain)


def test_the_head_alone_learns_on_them(case, net):
    before = to_arrays(net)
    soft_PC = soft.soften(np.eye(6, dtype=np.float32)[np.zeros(len(case.proxy), int)], 3.0)
    given = features(net, "head", case.proxy)
    with on_features(net, "head"):
        done = distil(net, given, soft_PC, Distillation(passes=1), stream(0, "test"))
    changed = {name for name in before if not np.array_equal(before[name], done.weights[name])}
    assert changed == {"head.weight", "head.bias"}
