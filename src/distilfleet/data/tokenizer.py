"""Text to token ids: a tokenizer trained on the data, one of a model, or plain bytes.

Ids are int32 and below `vocabulary`. No tokenizer adds special ids on its own; who cuts documents into windows puts
the separator. Everything but plain bytes is kept in the format of the `tokenizers` library, tokenizer.json.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from distilfleet.core.errors import ConfigError

if TYPE_CHECKING:
    import tokenizers

BYTES = b"bytes"
"""What stands in the place of a tokenizer.json where ids are bytes."""
SEPARATORS = ("<|begin_of_text|>", "<s>", "<bos>", "<|endoftext|>", "</s>", "[CLS]")
"""What models begin or part documents with, the first that a vocabulary has."""
LEAST_VOCABULARY = 257
"""All bytes and a separator, so that no text is unknown."""
NEEDED = "text needs tokenizers: pip install 'distilfleet[train]', or --tokenizer bytes"
LLAMA2C_SPECIAL = ("<unk>", "<s>", "</s>")
LLAMA2C_BYTES = 3
"""Id of byte 0 in a vocabulary of llama2.c."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokenizer:
    """How text becomes ids; two with one `digest` give the same ids for the same text."""

    name: str
    entries: Mapping[str, int]
    """Id of each token, as pairs of tokenizers are compared by."""
    vocabulary: int
    """Ids are below it."""
    separator: int | None
    """Goes before each document; None if the vocabulary has no such id."""
    digest: str
    data: bytes
    """To be stored with a run; `restore` reads it."""
    encode: Callable[[Sequence[str]], list[np.ndarray]]
    decode: Callable[[np.ndarray], str]

    @property
    def padding(self) -> int:
        """An id that may stand where nothing is looked at."""
        return self.separator or 0


