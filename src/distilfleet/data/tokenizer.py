"""Text to token ids: a tokenizer trained on the data, one of a model, or plain bytes.

Ids are int32 and below `vocabulary`. No tokenizer adds special ids on its own; who cuts documents
into windows puts the separator. Everything but plain bytes is kept in the format of the
`tokenizers` library, tokenizer.json.
"""

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..core.errors import ConfigError

if TYPE_CHECKING:
    import tokenizers

BYTES = b"bytes"
"""What stands in the place of a tokenizer.json where ids are bytes."""
SEPARATORS = ("<|begin_of_text|>", "<s>", "<bos>", "<|endoftext|>", "</s>", "[CLS]")
"""What models begin or part documents with, the first that a vocabulary has."""
LEAST_VOCABULARY = 257
"""All bytes and a separator, so that no text is unknown."""
FILES = ("tokenizer.json", "vocab.json")
"""Files in which a folder has its tokenizer, the first that is there."""
NEEDED = "text needs tokenizers: pip install 'distilfleet[train]', or --tokenizer bytes"
MOST_ENTRIES = 1 << 22
"""An id from here on is no token of a vocabulary."""
LONGEST_BYTES = 1 << 12
"""Bytes of the longest entry of llama2.c."""
LONGEST_WORD = 1 << 10
"""Characters without a blank between them, in training."""
UNBROKEN = re.compile(rf"\S{{{LONGEST_WORD}}}")
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
    """The tokenizer as it is stored with a run; `restore` reads it."""
    encode: Callable[[Sequence[str]], list[np.ndarray]]
    decode: Callable[[np.ndarray], str]

    @property
    def padding(self) -> int:
        """An id that may stand where nothing is looked at."""
        return self.separator or 0


def choose(wanted: str | Path | None, texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """None: trained on `texts`. Else `bytes`, a file, a folder of a model, or its name on the
    Hugging Face hub.

    A `Path` is a file or folder, even one that is called `bytes`.
    """
    if wanted is None:
        return train(texts, vocabulary)
    if isinstance(wanted, Path):
        return from_path(wanted)
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
        encode=lambda texts: [
            np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts
        ],
        decode=lambda ids: bytes(ids[ids < 256].astype(np.uint8)).decode("utf-8", "replace"),
    )


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level byte-pair encoding with so many entries; the same texts give the same entries."""
    if vocabulary < LEAST_VOCABULARY:
        raise ConfigError(
            f"a vocabulary of {vocabulary}; expected at least {LEAST_VOCABULARY}, or --tokenizer "
            "bytes"
        )
    lib = _library()
    trained = _byte_level(lib.models.BPE())
    alphabet = lib.pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        (piece for text in texts for piece in _pieces(text)),
        lib.trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=sorted(alphabet),
            show_progress=False,
        ),
    )
    return _wrap(trained, "trained on the text")


def _pieces(text: str) -> Iterator[str]:
    """The text, parted in unbroken words of more than `LONGEST_WORD`, which training would take the
    square of."""
    start = 0
    for word in UNBROKEN.finditer(text):
        yield text[start : word.end()]
        start = word.end()
    if start < len(text):
        yield text[start:]


def restore(data: bytes, name: str = "stored") -> Tokenizer:
    """A tokenizer from its `data`. Raises ConfigError for anything else."""
    if data == BYTES:
        return plain_bytes()
    added = _check_ids(data, name)
    with _refused(f"{name}: not a tokenizer.json of the tokenizers library"):
        inner = _library().Tokenizer.from_buffer(data)
    _check_added(inner, added, name)
    return _wrap(inner, name)


def from_path(path: Path) -> Tokenizer:
    """A tokenizer.json, GPT-2's vocabulary beside its merges, a folder with either, or a .bin of
    llama2.c."""
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".bin":
        return _wrap(_llama2c(path), str(path))
    if path.suffix == ".json":
        return _from_json(path)
    raise ConfigError(
        f"{path}: no tokenizer; expected tokenizer.json, a vocabulary beside its merges, or a .bin"
    )


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
            f"tokenizer {name!r}: no such file, and not to be had from the hub ({error}); expected "
            "a file, a folder, the name of a model there, or 'bytes'"
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


class _Added(msgspec.Struct):
    """A token beside the vocabulary of the model, in a tokenizer.json."""

    id: int
    content: str


class _Vocabulary(msgspec.Struct):
    vocab: dict[str, int] | list[msgspec.Raw] = {}


class _Ids(msgspec.Struct):
    """The numbers of a tokenizer.json."""

    model: _Vocabulary
    added_tokens: list[_Added] | None = None


def _check_ids(data: bytes, name: str) -> Sequence[_Added]:
    """The tokens added to a vocabulary of usual size; whatever else is odd, the library says."""
    try:
        ids = msgspec.json.decode(data, type=_Ids)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return ()
    numbers = ids.model.vocab.values() if isinstance(ids.model.vocab, dict) else ()
    highest = max([*numbers, len(ids.model.vocab) - 1])
    if highest >= MOST_ENTRIES:
        raise ConfigError(f"{name}: a token with id {highest}; expected ids below {MOST_ENTRIES}")
    return ids.added_tokens or ()


def _check_added(inner: "tokenizers.Tokenizer", added: Sequence[_Added], name: str) -> None:
    """The library gives a token that does not follow the vocabulary another id than its file says,
    in silence."""
    moved = next((one for one in added if inner.token_to_id(one.content) != one.id), None)
    if moved is not None:
        raise ConfigError(
            f"{name}: {moved.content!r} is to have id {moved.id}, which the tokenizers library "
            f"makes {inner.token_to_id(moved.content)}, since added tokens follow the vocabulary: "
            "number them so"
        )


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Whatever the library raises, its panics included, as one ConfigError."""
    try:
        yield
    except Exception as error:
        raise ConfigError(f"{what} ({error})") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ConfigError(f"{what} ({error})") from error


