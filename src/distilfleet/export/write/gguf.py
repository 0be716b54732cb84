"""GGUF, for llama.cpp and what is built on it: decoders of the LLaMA, Mistral and Qwen families.

llama.cpp has the architectures built in, so a file holds names, numbers and a vocabulary: what the
`gguf` library calls each tensor of `transformers`, and rows of the query and key projections of
LLaMA in the order in which llama.cpp turns pairs of them (neighbours, where `transformers` turns
halves).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np

from ...core.errors import ConfigError
from ...nn.place import to_array
from ..exportable import Decoder, Exportable
from ..runtimes import Precision

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
"""What llama.cpp calls families of `transformers`."""
STORED = {
    "float32": gguf.GGMLQuantizationType.F32,
    "float16": gguf.GGMLQuantizationType.F16,
    "int8": gguf.GGMLQuantizationType.Q8_0,
}
FILE_TYPES = {
    "float32": gguf.LlamaFileType.ALL_F32,
    "float16": gguf.LlamaFileType.MOSTLY_F16,
    "int8": gguf.LlamaFileType.MOSTLY_Q8_0,
}
BLOCK = 32
"""Numbers of a row that share a scale in eight bits."""


class _Token(msgspec.Struct):
    id: int
    content: str


class _Bpe(msgspec.Struct):
    type: str = ""
    vocab: dict[str, int] = {}
    merges: list[tuple[str, str] | str] = []
    byte_fallback: bool = False


class _PreTokenizer(msgspec.Struct):
    type: str = ""


class _Vocabulary(msgspec.Struct):
    """What a `tokenizer.json` says that GGUF holds too."""

    model: _Bpe
    added_tokens: list[_Token] = []
    pre_tokenizer: _PreTokenizer | None = None


def write(model: Exportable, file: Path, precision: Precision) -> None:
    """One file with weights, settings and vocabulary."""
    decoder = model.decoder
    if decoder is None:
        raise ConfigError(
            "gguf is for language models with their tokenizer; export to onnx instead"
        )
    settings = decoder.model.config
    architecture = _architecture(settings)
    vocabulary = _vocabulary(decoder)
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[architecture])
    _put_settings(writer, settings, precision)
    _put_vocabulary(writer, vocabulary, decoder)
    for name, array in _tensors(decoder, architecture):
        _put(writer, name, array, precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- settings -----------------------------------------------------------------------------------


def _architecture(settings: Any) -> gguf.MODEL_ARCH:
    """Raises ConfigError for a family or a setting that a file would get wrong."""
    family = settings.model_type
    if family not in ARCHITECTURES:
        raise ConfigError(
            f"gguf files are written for {', '.join(ARCHITECTURES)}, not for {family}; "
            f"llama.cpp's own converter knows more families"
        )
    rope = getattr(settings, "rope_parameters", None) or {}
    odd = {
        "rope_type": rope.get("rope_type", "default") != "default",
        "sliding_window": bool(getattr(settings, "sliding_window", None))
        and getattr(settings, "use_sliding_window", True),
        "hidden_act": settings.hidden_act != "silu",
        "attention_bias": family == "llama" and getattr(settings, "attention_bias", False),
    }
    strange = [name for name, is_odd in odd.items() if is_odd]
    if strange:
        raise ConfigError(
            f"the model sets {strange[0]} to other than its family's usual value, which gguf files "
            f"are not written for here: use llama.cpp's own converter"
        )
    return ARCHITECTURES[family]


def _put_settings(writer: gguf.GGUFWriter, settings: Any, precision: Precision) -> None:
    heads = settings.num_attention_heads
    head_width = getattr(settings, "head_dim", None) or settings.hidden_size // heads
    rope = getattr(settings, "rope_parameters", None) or {}
    writer.add_file_type(FILE_TYPES[precision])
    writer.add_context_length(settings.max_position_embeddings)
    writer.add_embedding_length(settings.hidden_size)
    writer.add_block_count(settings.num_hidden_layers)
    writer.add_feed_forward_length(settings.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(settings.num_key_value_heads)
    writer.add_key_length(head_width)
    writer.add_value_length(head_width)
    writer.add_layer_norm_rms_eps(settings.rms_norm_eps)
    writer.add_rope_dimension_count(head_width)
    writer.add_rope_freq_base(rope.get("rope_theta") or getattr(settings, "rope_theta", 10000.0))
    writer.add_vocab_size(settings.vocab_size)


# --- vocabulary ---------------------------------------------------------------------------------


def _vocabulary(decoder: Decoder) -> _Vocabulary:
    """Raises ConfigError for a tokenizer that llama.cpp would cut text otherwise with."""
    try:
        found = msgspec.json.decode(decoder.tokenizer, type=_Vocabulary)
    except msgspec.MsgspecError as fault:
        raise ConfigError(f"the model's tokenizer.json cannot be read: {fault}") from None
    cut_by = "" if found.pre_tokenizer is None else found.pre_tokenizer.type
    if found.model.type != "BPE" or found.model.byte_fallback or cut_by != "ByteLevel":
        raise ConfigError(
            f"gguf files are written for tokenizers of bytes and pairs as GPT-2's; this one is "
            f"{found.model.type or 'unnamed'} behind {cut_by or 'nothing'}: "
            f"use llama.cpp's own converter"
        )
    return found


def _put_vocabulary(writer: gguf.GGUFWriter, found: _Vocabulary, decoder: Decoder) -> None:
    special = {token.id for token in found.added_tokens}
    names = {at: token for token, at in found.model.vocab.items()}
    names |= {token.id: token.content for token in found.added_tokens}
    rows = range(decoder.model.config.vocab_size)
    kinds = [gguf.TokenType.CONTROL if row in special else gguf.TokenType.NORMAL for row in rows]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([names.get(row, f"<unused{row}>") for row in rows])
    writer.add_token_types(kinds)
    pairs = found.model.merges
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in pairs])
    writer.add_add_bos_token(decoder.separator is not None)
    if decoder.separator is not None:
        writer.add_bos_token_id(decoder.separator)
        writer.add_eos_token_id(decoder.separator)


# --- tensors ------------------------------------------------------------------------------------


def _tensors(decoder: Decoder, architecture: gguf.MODEL_ARCH) -> Iterator[tuple[str, np.ndarray]]:
    settings = decoder.model.config
    names = gguf.get_tensor_name_map(architecture, settings.num_hidden_layers)
    heads = {"q_proj": settings.num_attention_heads, "k_proj": settings.num_key_value_heads}
    weights: Mapping[str, Any] = decoder.model.state_dict()
    for key, tensor in weights.items():
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ConfigError(
                f"llama.cpp has no place for the weight {key}: export to onnx instead"
            )
        array = to_array(tensor.float())
        projection = key.split(".")[-2]
        if architecture == gguf.MODEL_ARCH.LLAMA and projection in heads:
            array = _neighbours(array, heads[projection])
        yield name, array


def _neighbours(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head with the two halves interleaved."""
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def _put(writer: gguf.GGUFWriter, name: str, array: np.ndarray, precision: Precision) -> None:
    """Matrices in the precision asked for; vectors, and rows that no block divides, in float32."""
    is_matrix = array.ndim == 2
    fits = precision != "int8" or array.shape[-1] % BLOCK == 0
    kind = STORED[precision] if is_matrix and fits else gguf.GGMLQuantizationType.F32
    writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
