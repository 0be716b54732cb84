"""ResNet-56 for CIFAR-10, where its weights lie in `shared/data` beside the repository."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilfleet.recipes.flags import Common, ProxyData
from distilfleet.recipes.koala import Flags
from distilfleet.recipes.simulate import simulate

SHARED = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS = SHARED / "weights" / "cifar_resnet56-4bfd9763.safetensors"
NET = f"""
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.pad = (outputs - inputs) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        width = 16
        for number, outputs in enumerate((16, 32, 64), 1):
            blocks = []
            for place in range(9):
                blocks.append(Block(width, outputs, 2 if number > 1 and place == 0 else 1))
                width = outputs
            setattr(self, f"layer{{number}}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, classes)
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1), persistent=False)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.deviation)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def resnet56(shape, classes):
    net = Net(classes)
    loaded = load_file({str(WEIGHTS)!r})
    net.load_state_dict({{k.removeprefix("module."): v for k, v in loaded.items()}}, strict=False)
    return net
"""


@pytest.mark.slow
def test_it_keeps_what_it_knows_in_a_round_of_defaults(tmp_path):
    if not WEIGHTS.exists():
        pytest.skip("real data are not here: weights/ would lie in shared/data")
    (tmp_path / "net.py").write_text(NET)
    train, train_labels = _pictures("train", 200)
    test, test_labels = _pictures("test", 200)
    np.savez(
        tmp_path / "data.npz",
        x_train=train,
        y_train=train_labels,
        x_test=test,
        y_test=test_labels,
    )
    flags = Flags(
        common=Common(data=str(tmp_path / "data.npz"), devices=4, rounds=1, seed=1),
        proxy=ProxyData(proxy_share=0.3),
        large=f"{tmp_path / 'net.py'}:resnet56",
        mixtures=64,
    )
    run = simulate("koala", flags, tmp_path / "run")
    assert run.start["large_accuracy"] > 0.85
    assert run.rounds[0]["large_accuracy"] > run.start["large_accuracy"] - 0.01


def _pictures(part, count):
    sheet = np.asarray(Image.open(SHARED / "cifar10" / f"{part}_000.webp").convert("RGB"))
    rows, columns = sheet.shape[0] // 32, sheet.shape[1] // 32
    tiles = sheet.reshape(rows, 32, columns, 32, 3).transpose(0, 2, 1, 3, 4)
    labels = np.load(SHARED / "cifar10" / f"{part}_labels.npy")
    return tiles.reshape(-1, 32, 32, 3)[:count], labels[:count]