def _wrap(inner: "tokenizers.Tokenizer", name: str) -> Tokenizer:
    inner.no_padding()
    inner.no_truncation()
    if getattr(inner.model, "dropout", None) is not None:
        inner.model.dropout = None  # the same text would get other ids each time
    entries = inner.get_vocab(with_added_tokens=True)
    if not entries:
        raise ConfigError(
            f"{name}: a tokenizer without a vocabulary; expected one that was trained"
        )
    data = inner.to_str().encode()
    return Tokenizer(
        name=name,
        entries=entries,
        vocabulary=max(entries.values()) + 1,
        separator=next((entries[token] for token in SEPARATORS if token in entries), None),
        digest=_digest(_essence(data)),
        data=data,
        encode=partial(_encode, inner, name),
        decode=lambda ids: str(inner.decode(ids.tolist())),
    )


def _encode(inner: "tokenizers.Tokenizer", name: str, texts: Sequence[str]) -> list[np.ndarray]:
    with _refused(f"tokenizer {name} has no ids for this text"):
        encoded = inner.encode_batch(list(texts), add_special_tokens=False)
    return [np.array(one.ids, dtype=np.int32) for one in encoded]


def _essence(data: bytes) -> bytes:
    """What decides about ids, in one spelling."""
    parts = json.loads(data)
    for irrelevant in ("version", "post_processor", "decoder"):
        parts.pop(irrelevant, None)
    return json.dumps(parts, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _from_folder(path: Path) -> Tokenizer:
    for name in FILES:
        if (path / name).exists():
            return _from_json(path / name)
    if (path / "tokenizer.model").exists():
        raise ConfigError(
            f"{path}: a tokenizer of SentencePiece alone; expected tokenizer.json, which "
            "transformers makes of it: "
            f"AutoTokenizer.from_pretrained({str(path)!r}).save_pretrained({str(path)!r})"
        )
    raise ConfigError(
        f"{path}: no tokenizer in this folder; expected tokenizer.json, or vocab.json and "
        "merges.txt"
    )


def _from_json(path: Path) -> Tokenizer:
    data = path.read_bytes()
    try:
        vocabulary = msgspec.json.decode(data, type=dict[str, int])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return restore(data, str(path))
    merges = _merges(path)
    pairs = _pairs(merges, vocabulary)
    if max(vocabulary.values(), default=0) >= MOST_ENTRIES:
        raise ConfigError(
            f"{path}: ids up to {max(vocabulary.values())}; expected ids below {MOST_ENTRIES}"
        )
    with _refused(f"{path}: not a vocabulary"):
        made = _byte_level(_library().models.BPE(vocabulary, pairs))
    made.add_special_tokens([token for token in SEPARATORS if token in vocabulary])
    return _wrap(made, f"{path} with {merges.name}")


def _pairs(path: Path, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """A merge per line, each of two entries that make a third."""
    pairs = []
    for number, ended in enumerate(_lines(path), 1):
        line = ended.removesuffix("\r")
        parts = line.split(" ")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        if len(parts) != 2 or not {*parts, "".join(parts)} <= vocabulary.keys():
            raise ConfigError(
                f"{path}: line {number} is {line!r}; expected two entries of the vocabulary that "
                "make a third: the files may not belong together"
            )
        pairs.append((parts[0], parts[1]))
    return pairs


def _lines(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode().split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error}): fetch it again") from error


def _merges(path: Path) -> Path:
    """The merges that belong to a vocabulary, under the names in use."""
    names = ("merges.txt", "vocab.bpe", path.name.replace("encoder.json", "vocab.bpe"))
    found = next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    if found is None or found == path:
        raise ConfigError(
            f"{path}: a vocabulary without merges; expected {' or '.join(names[:2])} beside it"
        )
    return found


def _llama2c(path: Path) -> "tokenizers.Tokenizer":
    """Vocabulary of llama2.c as byte-pair encoding: of two merges the one with the better scored
    result comes first."""
    lib = _library()
    tokens, scores = _llama2c_entries(path)
    ids = {token: number for number, token in enumerate(tokens)}
    merges = _merge_order(tokens, scores)
    made: tokenizers.Tokenizer = lib.Tokenizer(
        lib.models.BPE(
            ids, merges, byte_fallback=True, unk_token=LLAMA2C_SPECIAL[0], fuse_unk=False
        )
    )
    made.normalizer = lib.normalizers.Prepend(" ")
    made.decoder = lib.decoders.Sequence(
        [lib.decoders.ByteFallback(), lib.decoders.Fuse(), lib.decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(list(LLAMA2C_SPECIAL))
    return made


def _llama2c_entries(path: Path) -> tuple[list[str], list[float]]:
    """Entries and scores; a file is an int32, then for each entry float32 score, int32 length, and
    its bytes."""
    data = path.read_bytes()
    at = 4
    tokens: list[str] = []
    scores: list[float] = []
    try:
        while at < len(data):
            score, length = struct.unpack_from("<fi", data, at)
            if not 0 <= length <= LONGEST_BYTES:
                raise ConfigError(
                    f"{path}: not a vocabulary of llama2.c: entry {len(tokens)} has {length} bytes"
                )
            at += 8 + length
            tokens.append(data[at - length : at].decode())
            scores.append(score)
    except (struct.error, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: not a vocabulary of llama2.c: entry {len(tokens)} is unreadable"
        ) from error
    has_bytes = len(tokens) > LLAMA2C_BYTES + 256 and tokens[LLAMA2C_BYTES] == "<0x00>"
    if not has_bytes or at != len(data):
        raise ConfigError(
            f"{path}: not a vocabulary of llama2.c; expected <unk>, <s>, </s>, 256 bytes, and "
            "entries"
        )
    return [*LLAMA2C_SPECIAL, *tokens[LLAMA2C_BYTES:]], scores


def _merge_order(tokens: Sequence[str], scores: Sequence[float]) -> list[tuple[str, str]]:
    first = LLAMA2C_BYTES + 256
    known = set(tokens[first:])
    best_first = sorted(range(first, len(tokens)), key=lambda number: -scores[number])
    words = [tokens[number] for number in best_first]
    pairs = ((word[:at], word[at:]) for word in words for at in range(1, len(word)))
    return [(left, right) for left, right in pairs if left in known and right in known]
