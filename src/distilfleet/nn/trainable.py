"""What of a net trains: all of it, its head, its last layers and the head, or low-rank adapters and
the head.

What is frozen stays as it was: its weights, the statistics of its normalisations, and its dropout,
which is off. A classifier of `transformers` says itself what its encoder is, and all else is its
head; of any other net the head is the last layer that has weights.
"""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from .forward import logits

ALL = "all"
HEAD = "head"
LORA = "lora"
LAST = "last"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
FORGETFUL = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
"""Layers of torch that read the weights of their parts without asking the parts."""


def check(train: str) -> None:
    """Raises ConfigError for a choice that is none."""
    kind, _, number = train.partition(":")
    if train in (ALL, HEAD) or (kind in (LORA, LAST) and number.isdecimal() and int(number) > 0):
        return
    raise ConfigError(
        f"--train {train}: expected all, head, lora:R (adapters of rank R, and the head) or last:N "
        "(the last N layers, and the head)"
    )


def choose(module: nn.Module, train: str) -> nn.Module:
    """The net with all else frozen, and with adapters, drawn from torch's generator, if asked.

    Raises:
        ConfigError: the net has no such layers.
    """
    kind, _, number = train.partition(":")
    if kind == ALL:
        return module
    chosen = set(_head_weights(module))
    if kind == LAST:
        chosen |= _last_weights(module, int(number))
    for name, weight in module.named_parameters():
        weight.requires_grad_(weight.requires_grad and name in chosen)
    if kind == LORA:
        _adapt(module, int(number))
    return module


def head_of(module: nn.Module) -> str:
    """The name of the layer that gives the logits."""
    weights = _head_weights(module)
    return weights[-1].rpartition(".")[0]


def adapted_in_vain(module: nn.Module, x_B: Tensor) -> bool:
    """Whether adapters, once they say something, say nothing to the output: the net goes past
    them."""
    other = copy.deepcopy(module).eval()
    with torch.no_grad():
        before = logits(other, x_B)
        for name, weight in other.named_parameters():
            if ".lora_B." in name:
                weight.fill_(1.0)
        return torch.equal(before, logits(other, x_B))


def merged(module: nn.Module) -> nn.Module:
    """A copy in float32, adapters added to what they adapt, under the names of the net without."""
    plain = copy.deepcopy(module).float()
    if not any(".lora_A." in name for name, _ in plain.named_parameters()):
        return plain
    from peft.tuners.tuners_utils import BaseTunerLayer

    paths = [path for path, part in plain.named_modules() if isinstance(part, BaseTunerLayer)]
    for path in paths:
        layer = plain.get_submodule(path)
        assert isinstance(layer, BaseTunerLayer)
        layer.merge()
        parent, _, name = path.rpartition(".")
        setattr(plain.get_submodule(parent), name, layer.get_base_layer())
    return plain


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


# --- where head, layers and what adapters are for lie ---------------------------------------------


def _encoder_path(module: nn.Module) -> str | None:
    """The name of the encoder inside a model of `transformers`; None of any other net."""
    for path, part in module.named_modules():
        prefix = getattr(part, "base_model_prefix", "")
        if prefix and isinstance(getattr(part, prefix, None), nn.Module):
            return f"{path}.{prefix}".lstrip(".")
    return None


def _head_weights(module: nn.Module) -> list[str]:
    """The names of the head's weights."""
    names = [name for name, _ in module.named_parameters()]
    encoder = _encoder_path(module)
    if encoder is not None:
        return [name for name in names if not name.startswith(f"{encoder}.")]
    layer = names[-1].rpartition(".")[0]
    head = [name for name in names if name.rpartition(".")[0] == layer]
    if len(head) == len(names):
        raise ConfigError("--train head: the net has one layer alone, which is its head: train all")
    return head


def _last_weights(module: nn.Module, count: int) -> set[str]:
    """The names of the weights from the first of the last layers on."""
    layers = _layers(module)
    if count > len(layers):
        raise ConfigError(f"--train last:{count}: the net has {len(layers)} layers: take fewer")
    names = [name for name, _ in module.named_parameters()]
    first = next(at for at, name in enumerate(names) if name.startswith(f"{layers[-count]}."))
    return set(names[first:])


def _layers(module: nn.Module) -> Sequence[str]:
    """Names of the layers of the encoder: the members of its largest list of parts."""
    encoder = _encoder_path(module) or ""
    head = set(_head_weights(module))
    largest: list[str] = []
    most = 0
    for path, part in module.get_submodule(encoder).named_modules(prefix=encoder):
        if not isinstance(part, nn.ModuleList | nn.Sequential):
            continue
        members = [f"{path}.{name}".lstrip(".") for name, _ in part.named_children()]
        own = [name for name in members if _is_frozen_part(module, name, head)]
        size = sum(weight.numel() for name in own for weight in _weights(module, name))
        if len(own) > 1 and size > most:
            largest, most = own, size
    if not largest:
        raise ConfigError("--train last:N: the net has no list of layers: take all or head")
    return largest


def _is_frozen_part(module: nn.Module, path: str, head: set[str]) -> bool:
    """Whether a part has weights that are not all the head's."""
    own = [f"{path}.{name}" for name, _ in module.get_submodule(path).named_parameters()]
    return any(name not in head for name in own)


def _weights(module: nn.Module, path: str) -> Iterator[nn.Parameter]:
    return module.get_submodule(path).parameters()


def _adapt(module: nn.Module, rank: int) -> None:
    """Adapters in all linear layers before the head; of a net without, in its convolutions.

    Source: Hu et al., LoRA, https://arxiv.org/abs/2106.09685.
    """
    from peft import LoraConfig, inject_adapter_in_model  # seconds, for those who want adapters

    head = {name.rpartition(".")[0] for name in _head_weights(module)}
    paths = _of_kind(module, nn.Linear, head) or _of_kind(module, CONVOLUTIONS, head)
    if not paths:
        raise ConfigError(
            "--train lora:R: the net has no linear layers or convolutions before its head that "
            "adapters are known for: take last:N or all"
        )
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=paths)
    trained = {name for name, weight in module.named_parameters() if weight.requires_grad}
    inject_adapter_in_model(settings, module)
    for name, weight in module.named_parameters():
        weight.requires_grad_(name in trained or ".lora_" in name)


def _of_kind(
    module: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...], head: set[str]
) -> list[str]:
    """Names of the layers of these kinds that adapters may stand in."""
    past = [path for path, part in module.named_modules() if isinstance(part, FORGETFUL)]
    return [
        path
        for path, part in module.named_modules()
        if isinstance(part, kind)
        and path not in head
        and getattr(part, "groups", 1) == 1
        and not any(path.startswith(f"{outer}.") for outer in past)
    ]
