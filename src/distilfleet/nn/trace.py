"""What a decoder takes, traced from the model itself on torch's meta device: no weights, not even
of one of 8 billion.

FLOPs count two per multiply-accumulate of matrix products; norms, rotary angles and softmax are
left out, as in the published counts. Attention is causal, so of the square of scores only the half
on and below the diagonal is counted (a kernel that skips the other half does that; eager attention
does both), and with a sliding window only the band. So a LLaMA layer of p weights and width d takes
2 p + 2 S d FLOPs per token, forward, at S tokens of context.
"""

from typing import Any

import torch
from torch import Tensor, nn

# the name that torch's own documentation gives
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from ..core.types import LanguageProfile, LayerProfile
from .language import DTYPE, config
from .split import depth, refusing

SCORES = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
"""Products of two activations: queries with keys, and scores with values. Weights come as `mm` and
`addmm`."""
BYTES_PER_WEIGHT = 2


def trace(
    model: str | Any,
    steps: int = 512,
    *,
    vocabulary: int | None = None,
    bytes_per_weight: int = BYTES_PER_WEIGHT,
) -> LanguageProfile:
    """Facts of a decoder per token, in sequences of `steps` tokens.

    Args:
        model: a name as of `language.load`, or a configuration of `transformers`.
        steps: tokens of a sequence.
        vocabulary: for names of new models, which have none of their own; replaces a checkpoint's,
            whose rows beyond the tokenizer's are cut when it is loaded.
        bytes_per_weight: on the machine that runs it, of activations as well.

    Raises:
        ConfigError: there is no such model, or its family is unsupported.
    """
    settings = _settings(model, steps, vocabulary)
    with refusing(model if isinstance(model, str) else settings.model_type):
        return _traced(model, settings, steps, bytes_per_weight)


def _traced(model: str | Any, settings: Any, steps: int, bytes_per_weight: int) -> LanguageProfile:
    # the meta device, but it says that it is a processor: version 4 asks for autocast there
    with FakeTensorMode():
        net = _without_weights(settings)
        flops = _forward_flops(net, steps)
    return LanguageProfile(
        name=model if isinstance(model, str) else str(settings.model_type),
        width=settings.hidden_size,
        vocabulary=settings.vocab_size,
        layers=[_layer(net, at, flops, steps, bytes_per_weight) for at in range(depth(net))],
        steps=steps,
        head_flops=_linear(flops.get(_scope(net, "lm_head"), {})) / steps,
        embedding_parameters=_count(net.get_input_embeddings()),
        other_parameters=_others(net),
        bytes_per_weight=bytes_per_weight,
    )


def weighs(model: str, profile: LanguageProfile, vocabulary: int | None) -> bool:
    """Whether a profile has as many weights in the same places as the model of this name.

    Unlike `trace` it may be asked while another thread computes: FLOPs are counted by hooks on all
    modules there are.
    """
    with FakeTensorMode():
        net = _without_weights(_settings(model, profile.steps, vocabulary))
    layers = [_count(layer) for layer in net.base_model.layers]
    stated = [layer.weight_bytes // profile.bytes_per_weight for layer in profile.layers]
    sizes = _count(net.get_input_embeddings()), _others(net), layers, net.config.hidden_size
    return sizes == (profile.embedding_parameters, profile.other_parameters, stated, profile.width)


def _settings(model: str | Any, steps: int, vocabulary: int | None) -> Any:
    settings = (
        config(model, vocabulary=vocabulary, context=steps) if isinstance(model, str) else model
    )
    if vocabulary is not None:
        settings.vocab_size = vocabulary
    return settings


def _without_weights(settings: Any) -> Any:
    """Eager attention: the other kinds are one operation that says nothing of its products here."""
    make: Any = AutoModelForCausalLM
    return make.from_config(settings, attn_implementation="eager", **{DTYPE: torch.float32}).eval()


def _forward_flops(net: Any, steps: int) -> dict[str, Any]:
    """FLOPs of one sequence, by the name of the module and the operation."""
    ids_BT = torch.zeros(1, steps, dtype=torch.long)
    mask_B1TT = torch.zeros(1, 1, steps, steps)  # ready-made: a smaller one would be looked at
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(input_ids=ids_BT, attention_mask=_masks(net.config, mask_B1TT), use_cache=False)
    counts: dict[str, Any] = counter.get_flop_counts()
    return counts


def _masks(settings: Any, mask_B1TT: Tensor) -> Any:
    """One for all layers, or one by kind in families that ask for that."""
    kinds = set(getattr(settings, "layer_types", None) or ())
    return dict.fromkeys(kinds, mask_B1TT) if kinds else mask_B1TT


def _layer(
    net: Any, at: int, flops: dict[str, Any], steps: int, bytes_per_weight: int
) -> LayerProfile:
    layer = net.base_model.layers[at]
    counts = flops[_scope(net, f"{net.base_model_prefix}.layers.{at}")]
    scores = sum(counts.get(operation, 0) for operation in SCORES) * _attended_share(
        net.config, at, steps
    )
    return LayerProfile(
        name=f"layer {at}",
        forward_flops=(_linear(counts) + scores) / steps,
        weight_bytes=_count(layer) * bytes_per_weight,
        output_bytes=net.config.hidden_size * bytes_per_weight,
    )


def _attended_share(settings: Any, at: int, steps: int) -> float:
    """The part of the square of scores that counts: a half, or the band of a sliding window."""
    kinds = getattr(settings, "layer_types", None)
    window = (
        None
        if kinds and kinds[at] == "full_attention"
        else getattr(settings, "sliding_window", None)
    )
    reach = min(window or steps, steps)
    return (reach - reach * reach / (2 * steps)) / steps


def _linear(counts: Any) -> float:
    return float(sum(count for operation, count in counts.items() if operation not in SCORES))


def _others(net: Any) -> int:
    inside = _count(net.get_input_embeddings()) + sum(
        _count(layer) for layer in net.base_model.layers
    )
    return _count(net) - inside


def _scope(net: nn.Module, name: str) -> str:
    return f"{type(net).__name__}.{name}"


def _count(module: nn.Module) -> int:
    """A weight that is used twice counts once."""
    return sum(weight.numel() for weight in module.parameters())
