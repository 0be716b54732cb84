"""Language models by name: small LLaMAs to train from scratch, folders, hub names and llama2.c
files.

Whatever the name, what comes out is an ordinary decoder of `transformers` with two independent
tables, of which both have exactly as many rows as the tokenizer has ids. Models whose logits are
more than a product of the last hidden state with the output table are refused, because the loss and
the split rest on that.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
)

from ..core.errors import ConfigError
from . import folder, llama2c
from .place import Place, tensors
from .split import refusing, self_check

ZOO: Mapping[str, tuple[int, int]] = {
    "llama-tiny": (64, 2),
    "llama-small": (128, 4),
    "llama-medium": (256, 6),
}
"""Width and layers."""
EXPLICIT = re.compile(r"llama:(\d+)x(\d+)")
HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")
HEAD_WIDTH = 32

NEWER = int(transformers.__version__.split(".")[0]) >= 5
DTYPE = "dtype" if NEWER else "torch_dtype"
"""Always passed: without it version 4 loads as float32 and version 5 as stored."""
ORIGINAL = "original_max_position_embeddings"
ROPE = "rope_parameters" if NEWER else "rope_scaling"

HEADS = ("score.", "lm_head.")
ANGLES = "inv_freq"
"""Rotary angles, which old files have beside their weights."""

UNSCALED: Mapping[str, tuple[object, ...]] = {
    "final_logit_softcapping": (None, 0),
    "logit_scale": (None, 1),
    "logits_scaling": (None, 1),
    "lm_head_multiplier": (None, 1),
    "embedding_multiplier": (None, 1),
}
"""Settings that stand between the tables and the layers, and the values at which they do
nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel:
    """A language model that can be built any number of times."""

    name: str
    """The name that `load` takes."""
    vocabulary: int
    context: int
    """Tokens of the longest sequence."""
    classes: int | None = None
    """Classes of a classifier; None: the model predicts tokens."""
    dtype: torch.dtype = torch.float32
    place: Place = Place()
    """Where the module is put."""

    def build(self, seed: int) -> nn.Module:
        """The decoder in training mode, as of `load`; the same seed gives the same new weights."""
        module = load(
            self.name,
            vocabulary=self.vocabulary,
            context=self.context,
            seed=seed,
            dtype=self.dtype,
            classes=self.classes,
        )
        return self.place.put(module)


def load(
    name: str,
    *,
    vocabulary: int,
    context: int,
    seed: int,
    dtype: torch.dtype = torch.float32,
    classes: int | None = None,
) -> nn.Module:
    """The decoder of this name, in training mode, with untied tables of `vocabulary` rows.

    Args:
        name: `llama-tiny`, `llama-small`, `llama-medium`, `llama:WIDTHxLAYERS`, `llama-3.1-8b` and
            `llama-3.2-1b` (all with new weights); a llama2.c `.bin` file; a Hugging Face folder; or
            a hub name.
        vocabulary: ids of the tokenizer. Rows that a checkpoint has beyond them are padding, and
            are cut, so that they never get probability.
        context: tokens of the longest sequence.
        seed: of new weights; torch's own seed stays as it was.
        dtype: of the weights in memory, whatever the file has.
        classes: asks for a classifier with that many; its table is new unless the checkpoint has
            one.

    Raises:
        ConfigError: there is no such model, its weights are missing or another model's, or its
            family is unsupported.
    """
    with refusing(name):
        with _seeded(seed):
            model = _built(name, vocabulary, context, dtype, classes)
        _check_context(name, model.config, context)
        _untie(model)
        _cut_rows(model, name, vocabulary)
        self_check(model, context)
        trained: nn.Module = model.train()
    return trained


def config(name: str, *, vocabulary: int | None = None, context: int | None = None) -> Any:
    """The `transformers` configuration of a model, checked for support; weights are not looked
    at."""
    found = _config(name, vocabulary, context)
    with refusing(name):
        _check_family(name, found)
        if context is not None:
            _check_context(name, found, context)
    return found


def stored_config(model: LanguageModel) -> Any:
    """The `transformers` configuration of a built model as its weights lie on disk: two tables,
    with a row per id."""
    found = config(model.name, vocabulary=model.vocabulary, context=model.context)
    found.tie_word_embeddings = False
    found.vocab_size = model.vocabulary
    if model.classes is not None:
        found.num_labels = model.classes
    kinds: Any = (
        transformers.MODEL_FOR_CAUSAL_LM_MAPPING
        if model.classes is None
        else transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    )
    found.architectures = [kinds[type(found)].__name__]
    setattr(found, DTYPE, model.dtype)
    return found


