"""A decoder of `transformers` cut in two at any layer, by public calls only: depth-sliced twins.

Each side is an ordinary base model of the family, made on the meta device from a copy of the
configuration with fewer layers, into which the real modules are put. So `transformers` itself makes
masks and rotary angles on both sides, and all that has to travel beside the smashed data are two
small tables of integers: padding mask and positions. Sides made from one model share its modules;
fronts and backs of several cuts therefore train the same weights.

Tables stay outside: a front takes embedding rows, a back gives the last hidden state, and whoever
computes the loss applies `output_table`.

Axes: B sequences, T tokens, H width, V vocabulary or classes.
"""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel

from ..core.errors import ConfigError, Error
from ..core.types import Arrays
from .place import to_array, to_tensor
from .resident import Resident, fill, lend

CHECKED_LAYERS = 4
"""Layers of a large model that the self-check runs."""
CHECKED_STEPS = 16
"""Tokens of the self-check's longest text, if no window is longer."""
MOST_STEPS = 1024
"""Tokens of a text that is still cheap enough."""
PAST = 4
"""Tokens that a text of the self-check goes beyond a window."""
BOUND = re.compile("window|chunk|original_max|attention_size|block_size|floor_scale")
"""What names of settings have in them that count tokens."""
LARGE = 50_000_000
"""Parameters above which the self-check runs the first layers alone."""
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-2}
PROJECTIONS = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "qkv_proj",
    "gate_up_proj",
)
"""Layers that get adapters, in the families that are supported."""


class Front(nn.Module):
    """The device's side: embedding rows through layers [0, cut). At cut 0 the rows themselves are
    the smashed data."""

    def __init__(self, full: nn.Module, cut: int) -> None:
        super().__init__()
        _check_cut(full, cut)
        self.cut = cut
        self.net: Any = _twin(full, 0, cut, nn.Identity()) if cut else None
        self.train(full.training)

    def forward(self, embeddings_BTH: Tensor, mask_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Smashed data, [B, T, H]."""
        if self.net is None:
            return embeddings_BTH
        return _run(self.net, embeddings_BTH, mask_BT, positions_BT)


class Back(nn.Module):
    """The server's side: smashed data through layers [cut, N) and the last norm, to the last hidden
    state."""

    def __init__(self, full: nn.Module, cut: int) -> None:
        super().__init__()
        _check_cut(full, cut)
        self.cut = cut
        self.net: Any = _twin(full, cut, depth(full), _base(full).norm)
        self.train(full.training)

    def forward(self, smashed_BTH: Tensor, mask_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Last hidden state, [B, T, H], after the norm."""
        return _run(self.net, smashed_BTH, mask_BT, positions_BT)


def depth(full: nn.Module) -> int:
    """Layers of the model; also its highest cut."""
    return len(_base(full).layers)


def token_table(full: nn.Module) -> Tensor:
    """The rows that enter the first layer, [V, H]; the weights themselves unless the family scales
    them."""
    table: Any = _base(full).get_input_embeddings()
    weight: Tensor = table.weight
    scaled = type(table) is not nn.Embedding
    return table(torch.arange(len(weight), device=weight.device)) if scaled else weight


def output_table(full: nn.Module) -> nn.Parameter:
    """What turns last hidden states into logits, [V, H]: the output table, or a classifier's
    scores."""
    model: Any = full
    layer = model.score if hasattr(model, "score") else model.get_output_embeddings()
    if not isinstance(layer, nn.Linear) or layer.bias is not None:
        _unsupported(full, "its logits are more than a product with the output table")
    return layer.weight


def positions(mask_BT: Tensor) -> Tensor:
    """Counted from the first token that is no padding, on whichever side padding is."""
    return (mask_BT.cumsum(-1) - 1).clamp(min=0)


def last_token(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """The hidden state of the last token of each sequence that is no padding, [B, H]: what a
    classifier reads."""
    steps_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    last_B = (steps_T * (mask_BT > 0)).argmax(-1)
    return hidden_BTH[torch.arange(len(last_B), device=last_B.device), last_B]


def checkpoint(side: nn.Module) -> None:
    """Recomputes activations of this side (front, back or whole model) in the backward pass, to
    save memory."""
    net: Any = side.net if isinstance(side, Front | Back) else side
    if net is not None:
        # its name from some version 5 on
        newer = getattr(net, "activation_checkpointing_enable", None)
        (newer or net.gradient_checkpointing_enable)({"use_reentrant": False})


def slice_config(config: Any, low: int, high: int) -> Any:
    """A copy of the configuration for layers [low, high), every per-layer list cut with them."""
    sliced = copy.deepcopy(config)
    count = config.num_hidden_layers
    for key, value in vars(config).items():
        if isinstance(value, list | tuple) and len(value) == count:
            setattr(sliced, key, list(value)[low:high])
    sliced.num_hidden_layers = high - low
    return sliced


# --- adapters -------------------------------------------------------------------------------------


def add_lora(full: nn.Module, *, rank: int, seed: int) -> nn.Module:
    """The model with low-rank adapters in every projection and all else frozen; call it before
    splitting.

    Source: Hu et al., LoRA, https://arxiv.org/abs/2106.09685.
    """
    from peft import LoraConfig, inject_adapter_in_model  # seconds, for those who want adapters

    names = sorted(
        {name.rpartition(".")[2] for name, _ in _base(full).layers.named_modules()}
        & set(PROJECTIONS)
    )
    if not names:
        _unsupported(full, "none of its layers has a projection that adapters are known for")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names), full)
    return full


