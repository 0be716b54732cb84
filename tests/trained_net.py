"""A net that comes trained, as a user's file: its factory loads weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from torch import nn

from distilfleet.nn import zoo
from distilfleet.nn.isolation import seeded

FILE = """
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn


class Net(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.body = nn.Linear(features, 32)
        self.norm = nn.BatchNorm1d(32)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.dropout(torch.relu(self.norm(self.body(x)))))


def drawn(shape, classes):
    return Net(shape[0], classes)


def loaded(shape, classes):
    net = drawn(shape, classes)
    net.load_state_dict(load_file(Path(__file__).with_name("weights.safetensors")))
    return net


def new_head(shape, classes):
    net = loaded(shape, classes)
    net.head = nn.Linear(32, classes)
    return net
"""
FEATURES = 12
CLASSES = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pretrained:
    """A model that knows classes of clouds of points, and points of them."""

    model: zoo.Model
    train: np.ndarray
    train_labels: np.ndarray
    proxy: np.ndarray
    test: np.ndarray
    labels: np.ndarray


def pretrained(folder: Path) -> Pretrained:
    """Trained for a second on other points of the same clouds."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(CLASSES, FEATURES)) * 0.8
    labels = np.arange(1200) % CLASSES
    points = (centres[labels] + rng.normal(size=(1200, FEATURES))).astype(np.float32)
    (folder / "net.py").write_text(FILE)
    name = f"{folder / 'net.py'}:"
    net = zoo.model(f"{name}drawn", (FEATURES,), CLASSES).build(seed=0)
    _fit(net, torch.from_numpy(points[:600]), torch.from_numpy(labels[:600]))
    save_file(net.state_dict(), folder / "weights.safetensors")
    return Pretrained(
        model=zoo.model(f"{name}loaded", (FEATURES,), CLASSES),
        train=points[:600],
        train_labels=labels[:600],
        proxy=points[600:800],
        test=points[800:],
        labels=labels[800:],
    )


def _fit(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    with seeded(0):
        for _ in range(40):
            adam.zero_grad()
            F.cross_entropy(net(x), y).backward()
            adam.step()
