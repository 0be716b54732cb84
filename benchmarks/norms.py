"""The norm of a board's net: what each costs in accuracy where weights are averaged.

    python benchmarks/norms.py run [--data FOLDER] [--seeds 1]

The same net with four norms: GroupNorm (the zoo's), BatchNorm, standardised weights (Qiao et al.,
arXiv 1903.10520: the norm is of weights, so that a trained net is one of plain convolutions), and
none. Devices train it by `fedavg --who small`; accuracy on held-out samples after the last round.
A folder with `mnist/mnist_subset.npz` and `wisdm-watch/windows.npz` adds these two to digits.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from distilfleet.nn import zoo

EPSILON = 1e-5
NORMS = ("group", "batch", "standardised", "none")
ROUNDS = {"digits": 8, "mnist": 5, "watch": 5}
FILES = {"mnist": "mnist/mnist_subset.npz", "watch": "wisdm-watch/windows.npz"}


def group(shape, classes):
    return _base(shape, classes)


def batch(shape, classes):
    norm = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    return _with_norm(_base(shape, classes), lambda old: norm(old.num_channels))


def standardised(shape, classes):
    return _standardised(_with_norm(_base(shape, classes), _shift))


def none(shape, classes):
    return _with_norm(_base(shape, classes), _shift)


class Shift(nn.Module):
    """A bias for each channel, which is all that is left of a norm."""

    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return x + self.bias.view(-1, *[1] * (x.dim() - 2))


class Standardised(nn.Module):
    """A convolution whose weights have mean 0 and variance 1 / inputs for each output channel."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv
        self.gain = nn.Parameter(
            torch.full((len(conv.weight), *[1] * (conv.weight.dim() - 1)), 1.4)
        )

    def forward(self, x):
        weight = self.conv.weight
        axes = tuple(range(1, weight.dim()))
        centred = weight - weight.mean(axes, keepdim=True)
        size = (centred.square().sum(axes, keepdim=True) + EPSILON).sqrt()
        conv = nn.functional.conv2d if weight.dim() == 4 else nn.functional.conv1d
        stride, padding = self.conv.stride, self.conv.padding
        return conv(x, self.gain * centred / size, self.conv.bias, stride, padding)


def _base(shape, classes):
    name = "wave-s" if len(shape) == 2 else "conv-s"
    return zoo.ZOO[name](tuple(shape), classes)


def _shift(old):
    return Shift(old.num_channels)


def _with_norm(net, make):
    for part in list(net.modules()):
        for name, layer in list(part.named_children()):
            if isinstance(layer, nn.GroupNorm):
                setattr(part, name, make(layer))
    return net


def _standardised(net):
    for part in list(net.modules()):
        for name, layer in list(part.named_children()):
            if isinstance(layer, nn.Conv1d | nn.Conv2d) and not isinstance(part, Standardised):
                setattr(part, name, Standardised(layer))
    return net


def accuracy(data, norm, seed, rounds):
    """Percent, of the averaged net."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        words = ["run", "fedavg", "--who", "small", "--small", f"{__file__}:{norm}", "--data", data]
        words += ["--devices", "8", "--alpha", "0.5", "--rounds", str(rounds), "--seed", str(seed)]
        command = [sys.executable, "-m", "distilfleet.cli", *words, "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    return 100 * last["small_accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=["run"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    places = {"digits": "digits"}
    if asked.data is not None:
        places |= {name: str(asked.data / file) for name, file in FILES.items()}
    for name, place in places.items():
        for norm in NORMS:
            found = [
                accuracy(place, norm, seed, ROUNDS[name]) for seed in range(1, asked.seeds + 1)
            ]
            print(f"{name:8} {norm:13} {sum(found) / len(found):.1f} %  {found}", flush=True)


if __name__ == "__main__":
    main()
