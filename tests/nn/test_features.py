from itertools import product

import numpy as np
import pytest
import torch

from distilfleet.nn import zoo
from distilfleet.nn.features import MOST_TAPS, Adapter, Tap, pairs, resize, taps, watching
from distilfleet.nn.weights import to_arrays

SHAPES = {"mlp": (8,), "wave": (2, 60), "sound": (1, 800), "conv": (1, 8, 8), "dsconv": (1, 8, 8)}
CLASSIC = (3, 32, 32)
ALL = [
    (name, SHAPES.get(name.split("-")[0], CLASSIC))
    for name in zoo.ZOO
    if name not in ("vgg19", "perceptron", *zoo.WORDS)
]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(("name", "shape"), ALL, ids=[name for name, _ in ALL])
def test_every_net_has_taps_that_are_what_comes_out(name, shape):
    net = zoo.model(name, shape, 3).build(0)
    before = {n: a.tobytes() for n, a in to_arrays(net).items()}
    found = taps(net, torch.zeros(2, *shape))
    assert 1 <= len(found) <= MOST_TAPS
    assert net.training
    assert {n: a.tobytes() for n, a in to_arrays(net).items()} == before
    with watching(net.eval(), [tap.module for tap in found]) as outputs, torch.no_grad():
        logits = net(torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)))
    assert [tuple(outputs[tap.module].shape[1:]) for tap in found] == [tap.shape for tap in found]
    assert all(outputs[tap.module] is not logits for tap in found)
    sizes = [int(np.prod(tap.shape[1:])) for tap in found]
    assert sizes == sorted(sizes, reverse=True)
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("shape", [(8,), (2, 60), (1, 8, 8), (3, 32, 32)])
def test_every_small_net_can_be_held_against_every_larger_one(shape):
    names = (*zoo.smalls_for(shape), zoo.large_for(shape))
    nets = {name: zoo.model(name, shape, 3).build(0) for name in names}
    found = {name: taps(net, torch.zeros(2, *shape)) for name, net in nets.items()}
    for small, large in product(names, names):
        for own, other in pairs(found[small], found[large]):
            bridged = Adapter(own, other)(torch.zeros(2, *own.shape))
            assert tuple(bridged.shape[1:]) == other.shape


def test_nets_of_different_families_can_be_held_against_each_other():
    image = (1, 8, 8)
    mlp, conv = (
        taps(zoo.model(name, image, 3).build(0), torch.zeros(2, *image))
        for name in ("mlp-m", "conv-m")
    )
    for small, large in (mlp, conv), (conv, mlp):
        for own, other in pairs(small, large):
            assert tuple(Adapter(own, other)(torch.zeros(2, *own.shape)).shape[1:]) == other.shape


def test_the_deepest_stages_are_compared():
    small, large = [Tap(c, (4,)) for c in "ab"], [Tap(c, (4,)) for c in "uvw"]
    assert [(s.module, t.module) for s, t in pairs(small, large)] == [("a", "v"), ("b", "w")]
    assert [(s.module, t.module) for s, t in pairs(large, small)] == [("v", "a"), ("w", "b")]
    assert pairs([], large) == ()


def test_watching_ends_even_when_something_fails():
    net = zoo.model("mlp-s", (8,), 3).build(0)
    with pytest.raises(ZeroDivisionError), watching(net, ["stem"]):
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in net.modules())


def test_features_are_resized_by_averaging_or_spreading():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert resize(image, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert resize(image, (4, 4)) is image
    assert resize(image, ()).tolist() == [[7.5]]
    assert resize(torch.tensor([[1.0, 2.0]]), (3,)).tolist() == [[[1.0] * 3, [2.0] * 3]]


class Trimmed(torch.nn.Module):
    """Sees no more of a batch than its longest text, as tokenizers pad."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(16, 4)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, ids):
        used = int((ids >= 0).sum(1).max())
        return self.head(self.table(ids[:, :used].clamp(min=0).long()).mean(1))


def test_what_has_a_place_for_each_token_is_no_stage_however_short_the_first_texts_are():
    ids = torch.full((9, 20), -1, dtype=torch.int32)
    for row in range(9):
        ids[row, : 4 + row] = 3
    assert "table" not in [tap.module for tap in taps(Trimmed(), ids)]
