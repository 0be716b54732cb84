"""Pretrained and partly frozen nets as users return them, by name:
`tests/nn/own_pretrained.py:NAME`, for pictures of 8 by 8."""

import os

from torch import nn
from transformers import AutoModelForImageClassification, ViTConfig, ViTForImageClassification

FOLDER = "DISTILFLEET_TEST_PRETRAINED"


def of_transformers(shape, classes):
    """As it is: its output is no tensor, but has logits."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 4}
    pictures = {"image_size": shape[1], "num_channels": shape[0]}
    config = ViTConfig(**sizes, **pictures, intermediate_size=16, num_labels=classes)
    return ViTForImageClassification(config)


def read_from_a_folder(shape, classes):
    """With the weights of a folder."""
    return AutoModelForImageClassification.from_pretrained(os.environ[FOLDER], num_labels=classes)


class PartlyFrozen(nn.Module):
    """A frozen body with statistics and dropout, a layer that nothing uses, and a head."""

    def __init__(self, channels, classes):
        super().__init__()
        layers = (nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1))
        self.body = nn.Sequential(*layers).requires_grad_(False)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(144, classes)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


def partly_frozen(shape, classes):
    return PartlyFrozen(shape[0], classes)
