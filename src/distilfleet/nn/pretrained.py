"""Classifiers of `transformers` that come trained: `hf:` and a folder, or the name of a model that
was fetched before.

Pictures, texts, sounds and series, by the shape of a sample. The model's own processor or tokenizer
says what it does to its inputs. Its head is kept where it is for the data's classes, by name, its
rows in the order of the data's; otherwise it gets a new one. A text encoder without a head for
classes is read by the mean of its tokens, or by its first if its folder says so. Weights are read
from safetensors files alone.

Axes: B batch, N samples, L tokens, H width.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.types import PADDING
from .classifier_folder import (
    TEXTS,
    Classification,
    Head,
    classification,
    folder_of,
    head_for,
    is_pooled_by_first,
    most_tokens,
    reader,
    reading,
    settings_of,
    tokenizer_of,
)
from .language import DTYPE

HEAD_DEVIATION = 0.02
"""Standard deviation of the weights of a new head, where the model does not say."""
LOGITS = ("logits", "prediction_logits", "prediction_outputs")
"""What families call them."""
UNUSED = (".masked_spec_embed", "_mask_token", ".mask_token")
"""Weights that pretraining alone needs, which not every folder has."""


class Pretrained(nn.Module):
    """A model of `transformers` behind what it does to its inputs; gives logits."""

    def __init__(self, net: nn.Module, reads: nn.Module, *, has_new_head: bool) -> None:
        super().__init__()
        self.net = net
        self.reads = reads
        self.has_new_head = has_new_head

    def forward(self, x_N: Tensor) -> Tensor:
        output = self.net(**self.reads(x_N))
        found = [
            getattr(output, name) for name in LOGITS if getattr(output, name, None) is not None
        ]
        if not found:
            raise ConfigError(f"the model gives {type(output).__name__}, which has no logits")
        logits: Tensor = found[0]
        return logits


WEIGHTS = "model.safetensors"


class PooledTexts(nn.Module):
    """A text encoder, and a new head on the mean of its tokens, or on the first."""

    base_model_prefix = "encoder"

    def __init__(self, encoder: Any, classes: int, *, by_first: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.by_first = by_first
        self.classifier = nn.Linear(encoder.config.hidden_size, classes)

    @property
    def config(self) -> Any:
        """The encoder's, and how it is pooled."""
        config = copy.deepcopy(self.encoder.config)
        config.pooled_by_first = self.by_first
        return config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        hidden_BLH = output.last_hidden_state
        if self.by_first:
            pooled_BH = hidden_BLH[:, 0]
        else:
            mask_BL1 = attention_mask.unsqueeze(-1).to(hidden_BLH.dtype)
            pooled_BH = (hidden_BLH * mask_BL1).sum(1) / mask_BL1.sum(1).clamp(min=1)
        logits_BC = self.classifier(pooled_BH)
        return transformers.modeling_outputs.SequenceClassifierOutput(logits=logits_BC)


def build(
    name: str, shape: tuple[int, ...], classes: int, class_names: tuple[str, ...] = ()
) -> Pretrained:
    """The classifier in evaluation mode; a new head draws from torch's generator.

    Raises:
        ConfigError: there is no such model here, it is for another task, or its files are not what
            they should be.
    """
    place = folder_of(name)
    with reading(name):
        settings = settings_of(place)
        task = classification(name, settings, shape)
        head = head_for(name, settings, task, classes, class_names)
        reads = reader(place, settings, task)
        if task is TEXTS and _is_stored(settings, classes, class_names):
            return Pretrained(_stored(place, classes).eval(), reads, has_new_head=False)
        if task is TEXTS and not head.has_own:
            net = _pooled(place, classes)
        else:
            net = _classifier(place, settings, task, classes, head)
    return Pretrained(net.eval(), reads, has_new_head=head.is_new)


def decision(
    name: str, shape: tuple[int, ...], classes: int, class_names: tuple[str, ...] = ()
) -> str:
    """What becomes of the model's head, for the record; weights are not looked at."""
    place = folder_of(name)
    with reading(name):
        settings = settings_of(place)
        task = classification(name, settings, shape)
        if task is TEXTS and _is_stored(settings, classes, class_names):
            return f"The head of {name} is kept: it knows the data's classes by name."
        return head_for(name, settings, task, classes, class_names).note


def tokenised(name: str, texts: Sequence[str]) -> np.ndarray:
    """Ids of each text's tokens, cut at the model's longest, int32 [N, L], with -1 behind the
    shorter ones.

    Raises:
        ConfigError: there is no such model here, or its tokenizer is missing or another model's.
    """
    place = folder_of(name)
    with reading(name):
        tokenizer = tokenizer_of(place)
        rows = tokenizer(list(texts), truncation=True, max_length=most_tokens(place))["input_ids"]
    longest = max(map(len, rows), default=1)
    largest = max((max(ids, default=0) for ids in rows), default=0)
    if largest >= settings_of(place).vocab_size:
        raise ConfigError(
            f"{place}: the tokenizer gives token {largest}, and the model knows "
            f"{settings_of(place).vocab_size}: they do not belong together, fetch both again"
        )
    ids_NL = np.full((len(rows), longest), PADDING, np.int32)
    for row, ids in enumerate(rows):
        ids_NL[row, : len(ids)] = ids
    return ids_NL


