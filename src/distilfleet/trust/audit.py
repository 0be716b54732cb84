"""What a curious server reads from smashed data: attacks as pure functions over arrays, to be run
on what travelled.

The server made the weights, so it has the embedding table and can run the front itself. At the
embedding cut each vector is looked up in the table; behind layers the text is rebuilt from left to
right, for a causal front's output at a position depends on the tokens up to it alone: every token
of the vocabulary is tried, the nearest one kept.

Sources: Nikolaou et al., "Language models are injective and hence invertible", 2025,
https://arxiv.org/abs/2510.15511 (left to right); Qu et al., "Natural language understanding with
privacy-preserving BERT", CIKM 2021 (nearest row).

Axes: N vectors, T tokens of one text, V table rows (vocabulary), K candidates, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

VECTORS = 1024
ROWS = 16384
"""Vectors and table rows that are compared at once: 64 MB of distances."""
CANDIDATES = 4096
"""Tokens that are tried at once behind layers."""

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(prefix ids [t], candidate ids [K]) -> what the front gives at position t if each candidate stood
there, [K, D]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How much of a text was found again."""

    attack: str
    tokens: int
    recovered: int

    @property
    def share(self) -> float:
        """0 to 1; 0 where there was nothing to recover."""
        return self.recovered / self.tokens if self.tokens else 0.0

    def __add__(self, other: "Recovery") -> "Recovery":
        if self.attack != other.attack:
            raise ValueError(
                f"{self.attack} and {other.attack} are two attacks; add up each on its own"
            )
        return Recovery(
            attack=self.attack,
            tokens=self.tokens + other.tokens,
            recovered=self.recovered + other.recovered,
        )

    def __str__(self) -> str:
        return (
            f"a curious server recovers {100 * self.share:.1f} % of {self.tokens} tokens "
            f"({self.attack})"
        )


def by_nearest_row(smashed_ND: np.ndarray, table_VD: np.ndarray, ids_N: np.ndarray) -> Recovery:
    """Look up vectors of the embedding cut; `ids_N` is what was really said."""
    guessed_N = nearest_rows(smashed_ND, table_VD)
    return Recovery(attack="nearest row", tokens=ids_N.size, recovered=_hits(guessed_N, ids_N))


def by_left_to_right(
    texts_TD: Sequence[np.ndarray], step: Step, vocabulary: int, ids: Sequence[np.ndarray]
) -> Recovery:
    """Rebuild texts from what a causal front gave for each; `ids` is what was really said."""
    guessed = [left_to_right(text_TD, step, vocabulary) for text_TD in texts_TD]
    hits = [_hits(guess_T, said_T) for guess_T, said_T in zip(guessed, ids, strict=True)]
    return Recovery(attack="left to right", tokens=sum(map(np.size, ids)), recovered=sum(hits))


def nearest_rows(smashed_ND: np.ndarray, table_VD: np.ndarray) -> np.ndarray:
    """Number of the table row that is nearest to each vector, int64 [N].

    The table may be a memory map of any float type; a part of it at a time is read. Of rows at the
    same distance the first is taken. Raises ValueError for widths that differ and for vectors that
    are not finite.
    """
    _check(smashed_ND, table_VD.shape[1])
    best_N = np.full(len(smashed_ND), np.inf, np.float32)
    found_N = np.zeros(len(smashed_ND), np.int64)
    for rows in _spans(len(table_VD), ROWS):
        part_KD = np.asarray(table_VD[rows], np.float32)
        squares_K = np.einsum("kd,kd->k", part_KD, part_KD)
        for some in _spans(len(smashed_ND), VECTORS):
            near_n, at_n = _nearest(smashed_ND[some], part_KD, squares_K)
            nearer_n = near_n < best_N[some]
            best_N[some] = np.where(nearer_n, near_n, best_N[some])
            found_N[some] = np.where(nearer_n, rows.start + at_n, found_N[some])
    return found_N


def left_to_right(smashed_TD: np.ndarray, step: Step, vocabulary: int) -> np.ndarray:
    """Ids of the text that a causal front turned into these vectors, int64 [T].

    Each position takes one pass over the vocabulary. A wrong token is kept as the prefix of the
    next position, as an attacker would have to. Raises ValueError for vectors that are not finite.
    """
    _check(smashed_TD, None)
    found = np.zeros(len(smashed_TD), np.int64)
    for at, wanted_D in enumerate(smashed_TD):
        found[at] = _best_candidate(wanted_D, found[:at], step, vocabulary)
    return found


def _best_candidate(wanted_D: np.ndarray, prefix_t: np.ndarray, step: Step, vocabulary: int) -> int:
    best = 0
    best_square = np.inf
    for some in _spans(vocabulary, CANDIDATES):
        away_KD = (
            np.asarray(step(prefix_t, np.arange(some.start, some.stop)), np.float32) - wanted_D
        )
        squares_K = np.einsum("kd,kd->k", away_KD, away_KD)
        if squares_K.min() < best_square:
            best = some.start + int(squares_K.argmin())
            best_square = squares_K.min()
    return best


def _nearest(
    vectors_nD: np.ndarray, part_KD: np.ndarray, squares_K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(squared distance less the vector's own square, which row) of the nearest row of each
    vector."""
    distances_nK = squares_K - 2 * (np.asarray(vectors_nD, np.float32) @ part_KD.T)
    at_n = distances_nK.argmin(axis=1)
    return distances_nK[np.arange(len(at_n)), at_n], at_n


def _spans(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _hits(guessed_N: np.ndarray, ids_N: np.ndarray) -> int:
    if guessed_N.shape != ids_N.shape:
        raise ValueError(
            f"{guessed_N.shape} tokens were guessed, {ids_N.shape} were said; expected as many"
        )
    return int((guessed_N == ids_N).sum())


def _check(vectors: np.ndarray, width: int | None) -> None:
    if vectors.ndim != 2 or width not in (None, vectors.shape[1]):
        raise ValueError(f"vectors have shape {vectors.shape}; expected [N, {width or 'D'}]")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors hold NaN or infinity; an attack needs what the server could use")
