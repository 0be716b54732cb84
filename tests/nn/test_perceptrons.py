import pytest
import torch
from torch import nn

from distilfleet.nn import zoo
from distilfleet.nn.perceptrons import gradients, linear_layers


def net(*middle):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), *middle, nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("perceptron", ["1", "3"]),
        ("mlp-xs", ["stem.1", "head"]),
        ("mlp-xl", ["stem.1", "stage1.0", "stage2.0", "head"]),
    ],
)
def test_perceptrons_are_known_by_their_layers(name, layers):
    assert linear_layers(zoo.model(name, (6,), 3).build(0)) == layers


def test_a_perceptron_need_not_flatten():
    assert linear_layers(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))) == ["0", "2"]


TWICE = nn.Linear(4, 4)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Backwards(nn.Sequential):
    def forward(self, x):
        return super().forward(x.flip(0))


@pytest.mark.parametrize(
    "module",
    [
        net(nn.ReLU(), TWICE, nn.ReLU(), TWICE, nn.ReLU()),
        net(nn.ReLU(), nn.Linear(4, 4, bias=False), nn.ReLU()),
        net(nn.ReLU(), Doubled(4, 4), nn.ReLU()),
        net(nn.ReLU(), nn.LayerNorm(4)),
        net(nn.Tanh()),
        net(nn.ReLU(), nn.ReLU()),
        net(),
        Backwards(*net(nn.ReLU())),
        nn.Sequential(nn.Flatten(0), nn.Linear(6, 3)),
        nn.Sequential(nn.Flatten()),
        nn.Sequential(),
    ],
)
def test_nothing_else_passes_for_a_perceptron(module):
    assert linear_layers(module) == []


def test_gradients_are_those_of_torch():
    torch.manual_seed(0)
    nets = [zoo.model("mlp-m", (6,), 3).build(seed) for seed in range(4)]
    x, y, shift = torch.randn(4, 5, 6), torch.randint(0, 3, (4, 5)), torch.randn(4, 3)
    weights = {
        name: torch.stack([dict(one.named_parameters())[name] for one in nets]).detach()
        for name in nets[0].state_dict()
    }
    found = dict(gradients(linear_layers(nets[0]), weights, x, y, shift))
    assert found.keys() == weights.keys()
    for d, one in enumerate(nets):
        nn.functional.cross_entropy(one(x[d]) + shift[d], y[d]).backward()
        for name, weight in one.named_parameters():
            mine = found[name] if isinstance(found[name], torch.Tensor) else torch.bmm(*found[name])
            torch.testing.assert_close(mine[d], weight.grad)