# --- weights --------------------------------------------------------------------------------------


def _is_stored(settings: Any, classes: int, class_names: tuple[str, ...]) -> bool:
    """Whether the folder holds an encoder with a head of ours for these classes."""
    if PooledTexts.__name__ not in (settings.architectures or ()):
        return False
    own = tuple(str(name) for _, name in sorted(settings.id2label.items()))
    return len(own) == classes and (not class_names or own == class_names)


def _stored(place: Path, classes: int) -> nn.Module:
    """A text encoder with a head of ours, as a finished run left them."""
    settings = settings_of(place)
    make: Any = transformers.AutoModel.from_config
    encoder = make(settings)
    if hasattr(encoder, "pooler"):
        encoder.pooler = None
    net = PooledTexts(encoder, classes, by_first=settings.pooled_by_first)
    net.load_state_dict(load_file(place / WEIGHTS))
    return net


def _pooled(place: Path, classes: int) -> nn.Module:
    """A text encoder with a new head of ours."""
    encoder: Any = _read(transformers.AutoModel, place, settings_of(place), new_head=classes)
    if hasattr(encoder, "pooler"):
        encoder.pooler = None  # it reads the first token as another task asked for
    net = PooledTexts(encoder, classes, by_first=is_pooled_by_first(place))
    _renew(net.classifier, encoder.config)
    return net


def _classifier(
    place: Path, settings: Any, task: Classification, classes: int, head: Head
) -> nn.Module:
    """The class of `transformers`, with a head for the data's classes."""
    kind = task.mapping[type(settings)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    wanted = type(settings)(**settings.to_dict())
    wanted.num_labels = classes
    for name, value in (("num_targets", classes), ("apply_spec_augment", False)):
        if hasattr(wanted, name):
            setattr(wanted, name, value)
    net = _read(kind, place, wanted, new_head=classes if head.is_new else 0)
    for path in _heads(net, classes):
        if head.order is None:
            _renew(net.get_submodule(path), settings)
        else:
            _reorder(net.get_submodule(path), head.order)
    return net


def _read(kind: Any, place: Path, settings: Any, *, new_head: int) -> nn.Module:
    """The model with its weights. Raises ConfigError for those of another.

    Args:
        new_head: classes of a head that is replaced; 0 where all weights are to be there.
    """
    net, facts = kind.from_pretrained(
        place,
        config=settings,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        **{DTYPE: torch.float32},
    )
    lacking = _lacking(net, facts, new_head)
    if lacking:
        raise ConfigError(
            f"{place}: the weights are of another model than {type(net).__name__} of its "
            f"config.json: {len(lacking)} are missing or of another shape, such as {lacking[0]}"
        )
    whole: nn.Module = net
    return whole


def _lacking(net: nn.Module, facts: Mapping[str, Any], new_head: int) -> list[str]:
    """Weights that the files should have and do not: all, or, where the head is new, those of the
    encoder."""
    missing = [*facts["missing_keys"], *(key[0] for key in facts["mismatched_keys"])]
    wanted = [key for key in missing if not key.endswith(UNUSED)]
    if not new_head:
        return wanted
    prefix = getattr(net, "base_model_prefix", "")
    names = [name for name, _ in net.named_parameters()]
    if hasattr(net, prefix):
        replaced = [name for name in names if not name.startswith(f"{prefix}.")]
    else:
        heads = _heads(net, new_head)
        replaced = [name for name in names if name.rpartition(".")[0] in heads]
    return [key for key in wanted if key not in replaced and "pooler." not in key]


def _heads(net: nn.Module, classes: int) -> list[str]:
    """The linear layers outside of the encoder that give the logits; some families have two."""
    prefix = getattr(net, "base_model_prefix", "")
    return [
        path
        for path, part in net.named_modules()
        if isinstance(part, nn.Linear)
        and part.out_features == classes
        and not path.startswith(f"{prefix}.")
    ]


def _renew(head: Any, settings: Any) -> None:
    """A linear layer as it is before any training; `transformers` itself would leave alone what it
    has read."""
    nn.init.normal_(head.weight, std=getattr(settings, "initializer_range", HEAD_DEVIATION))
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def _reorder(head: nn.Module, order: Sequence[int]) -> None:
    rows = torch.tensor(order)
    with torch.no_grad():
        for weight in head.parameters():
            weight.copy_(weight[rows].clone())
