"""Nets as users write them, by name: `tests/nn/own_nets.py:NAME`, from four numbers to three
classes."""

import math
import random
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrizations


def plain(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], 8), nn.Tanh(), nn.Linear(8, classes))


def perceptron(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], 8), nn.ReLU(), nn.Linear(8, classes))


class Of(nn.Module):
    """Two layers, and between them what `between` makes of the module and the hidden states."""

    def __init__(self, shape, classes, between=lambda self, h: h):
        super().__init__()
        self.first, self.last, self.between = nn.Linear(shape[0], 8), nn.Linear(8, classes), between

    def forward(self, x):
        return self.last(self.between(self, torch.tanh(self.first(x))))


# --- what a batched computation knows -------------------------------------------------------------


def frozen(shape, classes):
    net = plain(shape, classes)
    net[0].requires_grad_(False)
    return net


def frozen_perceptron(shape, classes):
    net = perceptron(shape, classes)
    net[2].bias.requires_grad_(False)
    return net


def unused(shape, classes):
    net = Of(shape, classes)
    net.spare = nn.Linear(5, 5)
    return net


def tied(shape, classes):
    net = Of(shape, classes, lambda self, h: torch.tanh(self.again(torch.tanh(self.square(h)))))
    net.square = nn.Linear(8, 8)
    net.again = net.square
    return net


def shared_weight(shape, classes):
    net = Of(shape, classes, lambda self, h: nn.functional.linear(h, self.one.weight) + self.two(h))
    net.one, net.two = nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
    net.two.weight = net.one.weight
    return net


def batch_normalised(shape, classes):
    net = Of(shape, classes, lambda self, h: self.norm(h))
    net.norm = nn.BatchNorm1d(8)
    return net


def instance_normalised(shape, classes):
    return nn.Sequential(
        nn.Linear(shape[0], 8),
        nn.Unflatten(1, (2, 4)),
        nn.InstanceNorm1d(2),
        nn.Flatten(),
        nn.Linear(8, classes),
    )


def not_persistent(shape, classes):
    net = Of(shape, classes, lambda self, h: h * self.scale)
    net.register_buffer("scale", torch.full((8,), 0.5), persistent=False)
    return net


def integer_buffer(shape, classes):
    net = Of(shape, classes, lambda self, h: h[:, self.order])
    net.register_buffer("order", torch.arange(7, -1, -1))
    return net


def scalar_and_empty(shape, classes):
    net = Of(shape, classes, lambda self, h: h * self.gain + self.none.sum())
    net.gain, net.none = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.zeros(0, 3))
    return net


def spectral(shape, classes):
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(shape[0], 8)), nn.ReLU(), nn.Linear(8, classes)
    )


def weight_normalised(shape, classes):
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(shape[0], 8)), nn.ReLU(), nn.Linear(8, classes)
    )


def double(shape, classes):
    return plain(shape, classes).double()


def bfloat(shape, classes):
    return perceptron(shape, classes).to(torch.bfloat16)


def half(shape, classes):
    return plain(shape, classes).half()


def lazy(shape, classes):
    return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(classes))


def embedding(shape, classes):
    net = Of(shape, classes, lambda self, h: h + self.table(self.level(h)))
    net.table, net.level = nn.Embedding(3, 8), lambda h: (h.detach().mean(1) > 0).long()
    return net


def deep(shape, classes):
    net = plain(shape, classes)
    for _ in range(40):
        net = nn.Sequential(net)
    return net


def odd_names(shape, classes):
    net = Of(shape, classes)
    net.add_module("a/b c:ü[0]", nn.Linear(8, 8))
    net.register_parameter("moments/weights/x", nn.Parameter(torch.zeros(8)))
    net.between = lambda self, h: (
        getattr(self, "a/b c:ü[0]")(h) + getattr(self, "moments/weights/x")
    )
    return net


def attention(shape, classes):
    return Attending(classes)


class Attending(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.up = nn.Linear(1, 8)
        self.body = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 1
        )
        self.out = nn.Linear(8, classes)

    def forward(self, x):
        return self.out(self.body(self.up(x[:, :, None])).mean(1))


