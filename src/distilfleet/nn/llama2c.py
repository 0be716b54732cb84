"""Checkpoints of llama2.c, as small models are published in: read, never written.

A file is a header of seven int32 (width, hidden width, layers, heads, key and value heads,
vocabulary, context) and float32 arrays one after the other. A negative vocabulary says that the
output table is a separate one.

Source: https://github.com/karpathy/llama2.c, `run.c` and `export.py` (legacy format, version 0).
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from transformers import LlamaConfig

from ..core.errors import ConfigError

HEADER = struct.Struct("<7i")
MOST = 1 << 20
"""A larger number in the header is no size of a model."""
EPSILON = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of a model, as a header states them."""

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


def is_file(name: str) -> bool:
    """Whether a file is called as these are: there is no magic number."""
    return name.endswith(".bin") and Path(name).is_file()


def read(path: Path) -> tuple[Sizes, dict[str, np.ndarray]]:
    """Sizes, and arrays named and laid out as those of a LLaMA of `transformers`. Raises
    ConfigError."""
    raw = path.read_bytes()
    sizes = _sizes(path, raw)
    shapes = dict(_parts(sizes))
    counts = [prod(shape) for shape in shapes.values()]
    expected_bytes = HEADER.size + 4 * sum(counts)
    if len(raw) != expected_bytes:
        raise ConfigError(
            f"{path} is no llama2.c checkpoint: its header asks for {expected_bytes} bytes, it has "
            f"{len(raw)}"
        )
    values = np.frombuffer(raw, "<f4", offset=HEADER.size)
    parts = np.split(values, np.cumsum(counts)[:-1])
    arrays = {name: part.reshape(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
    return sizes, _renamed(sizes, arrays)


def config(sizes: Sizes) -> Any:
    """The `transformers` configuration of a model of these sizes."""
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


def _sizes(path: Path, raw: bytes) -> Sizes:
    if len(raw) < HEADER.size:
        raise ConfigError(
            f"{path} is no llama2.c checkpoint: {len(raw)} bytes are less than its header"
        )
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
    width = sizes.width
    layers = sizes.layers
    kv_width = sizes.head_width * sizes.kv_heads
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
    """Copies under the names of `transformers`, the rotated pairs of queries and keys moved to
    where it wants them."""
    named = {
        "model.embed_tokens.weight": arrays["table"].copy(),
        "model.norm.weight": arrays["norm"].copy(),
        "lm_head.weight": arrays.get("output", arrays["table"]).copy(),
    }
    inside = [name for name, _ in _parts(sizes) if "." in name or name.endswith("layernorm")]
    for name in inside:
        for layer, one in enumerate(arrays[name]):
            paired = name in ("self_attn.q_proj", "self_attn.k_proj")
            named[f"model.layers.{layer}.{name}.weight"] = (
                _halves(one, sizes.head_width) if paired else one.copy()
            )
    return named


def _halves(weight_OI: np.ndarray, head_width: int) -> np.ndarray:
    """Rows 2i and 2i + 1 of a head turn together in llama2.c, rows i and i + half in
    `transformers`."""
    heads = weight_OI.reshape(-1, head_width // 2, 2, weight_OI.shape[1])
    return heads.swapaxes(1, 2).reshape(weight_OI.shape).copy()