def check_tokenizers(teacher: Mapping[str, int], student: Mapping[str, int]) -> None:
    """Refuses vocabularies (token to id, as of `get_vocab`) that give a token different ids.

    One may have tokens at its end that the other lacks. Anything else would train without an error
    and be wrong: the teacher would say which of *its* ids comes next.
    """
    moved = [token for token, at in student.items() if teacher.get(token, at) != at]
    lacking = sorted(set(student) ^ set(teacher), key=lambda token: _id_in(token, teacher, student))
    shared = min(len(teacher), len(student))
    strange = moved or [token for token in lacking if _id_in(token, teacher, student) < shared]
    if strange:
        token = strange[0]
        raise ConfigError(
            f"teacher and student have different tokenizers: {len(strange)} of {len(student)} "
            f"tokens differ, the first is {token!r} with id {teacher.get(token)} in the teacher "
            f"and {student.get(token)} in the student. Distillation of token probabilities needs "
            "one tokenizer: choose a student of the teacher's family"
        )


# --- where models come from -----------------------------------------------------------------------


def _built(
    name: str, vocabulary: int, context: int, dtype: torch.dtype, classes: int | None
) -> Any:
    if llama2c.is_file(name):
        return _from_llama2c(name, dtype, classes)
    found = config(name, vocabulary=vocabulary, context=context)
    if classes is not None:
        found.num_labels = classes
    kind: Any = AutoModelForCausalLM if classes is None else AutoModelForSequenceClassification
    if is_new(name):
        found.tie_word_embeddings = False
        return kind.from_config(found, **{DTYPE: dtype})
    return _pretrained(kind, name, found, dtype)


def _pretrained(kind: Any, name: str, found: Any, dtype: torch.dtype) -> Any:
    """Weights of a folder or of the hub, from safetensors files alone: others can run code when
    they are read."""
    settings = {DTYPE: dtype, "config": found, "use_safetensors": True, "trust_remote_code": False}
    try:
        with _without_bar():
            model, facts = kind.from_pretrained(name, output_loading_info=True, **settings)
    except OSError as error:
        raise ConfigError(
            f"{name}: no weights in safetensors files ({_line(error)}); put model.safetensors there"
        ) from error
    except (RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(
            f"{name}: the weights do not fit its config.json ({_line(error)})"
        ) from error
    _check_keys(name, facts, HEADS if kind is AutoModelForSequenceClassification else ("score.",))
    return model


def _check_keys(name: str, facts: Mapping[str, Any], heads: tuple[str, ...]) -> None:
    """Every weight has its place and every place its weight, save a new head and the one that it
    replaces."""
    missing = [key for key in facts["missing_keys"] if not key.startswith("score.")]
    unused = [
        key
        for key in facts["unexpected_keys"]
        if not key.startswith(heads) and not key.endswith(ANGLES)
    ]
    odd = [*missing, *facts["mismatched_keys"], *unused]
    if odd:
        raise ConfigError(
            f"{name}: the weights are of another model than config.json: {len(missing)} missing, "
            f"{len(facts['mismatched_keys'])} of another shape, {len(unused)} that it does not "
            f"use, such as {odd[0]}"
        )


def _from_llama2c(name: str, dtype: torch.dtype, classes: int | None) -> Any:
    if classes is not None:
        raise ConfigError(
            f"{name}: a llama2.c file predicts tokens and cannot be loaded as a classifier"
        )
    sizes, weights = llama2c.read(Path(name))
    kind: Any = AutoModelForCausalLM
    model = kind.from_config(llama2c.config(sizes), **{DTYPE: dtype})
    model.load_state_dict(tensors(weights))
    return model


def _config(name: str, vocabulary: int | None, context: int | None) -> Any:
    if is_new(name):
        return _new_config(name, vocabulary, context)
    if llama2c.is_file(name):
        return llama2c.config(llama2c.read(Path(name))[0])
    if Path(name).is_file() or not (Path(name).is_dir() or HUB.fullmatch(name)):
        raise ConfigError(
            f"unknown language model {name!r}: there is no such folder; known are "
            f"{', '.join([*ZOO, *PUBLISHED])}, llama:WIDTHxLAYERS, a folder with config.json, a "
            "hub name such as org/model, and a llama2.c .bin file"
        )
    try:
        folder.check(_folder(name))
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"unknown language model {name!r}: neither a folder with a readable config.json nor to "
            f"be had from the hub ({_line(error)}); known by name are "
            f"{', '.join([*ZOO, *PUBLISHED])} and llama:WIDTHxLAYERS"
        ) from error