def merged_weights(full: nn.Module) -> Arrays:
    """All weights, adapters added to what they adapt, under the names of the model without them:
    copies where there are adapters, else the model's own.

    The sum is made in float32 whatever the model computes in: in bfloat16 it would move about one
    token in fifty."""
    names = [name for name, _ in full.named_parameters()]
    own_names = [name for name in names if ".lora_" not in name]
    if own_names == names:
        return Resident.over(dict(full.named_parameters()))
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = copy.deepcopy(full).float()
    for layer in [module for module in plain.modules() if isinstance(module, BaseTunerLayer)]:
        layer.merge()
    return {
        name.replace(".base_layer", ""): array
        for name, array in get_weights(plain, own_names).items()
    }


# --- which weights belong where -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterNames:
    """Names of the model's parameters, by where they belong; the same on every side."""

    embedding: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    norm: tuple[str, ...]
    head: tuple[str, ...]

    def front(self, cut: int) -> tuple[str, ...]:
        """Names of the parameters of layers [0, cut), without the embedding."""
        return tuple(name for layer in self.layers[:cut] for name in layer)

    def back(self, cut: int) -> tuple[str, ...]:
        """Names of the parameters of layers [cut, N), norm and head."""
        return (*(name for layer in self.layers[cut:] for name in layer), *self.norm, *self.head)


def parts(full: nn.Module, *, trainable: bool = True) -> ParameterNames:
    """Where each parameter belongs, by its name in the whole model; a tied table belongs to the
    embedding."""
    base = _base(full)
    names = {
        id(one): name for name, one in full.named_parameters() if one.requires_grad or not trainable
    }

    def taken(weights: Iterable[nn.Parameter]) -> tuple[str, ...]:
        """Their names; none is given out twice."""
        own = [names.pop(id(one), None) for one in weights]
        return tuple(name for name in own if name is not None)

    return ParameterNames(
        embedding=taken(base.get_input_embeddings().parameters()),
        layers=tuple(taken(layer.parameters()) for layer in base.layers),
        norm=taken(base.norm.parameters()),
        head=taken(full.parameters()),
    )


