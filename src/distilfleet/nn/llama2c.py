"""Checkpoints and vocabularies of llama2.c, as they are published with small models: read, never written.

A checkpoint is a header of seven int32 (width, hidden width, layers, heads, key and value heads, vocabulary, context)
and float32 arrays one after the other. A negative vocabulary says that the output table is a separate one. A
vocabulary file is the length of the longest piece and, per piece, its score and its bytes.

Source: https://github.com/karpathy/llama2.c, `run.c` and `export.py` (legacy format, version 0).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from transformers import LlamaConfig

from distilfleet.core.errors import ConfigError

HEADER = struct.Struct("<7i")
MOST = 1 << 20
"""A larger number in the header is no size of a model."""
EPSILON = 1e-5
BOS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    tied: bool

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Pieces by id, each with a score: of two neighbours whose union is a piece, the best-scored merge first."""

    pieces: Sequence[bytes]
    scores: Sequence[float]

    def encode(self, text: str) -> list[int]:
        """Ids of the text without a mark at the start; bytes that no piece has are ids of their own, from 3 on."""
        known = {piece: at for at, piece in enumerate(self.pieces)}
        ids = [one for char in f" {text}" for one in _char_ids(char.encode(), known)]
        while (best := max(self._merges(ids, known), default=None)) is not None:
            at = -best[1]
            ids[at : at + 2] = [best[2]]
        return ids

    def _merges(self, ids: Sequence[int], known: dict[bytes, int]) -> Iterator[tuple[float, int, int]]:
        for at in range(len(ids) - 1):
            merged = known.get(self.pieces[ids[at]] + self.pieces[ids[at + 1]])
            if merged is not None:
                yield self.scores[merged], -at, merged


def is_file(name: str) -> bool:
    """By its ending: there is no magic number."""
    return name.endswith(".bin") and Path(name).is_file()


def read(path: Path) -> tuple[Sizes, dict[str, np.ndarray]]:
    """Sizes, and arrays named and laid out as those of a LLaMA of `transformers`. Raises ConfigError."""
    raw = path.read_bytes()
    sizes = _sizes(path, raw)
    parts = _parts(sizes)
    expected = HEADER.size + 4 * sum(prod(shape) for _, shape in parts)
    if len(raw) != expected:
        raise ConfigError(f"{path} is no llama2.c checkpoint: its header asks for {expected} bytes, it has {len(raw)}")
    values = np.frombuffer(raw, "<f4", offset=HEADER.size)
    ends = np.cumsum([prod(shape) for _, shape in parts])[:-1]
    arrays = {name: part.reshape(shape) for (name, shape), part in zip(parts, np.split(values, ends), strict=True)}
    return sizes, _renamed(sizes, arrays)


def config(sizes: Sizes) -> Any:
    return LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.width,
        intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        max_position_embeddings=sizes.context,
        rms_norm_eps=EPSILON,
        tie_word_embeddings=False,
    )


def read_vocabulary(path: Path, size: int) -> Vocabulary:
    """So many pieces from a vocabulary file. Raises ConfigError."""
    raw, at = path.read_bytes(), 4
    pieces, scores = [], []
    try:
        for _ in range(size):
            score, length = struct.unpack_from("<fi", raw, at)
            pieces.append(raw[at + 8 : at + 8 + length])
            scores.append(score)
            at += 8 + length
    except struct.error as error:
        raise ConfigError(f"{path} holds {len(pieces)} pieces, {size} expected: another model's vocabulary") from error
    return Vocabulary(pieces=pieces, scores=scores)


def _sizes(path: Path, raw: bytes) -> Sizes:
    if len(raw) < HEADER.size:
        raise ConfigError(f"{path} is no llama2.c checkpoint: {len(raw)} bytes are less than its header")
    width, hidden, layers, heads, kv_heads, vocabulary, context = HEADER.unpack_from(raw)
    every = (width, hidden, layers, heads, kv_heads, abs(vocabulary), context)
    if min(every) < 1 or max(every) > MOST or width % heads or heads % kv_heads:
        raise ConfigError(f"{path} is no llama2.c checkpoint: the header says {every}")
    return Sizes(
        width=width,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        vocabulary=abs(vocabulary),
        context=context,
        tied=vocabulary > 0,
    )


def _parts(sizes: Sizes) -> list[tuple[str, tuple[int, ...]]]:
    """The arrays of a file, in order."""
    width, layers, kv_width = sizes.width, sizes.layers, sizes.head_width * sizes.kv_heads
    parts: list[tuple[str, tuple[int, ...]]] = [
        ("table", (sizes.vocabulary, width)),
        ("input_layernorm", (layers, width)),
        ("self_attn.q_proj", (layers, width, width)),
        ("self_attn.k_proj", (layers, kv_width, width)),
        ("self_attn.v_proj", (layers, kv_width, width)),
        ("self_attn.o_proj", (layers, width, width)),
        ("post_attention_layernorm", (layers, width)),
        ("mlp.gate_proj", (layers, sizes.hidden, width)),
        ("mlp.down_proj", (layers, width, sizes.hidden)),
        ("mlp.up_proj", (layers, sizes.hidden, width)),
        ("norm", (width,)),
        ("angles", (2, sizes.context, sizes.head_width // 2)),
    ]
    return parts if sizes.tied else [*parts, ("output", (sizes.vocabulary, width))]


def _renamed(sizes: Sizes, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Copies under the names of `transformers`, the rotated pairs of queries and keys moved to where it wants them."""
    named = {
        "model.embed_tokens.weight": arrays["table"].copy(),
        "model.norm.weight": arrays["norm"].copy(),
        "lm_head.weight": arrays.get("output", arrays["table"]).copy(),
    }
    inside = [name for name, _ in _parts(sizes) if "." in name or name.endswith("layernorm")]
    for name in inside:
        for layer, one in enumerate(arrays[name]):
            paired = name in ("self_attn.q_proj", "self_attn.k_proj")
            named[f"model.layers.{layer}.{name}.weight"] = _halves(one, sizes.head_width) if paired else one.copy()
    return named


def _halves(weight_OI: np.ndarray, head_width: int) -> np.ndarray:
    """Rows 2i and 2i + 1 of a head turn together in llama2.c, rows i and i + half in `transformers`."""
    heads = weight_OI.reshape(-1, head_width // 2, 2, weight_OI.shape[1])
    return heads.swapaxes(1, 2).reshape(weight_OI.shape).copy()


def _char_ids(char: bytes, known: dict[bytes, int]) -> list[int]:
    return [known[char]] if char in known else [byte + 3 for byte in char]