def _folder(name: str) -> Path:
    """The folder of a model; for one on the hub all but the weights is fetched first."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns="*.json"))


def is_new(name: str) -> bool:
    """Whether its weights are new; a folder with a model in it has what it has, however it is
    called."""
    return not is_folder(name) and (name in ZOO or name in PUBLISHED or name.startswith("llama:"))


def is_published(name: str) -> bool:
    """Whether it is the size of a published model, which has its own vocabulary."""
    return is_new(name) and name in PUBLISHED


def is_folder(name: str) -> bool:
    """Whether a model lies there: a configuration or weights."""
    place = Path(name)
    return place.is_dir() and ((place / "config.json").exists() or any(place.glob("*.safetensors")))


def _new_config(name: str, vocabulary: int | None, context: int | None) -> Any:
    if name in PUBLISHED:
        return LlamaConfig(**PUBLISHED[name])
    width, layers = _new_size(name)
    if vocabulary is None or context is None:
        raise ConfigError(f"{name} has no vocabulary and context of its own: say which")
    heads = width // HEAD_WIDTH
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=-(-width * 8 // 3 // 8) * 8,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=False,
    )


def _new_size(name: str) -> tuple[int, int]:
    """Width and layers of a new model of this name."""
    explicit = EXPLICIT.fullmatch(name)
    width, layers = ZOO.get(name, (0, 0))
    if name not in ZOO and explicit:
        width = int(explicit[1])
        layers = int(explicit[2])
    if width < 1 or width % HEAD_WIDTH or layers < 1:
        raise ConfigError(
            f"{name}: write llama:WIDTHxLAYERS with a width that {HEAD_WIDTH} divides, as in "
            "llama:96x3"
        )
    return width, layers


# --- checks and repairs ---------------------------------------------------------------------------


def _check_family(name: str, found: Any) -> None:
    if found.is_encoder_decoder:
        raise ConfigError(
            f"{name} is not a decoder ({found.model_type} has an encoder): take one such as LLaMA "
            "or Qwen"
        )
    for setting, harmless in UNSCALED.items():
        if (value := getattr(found, setting, None)) not in harmless:
            raise ConfigError(
                f"{name}: {found.model_type} has {setting} = {value}, which changes embeddings or "
                "logits outside of tables and layers; supported are families without, such as "
                "LLaMA, Qwen, Mistral, Phi-3 and SmolLM3"
            )
    if type(found) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ConfigError(
            f"{name} is not a decoder: {found.model_type} cannot predict the next token"
        )


def _check_context(name: str, found: Any, context: int) -> None:
    most = getattr(found, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        raise ConfigError(
            f"{name} cannot be used: {found.model_type} says no longest sequence, "
            "max_position_embeddings"
        )
    if context > most:
        raise ConfigError(
            f"{name} takes {most} tokens at most, and sequences are {context}: shorten them"
        )
    for kind, bound in _angles_by_batch(found):
        if context > bound:
            raise ConfigError(
                f"{name} turns by {kind!r} angles, which beyond {bound} tokens depend on the "
                f"longest text of a batch, and sequences are {context}: a text would have another "
                f"result with others beside it; shorten them to {bound}"
            )


def _angles_by_batch(found: Any) -> Iterator[tuple[str, int]]:
    """Kinds of rotary angles that the longest text of a batch decides about, and the tokens up to
    which none does."""
    rope = getattr(found, "rope_parameters", None) or getattr(found, "rope_scaling", None) or {}
    for one in [part for part in rope.values() if isinstance(part, Mapping)] or [rope]:
        kind = str(one.get("rope_type", one.get("type")))
        if kind == "longrope" or "dynamic" in kind:
            named = (
                one.get(ORIGINAL),
                getattr(found, ORIGINAL, None),
                found.max_position_embeddings,
            )
            yield kind, next(bound for bound in named if bound)


def _untie(model: Any) -> None:
    """Gives input and output a table each, equal at first.

    A tied table would be trained in two places, on devices as rows and on the server as output, and
    would need their gradients summed at every step; two independent tables need nothing, at the
    price of memory.
    """
    table = model.get_input_embeddings()
    output = model.get_output_embeddings()
    model.config.tie_word_embeddings = False
    if output is not None and output.weight is table.weight:
        output.weight = nn.Parameter(table.weight.detach().clone())


def _cut_rows(model: Any, name: str, vocabulary: int) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if rows < vocabulary:
        raise ConfigError(
            f"{name} has embeddings for {rows} tokens and the tokenizer has {vocabulary}: they do "
            "not belong together"
        )
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        if table is not None and rows > vocabulary:
            table.weight = nn.Parameter(table.weight.detach()[:vocabulary].clone())
            setattr(
                table,
                "num_embeddings" if isinstance(table, nn.Embedding) else "out_features",
                vocabulary,
            )
    model.config.vocab_size = vocabulary


def _id_in(token: str, teacher: Mapping[str, int], student: Mapping[str, int]) -> int:
    return min(ids[token] for ids in (teacher, student) if token in ids)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


@contextmanager
def _without_bar() -> Iterator[None]:
    """`transformers` shows no bar while it reads weights."""
    logging: Any = transformers.utils.logging
    showed = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if showed:
            logging.enable_progress_bar()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


# --- published sizes ------------------------------------------------------------------------------


def _llama3(
    width: int, hidden: int, layers: int, *, factor: int, tied: bool, head_width: int
) -> dict[str, Any]:
    scaling = {
        "rope_type": "llama3",
        "factor": float(factor),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    rope = (
        {ROPE: {**scaling, "rope_theta": 500_000.0}}
        if NEWER
        else {ROPE: scaling, "rope_theta": 500_000.0}
    )
    return {
        "vocab_size": 128_256,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": head_width,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied,
        **rope,
    }


PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "llama-3.1-8b": _llama3(4096, 14_336, 32, factor=8, tied=False, head_width=128),
    "llama-3.2-1b": _llama3(2048, 8192, 16, factor=32, tied=True, head_width=64),
}
"""Sizes as published with the models, https://arxiv.org/abs/2407.21783 and their model cards;
weights are not here."""
