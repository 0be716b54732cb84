"""What of a net trains: all of it, its head, its last layers, or low-rank adapters and the head.

What is frozen stays as it was: its weights, the statistics of its normalisations, and its dropout,
which is off.
"""

from collections.abc import Iterator

from torch import nn

from ..core.errors import ConfigError

ALL = "all"
HEAD = "head"
LORA = "lora:"
LAST = "last:"


def train_mode(module: nn.Module) -> nn.Module:
    """The net in training mode, save the parts of which no weight trains."""
    module.train()
    for part in _frozen(module):
        part.eval()
    return module


def learnt(module: nn.Module) -> tuple[str, ...]:
    """Names of the arrays that training changes: weights that train, and buffers of parts that
    do."""
    trained = {name for name, weight in module.named_parameters() if weight.requires_grad}
    weights = {name for name, _ in module.named_parameters()}
    still = {
        f"{path}.{name}" for path, part in _frozen_paths(module) for name, _ in part.named_buffers()
    }
    return tuple(
        name
        for name in module.state_dict()
        if name in trained or (name not in weights and name not in still)
    )


def _frozen(module: nn.Module) -> Iterator[nn.Module]:
    return (part for _, part in _frozen_paths(module))


def _frozen_paths(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The outermost parts that have weights of which none trains."""
    for name, part in module.named_children():
        inner = f"{path}.{name}".lstrip(".")
        weights = [weight.requires_grad for weight in part.parameters()]
        if weights and not any(weights):
            yield inner, part
        else:
            yield from _frozen_paths(part, inner)


def check(train: str) -> None:
    """Raises ConfigError for a choice that is none."""
    if train in (ALL, HEAD):
        return
    kind, _, number = train.partition(":")
    if f"{kind}:" not in (LORA, LAST) or not number.isdigit() or int(number) < 1:
        raise ConfigError(
            f"--train {train}: expected all, head, lora:R (adapters of rank R) or "
            "last:N (the last N layers)"
        )