# --- what its own Python decides ------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, classes, kind):
        super().__init__()
        self.body, self.out = kind(1, 8, batch_first=True), nn.Linear(8, classes)

    def forward(self, x):
        return self.out(self.body(x[:, :, None])[0][:, -1])


def lstm(shape, classes):
    return Recurrent(classes, nn.LSTM)


def gru(shape, classes):
    return Recurrent(classes, nn.GRU)


def dropout(shape, classes):
    net = Of(shape, classes, lambda self, h: self.drop(h))
    net.drop = nn.Dropout(0.5)
    return net


def functional_dropout(shape, classes):
    return Of(shape, classes, lambda self, h: nn.functional.dropout(h, 0.5, self.training))


def branches_on_data(shape, classes):
    return Of(shape, classes, lambda self, h: h if h.mean() > 0 else -h)


def branches_on_weights(shape, classes):
    return Of(shape, classes, lambda self, h: h if self.first.bias.sum() > 0 else h * 3)


def gradient_hook(shape, classes):
    net = perceptron(shape, classes)
    net[0].weight.register_hook(lambda gradient: gradient * 0)
    return net


def hook_that_speaks_of_the_net(shape, classes):
    net = Of(shape, classes)
    net.scale = nn.Parameter(torch.tensor(0.5))
    net.first.register_forward_hook(lambda module, inputs, output: output * net.scale)
    return net


def forward_hook(shape, classes):
    net = perceptron(shape, classes)
    net[1].register_forward_hook(lambda module, inputs, output: output * 3)
    return net


def counts_in_an_attribute(shape, classes):
    def between(self, h):
        self.seen = self.seen + 1
        return h * (1 + self.seen % 2)

    net = Of(shape, classes, between)
    net.seen = 0
    return net


def freezes_as_it_goes(shape, classes):
    def between(self, h):
        self.seen += 1
        if self.seen > 2:
            self.first.weight.requires_grad_(False)
        return h

    net = Of(shape, classes, between)
    net.seen = 0
    return net


def replaces_a_buffer(shape, classes):
    def between(self, h):
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return h - self.mean

    net = Of(shape, classes, between)
    net.register_buffer("mean", torch.zeros(8))
    return net


def updates_a_buffer(shape, classes):
    def between(self, h):
        with torch.no_grad():
            self.mean.mul_(0.9).add_(h.mean(0), alpha=0.1)
        return h - self.mean

    net = Of(shape, classes, between)
    net.register_buffer("mean", torch.zeros(8))
    return net


def changes_weights_itself(shape, classes):
    def between(self, h):
        with torch.no_grad():
            self.first.weight.clamp_(-0.2, 0.2)
        return h

    return Of(shape, classes, between)


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 0.5


def own_gradient(shape, classes):
    return Of(shape, classes, lambda self, h: Straight.apply(h))


def uses_weights_without_gradient(shape, classes):
    def between(self, h):
        with torch.no_grad():
            scale = self.first.weight.abs().mean()
        return h / scale

    return Of(shape, classes, between)


