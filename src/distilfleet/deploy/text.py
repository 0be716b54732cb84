"""A tokenizer as `transformers` reads it, so that it gives the ids that a run's models were trained
on.

In training a separator goes before each document. In the stored tokenizer a post-processor puts it
there, so that `AutoTokenizer` does the same without being told."""

import json
from collections.abc import Mapping
from typing import Any

from ..data.tokenizer import BYTES, Tokenizer
from .facts import TOKENIZER, TOKENIZER_CONFIG

SEPARATOR = {
    "content": "<s>",
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
"""The one entry beside bytes, where ids are bytes."""


def tokenizer_files(made: Tokenizer, context: int) -> Mapping[str, bytes]:
    """`tokenizer.json` and its settings."""
    token = _separator(made)
    special = {} if token is None else {"bos_token": token, "eos_token": token}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **special,
        "pad_token": token or _entry(made, made.padding),
        "padding_side": "right",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    return {
        TOKENIZER: _with_separator(_parts(made), token, made.separator),
        TOKENIZER_CONFIG: _json(settings),
    }


def _json(plain: Any) -> bytes:
    return json.dumps(plain, indent=2, ensure_ascii=False).encode() + b"\n"


def _entry(made: Tokenizer, wanted: int) -> str:
    return next(token for token, at in made.entries.items() if at == wanted)


def _separator(made: Tokenizer) -> str | None:
    return None if made.separator is None else _entry(made, made.separator)


def _with_separator(parts: dict[str, Any], token: str | None, at: int | None) -> bytes:
    """The same with a separator before each text, or with nothing around it."""
    processor = None
    if token is not None:
        first = {"SpecialToken": {"id": token, "type_id": 0}}
        texts = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}]
        processor = {
            "type": "TemplateProcessing",
            "single": [first, texts[0]],
            "pair": [first, *texts],
            "special_tokens": {token: {"id": token, "ids": [at], "tokens": [token]}},
        }
    return _json({**parts, "post_processor": processor})


def _parts(made: Tokenizer) -> dict[str, Any]:
    if made.data != BYTES:
        parts: dict[str, Any] = json.loads(made.data)
        return parts
    as_they_are = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    return {
        "version": "1.0",
        "added_tokens": [{**SEPARATOR, "id": made.separator}],
        "pre_tokenizer": as_they_are,
        "decoder": as_they_are,
        "model": {
            "type": "BPE",
            "vocab": {**_byte_names(), SEPARATOR["content"]: made.separator},
            "merges": [],
        },
    }


def _byte_names() -> dict[str, int]:
    """What byte-level vocabularies call each byte: itself where it can be printed, else a letter
    past them all."""
    printed = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    rest = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {
        chr(256 + at): byte for at, byte in enumerate(rest)
    }
