"""The form in which devices take texts: hashed words, pairs of words and parts of words, as
integers.

A text becomes the numbers of its words, of its pairs of neighbouring words and of all runs of three
characters within its words, in this order; a net folds them into its own table of embeddings.
Nothing is learnt from the data and no vocabulary is kept, so that a device computes its numbers
alone, and two machines come to the same.

How it works: a chunk of texts is put into one string of words between single spaces, and its
characters into one array. The hash of the characters s to e is the polynomial sum(c[i] * P^(i - s))
modulo 2^64; it comes from running sums of c[i] * P^i, so that every word and every run of
characters costs one subtraction and one product, without a loop. A last mixing spreads it over all
bits, and 31 of them are kept. Case and compatible forms (NFKC) are folded; a sign of punctuation,
an ideograph and a kana are words of their own.

Axes: N texts, L numbers of a text, padded with `PADDING`.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from ..core.types import PADDING

SIGNS = (
    r"!-/:-@\[-`{-~\u00a1-\u00bf\u2010-\u205e\u3001-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
)
"""Characters that are words of their own, for `re`: punctuation, kana and ideographs."""
WORD = re.compile(rf"[^\s{SIGNS}]+|[{SIGNS}]")
RUN = 3
"""Characters of a part of a word; the spaces at its ends count as such."""
CHUNK = 4096
"""Texts that are hashed at once."""
MOST = 256
"""Most numbers of a text, unless most texts have more words."""
STEP = 8
"""A length is a multiple of it."""
USUAL_SHARE = 0.99
"""The share of texts that are to be whole."""
SPACE, NEWLINE = 32, 10
PRIME = 0x9E3779B97F4A7C15
"""The base of the polynomial; odd, so that it has an inverse."""
INVERSE = pow(PRIME, -1, 1 << 64)
OF_WORDS, OF_PAIRS, OF_RUNS = 0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0
"""What is added to hashes of each kind, so that a word and an equal run of characters have two
numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What turns texts into the integers that small nets take, as `Scaling` does with numbers."""

    length: int
    """Numbers of a text; a longer one is cut, first its parts of words, then its pairs, then its
    last words."""
    kind: Literal["words"] = "words"

    def shape(self, texts: np.ndarray) -> tuple[int, ...]:
        """The shape of one sample once applied."""
        return (self.length,)

    def apply(self, texts: np.ndarray) -> np.ndarray:
        """Texts as int32 [N, L]."""
        ids_NL = np.full((len(texts), self.length), PADDING, np.int32)
        for first, hashed in _chunks(texts):
            order, place = hashed.places()
            kept = place < self.length
            ids_NL[first + hashed.text[order][kept], place[kept]] = hashed.ids[order][kept]
        return ids_NL

    def cut(self, texts: np.ndarray) -> int:
        """How many of the texts have more numbers than are kept."""
        return int((counts(texts) > self.length).sum())


def fit(texts: np.ndarray) -> Words:
    """The form that training texts call for: long enough that nearly all of them are whole."""
    most = float(np.quantile(counts(texts), USUAL_SHARE))
    return Words(length=int(min(MOST, max(STEP, -(-most // STEP) * STEP))))


def counts(texts: Iterable[str]) -> np.ndarray:
    """How many numbers each text has, [N]."""
    parts = [np.bincount(hashed.text, minlength=hashed.texts) for _, hashed in _chunks(texts)]
    return np.concatenate(parts)


# --- hashing --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Hashed:
    """The numbers of a chunk of texts: words first, then pairs, then runs, each in the order of the
    texts."""

    texts: int
    text: np.ndarray
    """Which text of the chunk each number belongs to."""
    ids: np.ndarray

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """An order in which the numbers of a text stand side by side, and the place of each within
        its text."""
        order = np.argsort(self.text, kind="stable")
        counts_N = np.bincount(self.text, minlength=self.texts)
        first_N = np.cumsum(counts_N) - counts_N
        return order, np.arange(len(order)) - first_N[self.text[order]]


def _chunks(texts: Iterable[str]) -> Iterator[tuple[int, _Hashed]]:
    """The number of the first text of each chunk, and the chunk."""
    rest = iter(texts)
    first = 0
    while chunk := list(islice(rest, CHUNK)):
        yield first, _hash(chunk)
        first += len(chunk)


def _hash(texts: Sequence[str]) -> _Hashed:
    stream = "".join(map(_spaced, texts))
    codes = np.frombuffer(stream.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    is_gap = (codes == SPACE) | (codes == NEWLINE)
    text = np.cumsum(codes == NEWLINE)
    sums = _RunningSums.of(codes)
    begins = np.flatnonzero(~is_gap[1:] & is_gap[:-1]) + 1
    ends = np.flatnonzero(~is_gap[:-1] & is_gap[1:]) + 1
    words = sums.between(begins, ends)
    is_pair = text[begins[1:]] == text[begins[:-1]]
    pairs = (words[:-1] * np.uint64(PRIME) + words[1:])[is_pair]
    runs = _runs(is_gap)
    ids = [
        _mixed(words, OF_WORDS),
        _mixed(pairs, OF_PAIRS),
        _mixed(sums.between(runs, runs + RUN), OF_RUNS),
    ]
    owners = [text[begins], text[begins[1:]][is_pair], text[runs + 1]]
    return _Hashed(texts=len(texts), text=np.concatenate(owners), ids=np.concatenate(ids))


def _spaced(text: str) -> str:
    """A text as one line of words, each between two spaces."""
    return f" {' '.join(WORD.findall(unicodedata.normalize('NFKC', text).casefold()))} \n"


def _runs(is_gap: np.ndarray) -> np.ndarray:
    """Where runs of three characters begin that lie within a word, of which one end may be a space,
    not both."""
    first, middle, last = is_gap[:-2], is_gap[1:-1], is_gap[2:]
    return np.flatnonzero(~middle & ~(first & last))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _RunningSums:
    """Sums of c[i] * P^i before each place of a string, and the inverse of P^i, both modulo
    2^64."""

    sums: np.ndarray
    inverses: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> "_RunningSums":
        """The sums for these characters."""
        sums = np.zeros(len(codes) + 1, np.uint64)
        np.cumsum(codes * _powers(PRIME, len(codes)), out=sums[1:])
        return cls(sums=sums, inverses=_powers(INVERSE, len(codes)))

    def between(self, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The hash of the characters from each begin to before its end."""
        hashes: np.ndarray = (self.sums[ends] - self.sums[begins]) * self.inverses[begins]
        return hashes


def _powers(base: int, count: int) -> np.ndarray:
    """1, base, base^2, ... modulo 2^64."""
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.multiply.accumulate(powers)


def _mixed(hashes: np.ndarray, kind: int) -> np.ndarray:
    """31 bits of each hash, all of which depend on all of its own.

    Source: the last steps of SplitMix64, Steele et al., "Fast splittable pseudorandom number
    generators", OOPSLA 2014."""
    x = hashes + np.uint64(kind)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(33)).astype(np.int32)