class StaysInEval(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.body = batch_normalised(shape, classes)

    def train(self, mode=True):
        return super().train(False)

    def forward(self, x):
        return self.body(x)


def stays_in_eval(shape, classes):
    return StaysInEval(shape, classes)


def remembers_between_calls(shape, classes):
    def between(self, h):
        before, self.last_mean = self.last_mean, h.detach().mean(0)
        return h - before

    net = Of(shape, classes, between)
    net.last_mean = torch.zeros(8)
    return net


def prints(shape, classes):
    net = plain(shape, classes)
    net.register_forward_hook(lambda *_: print(end=""))
    return net


def old_weight_norm(shape, classes):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(
            nn.utils.weight_norm(nn.Linear(shape[0], 8)), nn.ReLU(), nn.Linear(8, classes)
        )


def chance_of_python(shape, classes):
    return Of(shape, classes, lambda self, h: h * random.choice([0.5, 2.0]) if self.training else h)


def chance_of_numpy(shape, classes):
    return Of(
        shape,
        classes,
        lambda self, h: h * float(np.random.uniform(0.5, 2.0)) if self.training else h,
    )


def draws_when_asked_too(shape, classes):
    return Of(shape, classes, lambda self, h: h + 0.1 * torch.randn_like(h))


def logarithm(shape, classes):
    """Whose gain, in its first steps, falls below nothing."""
    net = Of(shape, classes, lambda self, h: (h.abs() * self.gain).log())
    net.gain = nn.Parameter(torch.full((8,), 1e-6))
    return net


def drawn_by_python(shape, classes):
    wide = random.choice([4, 8, 16, 32])
    return nn.Sequential(nn.Linear(shape[0], wide), nn.Tanh(), nn.Linear(wide, classes))


class Slots(nn.Module):
    __slots__ = ("scale",)

    def __init__(self, shape, classes):
        super().__init__()
        self.body, self.scale = plain(shape, classes), 2.0

    def forward(self, x):
        return self.body(x) * self.scale


def slots(shape, classes):
    return Slots(shape, classes)


class Slope(nn.Module):
    """Logits from the slope of an energy."""

    def __init__(self, shape, classes):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(shape[0], 8), nn.Softplus(), nn.Linear(8, 1))
        self.last = nn.Linear(shape[0], classes)

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)
        return self.last(slope)


def differentiates_as_it_runs(shape, classes):
    return Slope(shape, classes)


def skips_layers_by_chance(shape, classes):
    net = Of(shape, classes, lambda self, h: self.side(h) if torch.rand(()) < 0.5 else h)
    net.side = nn.Linear(8, 8)
    return net


def inference_inside(shape, classes):
    def between(self, h):
        with torch.inference_mode():
            seen = self.side(h)
        return h + seen.clone()

    net = Of(shape, classes, between)
    net.side = nn.Linear(8, 8)
    return net


def experts(shape, classes):
    """Each sees the samples that are sent to it, and some see none."""

    def between(self, h):
        best, out = self.gate(h).argmax(1), torch.zeros_like(h)
        for number, expert in enumerate(self.experts):
            rows = (best == number).nonzero()[:, 0]
            out = out.index_add(0, rows, expert(h[rows])) if len(rows) else out
        return out + h

    net = Of(shape, classes, between)
    net.gate, net.experts = nn.Linear(8, 3), nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
    return net


def scripted(shape, classes):
    return quiet(torch.jit.script, perceptron(shape, classes))


def scripted_part(shape, classes):
    return nn.Sequential(
        quiet(torch.jit.script, nn.Linear(shape[0], 8)), nn.ReLU(), nn.Linear(8, classes)
    )


def quiet(make, *what):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*what)


def compiled(shape, classes):
    first = quiet(torch.compile, nn.Linear(shape[0], 8))
    return quiet(torch.compile, nn.Sequential(first, nn.Tanh(), nn.Linear(8, classes)))


def sets_the_default_type(shape, classes):
    torch.set_default_dtype(torch.float64)
    return plain(shape, classes)


def turns_gradients_off(shape, classes):
    torch.set_grad_enabled(False)
    return plain(shape, classes)


ONE = plain((4,), 3)


def always_the_same(shape, classes):
    return ONE


def reads_a_file(shape, classes):
    net = plain(shape, classes)
    net.load_state_dict({name: torch.tensor(array) for name, array in READ.items()})
    return net


READ = {name: tensor.numpy() for name, tensor in plain((4,), 3).state_dict().items()}


CALLS = [0]


def remembers_outside(shape, classes):
    def between(self, h):
        CALLS[0] += 1
        return h * (1 + CALLS[0] % 3)

    return Of(shape, classes, between)


# --- what cannot be -------------------------------------------------------------------------------


def no_weights(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(classes))


def all_frozen(shape, classes):
    return plain(shape, classes).requires_grad_(False)


def complex_weights(shape, classes):
    net = Of(shape, classes, lambda self, h: h + self.wave.real)
    net.wave = nn.Parameter(torch.ones(8, dtype=torch.complex64))
    return net