def choose(wanted: str | None, texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """None: trained on `texts`. Else `bytes`, a file, a folder of a model, or its name on the Hugging Face hub."""
    if wanted is None:
        return train(texts, vocabulary)
    if wanted == "bytes":
        return plain_bytes()
    path = Path(wanted).expanduser()
    return from_path(path) if path.exists() else from_hub(wanted)


def plain_bytes() -> Tokenizer:
    """Bytes of UTF-8 as ids, and 256 as separator."""
    return Tokenizer(
        name="bytes",
        entries={**{f"<0x{byte:02X}>": byte for byte in range(256)}, "<s>": 256},
        vocabulary=LEAST_VOCABULARY,
        separator=256,
        digest=_digest(BYTES),
        data=BYTES,
        encode=lambda texts: [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts],
        decode=lambda ids: bytes(ids[ids < 256].astype(np.uint8)).decode("utf-8", "replace"),
    )


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level byte-pair encoding with so many entries; the same texts give the same entries."""
    if vocabulary < LEAST_VOCABULARY:
        raise ConfigError(f"a vocabulary of {vocabulary}; expected at least {LEAST_VOCABULARY}, or --tokenizer bytes")
    lib = _library()
    trained = _byte_level(lib.models.BPE())
    alphabet = lib.pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        texts,
        lib.trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=sorted(alphabet),
            show_progress=False,
        ),
    )
    return _wrap(trained, "trained on the text")


def restore(data: bytes, name: str = "stored") -> Tokenizer:
    """A tokenizer from its `data`. Raises ConfigError for anything else."""
    if data == BYTES:
        return plain_bytes()
    try:
        return _wrap(_library().Tokenizer.from_buffer(data), name)
    except ValueError as error:
        raise ConfigError(f"{name}: not a tokenizer.json of the tokenizers library ({error})") from error


def from_path(path: Path) -> Tokenizer:
    """A tokenizer.json, GPT-2's vocabulary beside its merges, a folder with either, or a .bin of llama2.c."""
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".bin":
        return _wrap(_llama2c(path), str(path))
    if path.suffix == ".json":
        return _from_json(path)
    raise ConfigError(f"{path}: no tokenizer; expected tokenizer.json, a vocabulary beside its merges, or a .bin")


def from_hub(name: str) -> Tokenizer:
    """The tokenizer of a model on the Hugging Face hub."""
    if name.startswith((".", "/", "~")) or name.endswith((".json", ".bin")):
        raise ConfigError(f"{name}: no such file or folder; expected a tokenizer, or 'bytes'")
    try:
        from huggingface_hub import hf_hub_download

        return restore(Path(hf_hub_download(name, "tokenizer.json")).read_bytes(), name)
    except ImportError as error:
        raise ConfigError(f"tokenizer {name!r}: {NEEDED}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"tokenizer {name!r}: no such file, and not to be had from the hub ({error}); expected a file, a folder, "
            f"the name of a model there, or 'bytes'"
        ) from error


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.normalizers
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise ConfigError(NEEDED) from error
    return tokenizers


def _byte_level(model: Any) -> "tokenizers.Tokenizer":
    lib = _library()
    made: tokenizers.Tokenizer = lib.Tokenizer(model)
    made.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = lib.decoders.ByteLevel()
    return made


def _wrap(inner: "tokenizers.Tokenizer", name: str) -> Tokenizer:
    inner.no_padding()
    inner.no_truncation()
    entries = inner.get_vocab(with_added_tokens=True)
    data = inner.to_str().encode()
    return Tokenizer(
        name=name,
        entries=entries,
        vocabulary=max(entries.values()) + 1,
        separator=next((entries[token] for token in SEPARATORS if token in entries), None),
        digest=_digest(_essence(data)),
        data=data,
        encode=lambda texts: [
            np.array(one.ids, dtype=np.int32) for one in inner.encode_batch(list(texts), add_special_tokens=False)
        ],
        decode=lambda ids: str(inner.decode(ids.tolist())),
    )


def _essence(data: bytes) -> bytes:
    """What decides about ids, in one spelling."""
    parts = json.loads(data)
    for irrelevant in ("version", "post_processor", "decoder"):
        parts.pop(irrelevant, None)
    return json.dumps(parts, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _from_folder(path: Path) -> Tokenizer:
    for name in ("tokenizer.json", "vocab.json"):
        if (path / name).exists():
            return _from_json(path / name)
    raise ConfigError(f"{path}: no tokenizer in this folder; expected tokenizer.json, or vocab.json and merges.txt")


def _from_json(path: Path) -> Tokenizer:
    data = path.read_bytes()
    try:
        vocabulary = msgspec.json.decode(data, type=dict[str, int])
    except msgspec.DecodeError:
        return restore(data, str(path))
    merges = _merges(path)
    made = _byte_level(_library().models.BPE(vocabulary, _pairs(merges, vocabulary)))
    made.add_special_tokens([token for token in SEPARATORS if token in vocabulary])
    return _wrap(made, f"{path} with {merges.name}")


def _pairs(path: Path, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """A merge per line, each of two entries that make a third."""
    pairs = []
    for number, line in enumerate(path.read_bytes().decode("utf-8").split("\n"), 1):
        parts = line.split(" ")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        if len(parts) != 2 or not {*parts, "".join(parts)} <= vocabulary.keys():
            raise ConfigError(
                f"{path}: line {number} is {line!r}; expected two entries of the vocabulary that make a third: the "
                f"files may not belong together"
            )
        pairs.append((parts[0], parts[1]))
    return pairs


def _merges(path: Path) -> Path:
    """The merges that belong to a vocabulary, under the names in use."""
    names = ("merges.txt", "vocab.bpe", path.name.replace("encoder.json", "vocab.bpe"))
    found = next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    if found is None or found == path:
        raise ConfigError(f"{path}: a vocabulary without merges; expected {' or '.join(names[:2])} beside it")
    return found


def _llama2c(path: Path) -> "tokenizers.Tokenizer":
    """Vocabulary of llama2.c as byte-pair encoding: of two merges the one with the better scored result comes first."""
    lib = _library()
    tokens, scores = _llama2c_entries(path)
    ids = {token: number for number, token in enumerate(tokens)}
    merges = _merge_order(tokens, scores)
    made: tokenizers.Tokenizer = lib.Tokenizer(
        lib.models.BPE(ids, merges, byte_fallback=True, unk_token=LLAMA2C_SPECIAL[0], fuse_unk=False)
    )
    made.normalizer = lib.normalizers.Prepend(" ")
    made.decoder = lib.decoders.Sequence(
        [lib.decoders.ByteFallback(), lib.decoders.Fuse(), lib.decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(list(LLAMA2C_SPECIAL))
    return made


def _llama2c_entries(path: Path) -> tuple[list[str], list[float]]:
    """Entries and scores; a file is an int32, then for each entry float32 score, int32 length, and its bytes."""
    data, at = path.read_bytes(), 4
    tokens: list[str] = []
    scores: list[float] = []
    try:
        while at < len(data):
            score, length = struct.unpack_from("<fi", data, at)
            at += 8 + length
            tokens.append(data[at - length : at].decode())
            scores.append(score)
    except (struct.error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a vocabulary of llama2.c: entry {len(tokens)} is unreadable") from error
    if len(tokens) <= LLAMA2C_BYTES + 256 or tokens[LLAMA2C_BYTES] != "<0x00>" or at != len(data):
        raise ConfigError(f"{path}: not a vocabulary of llama2.c; expected <unk>, <s>, </s>, 256 bytes, and entries")
    return [*LLAMA2C_SPECIAL, *tokens[LLAMA2C_BYTES:]], scores


def _merge_order(tokens: Sequence[str], scores: Sequence[float]) -> list[tuple[str, str]]:
    first = LLAMA2C_BYTES + 256
    known = set(tokens[first:])
    best_first = sorted(range(first, len(tokens)), key=lambda number: -scores[number])
    words = [tokens[number] for number in best_first]
    pairs = ((word[:at], word[at:]) for word in words for at in range(1, len(word)))
    return [(left, right) for left, right in pairs if left in known and right in known]
