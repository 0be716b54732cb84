"""What trains is what was chosen; all else stays to the bit, statistics too."""

import numpy as np
import pytest
import torch
from hf_folders import mobile_model, picture_model, series_model, sound_model, text_model
from torch import nn

from distilfleet.core.errors import ConfigError
from distilfleet.nn import zoo
from distilfleet.nn.distil import Distillation, distil, predict
from distilfleet.nn.profile import profile, training_memory_bytes
from distilfleet.nn.trainable import adapted_in_vain, choose, head_of, learnt, merged, train_mode
from distilfleet.nn.weights import to_arrays

CHOICES = ("all", "head", "lora:2", "last:1", "last:2")
KINDS = {
    "picture": (picture_model, (3, 8, 8), 3),
    "text": (text_model, (6,), 2),
    "sound": (sound_model, (1, 320), 3),
    "series": (series_model, (2, 24), 2),
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=[*KINDS, "conv-bn", "mlp-m", "wave-l"])
def named(request, tmp_path_factory):
    """A name, the shape of a sample and the number of classes."""
    if request.param not in KINDS:
        shape = {"conv": (1, 8, 8), "mlp": (8,), "wave": (2, 20)}[request.param.split("-")[0]]
        return request.param, shape, 3
    make, shape, classes = KINDS[request.param]
    return make(tmp_path_factory.mktemp(request.param)), shape, classes


def taught(module, inputs, classes):
    soft = np.random.default_rng(1).dirichlet(np.ones(classes), len(inputs)).astype(np.float32)
    settings = Distillation(passes=2, batch=4, lr=0.01)
    return distil(module, inputs, soft, settings, np.random.default_rng(0)).weights


@pytest.mark.parametrize("train", CHOICES)
def test_what_is_not_chosen_stays_to_the_bit(named, train):
    model = zoo.model(*named, train)
    module = model.build(0)
    before = to_arrays(module)
    names = learnt(module)
    after = taught(module, model.example(6).numpy(), model.classes)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved
    assert moved <= set(names), "what learnt says is all that moves"
    assert any(name.startswith(f"{head_of(module)}.") for name in moved)
    assert len(names) == len(before) or train != "all"
    assert len(names) < len(before) or train not in ("head", "lora:2", "last:1")


def test_what_is_frozen_has_no_gradients_and_no_momentum(named):
    every, head = (profile(zoo.model(*named, train)) for train in ("all", "head"))
    assert head.weight_bytes == every.weight_bytes
    assert head.trained_bytes < every.trained_bytes == every.weight_bytes
    assert training_memory_bytes(head, 4) < training_memory_bytes(every, 4)
    assert head.train_flops < every.train_flops


def test_more_layers_are_more_weights(named):
    counts = [len(learnt(zoo.model(*named, train).build(0))) for train in CHOICES]
    every, head, _, one, two = counts
    assert head <= one < two <= every


def test_adapters_begin_as_nothing_and_merge_into_the_plain_net(named):
    model = zoo.model(*named, "lora:2")
    x = model.example(6).numpy()
    plain = zoo.model(*named).build(0)
    module = model.build(0)
    assert np.array_equal(predict(module, x), predict(plain, x))
    taught(module, x, model.classes)
    whole = merged(module)
    assert list(whole.state_dict()) == list(plain.state_dict())
    assert np.allclose(predict(whole, x), predict(module, x), atol=1e-5)
    assert not np.allclose(predict(whole, x), predict(plain, x), atol=1e-3)
    assert all(weight.dtype == torch.float32 for weight in whole.parameters())


def test_merging_is_of_any_precision_and_leaves_the_net_alone(tmp_path):
    module = zoo.model(picture_model(tmp_path), (3, 8, 8), 3, "lora:1").build(0).bfloat16()
    names = list(module.state_dict())
    assert {weight.dtype for weight in merged(module).parameters()} == {torch.float32}
    assert list(module.state_dict()) == names
    assert {weight.dtype for weight in module.parameters()} == {torch.bfloat16}


class Body(nn.Sequential):
    """A frozen convolution with statistics and dropout, and a head."""

    def __init__(self):
        frozen = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Dropout(0.5))
        super().__init__(frozen.requires_grad_(False), nn.Flatten(), nn.Linear(144, 3))


def test_statistics_and_dropout_of_frozen_parts_rest():
    net = train_mode(Body())
    assert [part.training for part in net] == [False, True, True]
    before = net[0][1].running_mean.clone()
    x = torch.randn(5, 1, 8, 8)
    assert torch.equal(net(x), net(x))
    assert torch.equal(net[0][1].running_mean, before)
    assert learnt(net) == ("2.weight", "2.bias")
    thawed = Body().requires_grad_(True)
    assert "0.1.running_mean" in learnt(thawed)
    assert all(part.training for part in train_mode(thawed).modules())


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("heads", "--train heads: expected all, head, lora:R .* or last:N"),
        ("lora:", "--train lora:: expected"),
        ("lora:0", "--train lora:0: expected"),
        ("last:-1", "--train last:-1: expected"),
        ("last:9", "--train last:9: the net has 2 layers: take fewer"),
        ("last:8", "--train last:N: the net has no list of layers: take all or head"),
    ],
)
def test_what_cannot_train_is_said(train, message):
    with pytest.raises(ConfigError, match=message) as caught:
        zoo.model("mlp-s" if train == "last:8" else "mlp-m", (8,), 3, train)
    assert "\n" not in str(caught.value)


def test_what_adapters_do_not_suit_is_said(tmp_path):
    name = mobile_model(tmp_path)
    assert zoo.model(name, (3, 32, 32), 3, "last:1")
    with pytest.raises(ConfigError, match=r"--train lora:1 does not suit hf:.*'stride'"):
        zoo.model(name, (3, 32, 32), 3, "lora:1")


class Aside(nn.Module):
    """Reads the weight of its layer itself."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.relu(x @ self.inner.weight.T))


def test_adapters_that_the_net_goes_past_are_noticed():
    assert adapted_in_vain(choose(Aside(), "lora:1"), torch.ones(2, 4))
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    assert not adapted_in_vain(choose(plain, "lora:1"), torch.ones(2, 4))