def gives_a_tuple(shape, classes):
    net = plain(shape, classes)
    net.register_forward_hook(lambda module, inputs, output: (output, output))
    return net


def gives_a_dict(shape, classes):
    net = plain(shape, classes)
    net.register_forward_hook(lambda module, inputs, output: {"logits": output})
    return net


def wrong_classes(shape, classes):
    return plain(shape, classes + 1)


def forgets_the_batch(shape, classes):
    return Of(shape, classes, lambda self, h: h.mean(0))


def batch_of_two_alone(shape, classes):
    return Of(shape, classes, lambda self, h: h.reshape(2, 8))


def integers(shape, classes):
    net = plain(shape, classes)
    net.register_forward_hook(
        lambda module, inputs, output: output.argmax(1, keepdim=True).expand(-1, 3)
    )
    return net


def without_gradient(shape, classes):
    net = plain(shape, classes)
    net.register_forward_hook(lambda module, inputs, output: output.detach())
    return net


def not_a_module(shape, classes):
    return lambda x: x


def raises(shape, classes):
    raise OSError("weights.bin is not there")


def divides_by_zero(shape, classes):
    return nn.Linear(shape[0], classes // 0)


def ids_alone(shape, classes):
    return nn.Sequential(nn.Embedding(5, 8), nn.Flatten(), nn.Linear(32, classes))


def infinite_buffer(shape, classes):
    net = plain(shape, classes)
    net.register_buffer("mask", torch.full((3,), -torch.inf))
    return net


def extra_state(shape, classes):
    return WithExtra(shape, classes)


class WithExtra(Of):
    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        pass


def called_samples(shape, classes):
    net = plain(shape, classes)
    net.samples = nn.Parameter(torch.zeros(2))
    return net


def copies_its_state(shape, classes):
    net = plain(shape, classes)
    net._register_state_dict_hook(
        lambda module, state, prefix, local: {n: t.clone() for n, t in state.items()}
    )
    return net


def quantised(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], 8), Quantised())


class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("q", torch.zeros(3, dtype=torch.float8_e4m3fn))

    def forward(self, h):
        return h[:, :3] + self.q.float()


def leaves(shape, classes):
    raise SystemExit(3)


def leaves_as_it_runs(shape, classes):
    return Of(shape, classes, lambda self, h: leaves(shape, classes))


def sparse_gradient(shape, classes):
    net = Of(shape, classes, lambda self, h: h + self.table((h.detach().mean(1) > 0).long()))
    net.table = nn.Embedding(2, 8, sparse=True)
    return net


def makes_weights_as_it_runs(shape, classes):
    def between(self, h):
        if not hasattr(self, "late"):
            self.late = nn.Linear(8, 8)
        return self.late(h)

    return Of(shape, classes, between)


def not_a_number(shape, classes):
    return Of(shape, classes, lambda self, h: h * float("nan"))


class TrainsInSilence(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.body = plain(shape, classes)

    def train(self, mode=True):
        super().train(mode)

    def forward(self, x):
        return self.body(x)


def trains_in_silence(shape, classes):
    return TrainsInSilence(shape, classes)


class Singular(nn.Module):
    """Reads the singular values of what it makes of a sample, or solves for them."""

    def __init__(self, inputs, classes, way):
        super().__init__()
        self.made, self.head, self.way = nn.Linear(inputs, 16), nn.Linear(4, classes), way

    def forward(self, samples):
        square = self.made(samples.flatten(1)).reshape(-1, 4, 4)
        return self.head(self.way(square))


def svd(shape, classes):
    return Singular(math.prod(shape), classes, lambda square: torch.linalg.svd(square)[1])


def eigh(shape, classes):
    return Singular(
        math.prod(shape), classes, lambda square: torch.linalg.eigh(square + square.mT)[0]
    )


def qr(shape, classes):
    return Singular(
        math.prod(shape),
        classes,
        lambda square: torch.linalg.qr(square)[1].diagonal(dim1=-2, dim2=-1),
    )