def get_weights(full: nn.Module, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Copies of these parameters; bfloat16, which numpy lacks, as float32."""
    weights = dict(full.named_parameters())
    return {name: to_array(weights[name]) for name in names}


def put_weights(full: nn.Module, arrays: Arrays) -> None:
    """Puts arrays into the parameters of these names: lends those that are resident, copies others.

    Raises KeyError or RuntimeError if they are another model's.
    """
    weights = dict(full.named_parameters())
    with torch.no_grad():
        for name in arrays:
            if isinstance(arrays, Resident):
                lend(weights[name], arrays.tensors[name])
            else:
                fill(weights[name], to_tensor(arrays[name], weights[name].device))


# --- self-check -----------------------------------------------------------------------------------


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Whatever a family's own code raises becomes the reason why its model is refused."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        kind = type(error).__name__
        first_line = str(error).strip().partition("\n")[0][:200]
        reason = f"{kind}: {first_line}" if first_line else kind
        raise ConfigError(_refusal(name, reason)) from error


def self_check(full: nn.Module, context: int | None = None) -> float:
    """Largest difference of split and unsplit model on a few random tokens, relative to the largest
    value.

    The texts of the batch are of unlike length, and longer than every window of the configuration
    that `context` tokens can pass, as far as that is cheap. A large model is checked by its first
    layers. Raises ConfigError above 1e-4 (float32) or 2e-2 (16 bits), between split and whole and
    between a text alone and in the batch: some families change hidden states where no split can see
    it, and some treat a text by what stands beside it; both would be wrong without an exception.
    """
    mode = full.training
    full.eval()
    with refusing(_name(full)), torch.no_grad():
        worst = _checked(full, _steps(full, context))
    full.train(mode)
    return worst


def _checked(full: nn.Module, steps: int) -> float:
    dtype = output_table(full).dtype
    most = TOLERANCES.get(dtype, 0.0)
    layers = depth(full) if _size(full) <= LARGE else min(depth(full), CHECKED_LAYERS)
    base = _first(full, layers)
    given = _texts(full, steps)
    whole_BTH = _whole(base, given)
    worst = _largest(_cut_gap(full, layers, cut, given, whole_BTH) for cut in {0, layers // 2})
    if not worst <= most:
        _unsupported(full, f"cut in two it differs by {worst:.2g}, and at most {most} is allowed")
    worst_in_batch = _largest(
        _batch_gap(base, given, row, whole_BTH) for row in range(len(given.ids_BT))
    )
    if not worst_in_batch <= most:
        _unsupported(
            full, f"a text in a batch differs by {worst_in_batch:.2g} from the same text alone"
        )
    return worst


def _largest(gaps: Iterable[float]) -> float:
    """The largest, or NaN if there is one among them."""
    return float(np.max(list(gaps)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """A batch of unlike lengths: padded in front, not at all, and at the end."""

    ids_BT: Tensor
    mask_BT: Tensor


def _texts(full: nn.Module, steps: int) -> _Texts:
    device = output_table(full).device
    generator = torch.Generator().manual_seed(0)
    vocabulary = len(token_table(full))
    ids_BT = torch.randint(0, vocabulary, (3, steps), generator=generator, device="cpu").to(device)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, : min(5, steps - 1)] = 0
    mask_BT[2, max(1, steps // 3) :] = 0
    return _Texts(ids_BT=ids_BT, mask_BT=mask_BT)


def _steps(full: nn.Module, context: int | None) -> int:
    """Tokens that pass the largest window which the context passes and that is affordable."""
    model: Any = full
    longest = context or getattr(model.config, "max_position_embeddings", None) or CHECKED_STEPS
    affordable = min(longest, MOST_STEPS - PAST)
    passed = [bound + PAST for bound in _bounds(vars(model.config)) if bound < affordable]
    wanted = max([CHECKED_STEPS, *passed])
    return max(2, min(longest, wanted))


def _bounds(settings: Mapping[Any, Any]) -> Iterator[int]:
    """Numbers of tokens at which a family may change what it does."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _bounds(value)
        elif BOUND.search(str(name)) and isinstance(value, int) and value > 0:
            yield value


def _first(full: nn.Module, layers: int) -> Any:
    """The base model, or one of its first layers."""
    if layers == depth(full):
        return _base(full)
    base = _twin(full, 0, layers, _base(full).norm)
    base.set_input_embeddings(_base(full).get_input_embeddings())
    return base


def _whole(base: Any, given: _Texts) -> Tensor:
    output: Tensor = base(
        input_ids=given.ids_BT,
        attention_mask=given.mask_BT,
        position_ids=positions(given.mask_BT),
        use_cache=False,
    ).last_hidden_state
    return output


def _cut_gap(full: nn.Module, layers: int, cut: int, given: _Texts, whole_BTH: Tensor) -> float:
    """How far the first layers, run as front and back from rows, are from the same run whole from
    ids."""
    mask_BT = given.mask_BT
    positions_BT = positions(mask_BT)
    front_BTH = token_table(full)[given.ids_BT]
    if cut:
        front_BTH = _run(_twin(full, 0, cut, nn.Identity()), front_BTH, mask_BT, positions_BT)
    back = _twin(full, cut, layers, _base(full).norm)
    split_BTH = _run(back, front_BTH, mask_BT, positions_BT)
    gaps = [_relative(whole_BTH[mask_BT > 0], split_BTH[mask_BT > 0])]
    if layers == depth(full) and not hasattr(full, "score"):
        gaps.append(_logits_gap(full, given, split_BTH))
    return _largest(gaps)


def _logits_gap(full: nn.Module, given: _Texts, split_BTH: Tensor) -> float:
    model: Any = full
    output = model(
        input_ids=given.ids_BT,
        attention_mask=given.mask_BT,
        position_ids=positions(given.mask_BT),
        use_cache=False,
    )
    split_BTV = split_BTH @ output_table(full).T
    real_BT = given.mask_BT > 0
    return _relative(output.logits[real_BT], split_BTV[real_BT])


def _batch_gap(base: Any, given: _Texts, row: int, whole_BTH: Tensor) -> float:
    """How far one text, run alone without padding, is from itself among the others."""
    kept = given.mask_BT[row] > 0
    ids_BT = given.ids_BT[row : row + 1, kept]
    alone_BTH = _whole(base, _Texts(ids_BT=ids_BT, mask_BT=torch.ones_like(ids_BT)))
    return _relative(alone_BTH[0], whole_BTH[row, kept])


def _relative(one: Tensor, other: Tensor) -> float:
    scale = max(1.0, float(one.abs().max()))
    gap = (one.float() - other.float()).abs().max()
    return float(gap) / scale


# --- twins ----------------------------------------------------------------------------------------


def _twin(full: nn.Module, low: int, high: int, norm: nn.Module) -> Any:
    """A base model of layers [low, high) made of the full model's own modules, without a token
    table."""
    model: Any = full
    base = _base(full)
    make = cast(Any, AutoModel).from_config
    config = slice_config(model.config, low, high)
    with torch.device("meta"):  # no memory for what is replaced at once
        twin: Any = make(config, attn_implementation=model.config._attn_implementation)
    for name, _ in list(twin.named_children()):
        # rotary angles, of one kind or of several
        if name not in ("embed_tokens", "layers", "norm"):
            setattr(twin, name, copy.deepcopy(getattr(base, name)))
    twin.embed_tokens = nn.Identity()
    twin.layers = nn.ModuleList(base.layers[low:high])
    twin.norm = norm
    twin.gradient_checkpointing = getattr(base, "gradient_checkpointing", False)
    return twin.train(full.training)


def _run(net: Any, inputs_BTH: Tensor, mask_BT: Tensor, positions_BT: Tensor) -> Tensor:
    output: Tensor = net(
        inputs_embeds=inputs_BTH, attention_mask=mask_BT, position_ids=positions_BT, use_cache=False
    ).last_hidden_state
    return output


def _base(full: nn.Module) -> Any:
    model: Any = full
    base = getattr(model, "base_model", None)
    if not all(hasattr(base, name) for name in ("embed_tokens", "layers", "norm")):
        _unsupported(full, "it is not built of embed_tokens, layers and norm")
    return base


def _check_cut(full: nn.Module, cut: int) -> None:
    if not 0 <= cut <= depth(full):
        raise ConfigError(
            f"cut {cut} is beyond the model: {_name(full)} has {depth(full)} layers, so 0 to "
            f"{depth(full)}"
        )


def _size(full: nn.Module) -> int:
    return sum(weight.numel() for weight in full.parameters())


def _name(full: nn.Module) -> str:
    config: Any = getattr(full, "config", None)
    return str(getattr(config, "model_type", type(full).__name__))


def _unsupported(full: nn.Module, reason: str) -> NoReturn:
    raise ConfigError(_refusal(_name(full), reason))


def _refusal(name: str, reason: str) -> str:
    return (
        f"{name} cannot be split: {reason}. docs/families.md lists the families that can, such as "
        "LLaMA and Qwen3"
    )
