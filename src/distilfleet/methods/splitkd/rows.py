"""Embedding rows on a device: a table on disk, or only the rows that occur there; training of rows
in NumPy.

Axes: R rows held, U rows asked for, D width.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ...core.types import PADDING, Arrays
from . import codec

BLOCK = 128
"""Rows that are worked on at a time."""


class EmbeddingTable(Protocol):
    """Rows by token id."""

    def rows(self, ids_U: np.ndarray) -> np.ndarray:
        """float32 [U, D]."""
        ...


class MappedTable:
    """A float16 table on disk, row after row; pages that a look-up brought in are given back."""

    def __init__(self, path: Path, width: int) -> None:
        with path.open("rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._pages.madvise(mmap.MADV_RANDOM)
        self._table = np.frombuffer(self._pages, np.float16).reshape(-1, width)

    def __len__(self) -> int:
        return len(self._table)

    def rows(self, ids_U: np.ndarray) -> np.ndarray:
        gathered: np.ndarray = self._table[ids_U].astype(np.float32)
        self._pages.madvise(mmap.MADV_DONTNEED)
        return gathered


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Kingma and Ba, https://arxiv.org/abs/1412.6980, algorithm 1."""

    lr: float
    decay: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8


@dataclass(slots=True, kw_only=True, eq=False)
class EmbeddingRows:
    """Rows with sorted ids and, if they are trained, what training needs. Implements
    `EmbeddingTable`."""

    ids: np.ndarray
    values: np.ndarray
    began: np.ndarray
    """What they were when the round began, float16 as they came; empty for frozen rows, as are the
    four below."""
    gradient: np.ndarray
    first: np.ndarray
    second: np.ndarray
    """Adam's moments, which go on from round to round."""
    seen: np.ndarray
    """Tokens of this round by row."""
    steps: np.ndarray

    @staticmethod
    def frozen(ids: np.ndarray, values: np.ndarray) -> "EmbeddingRows":
        none = np.zeros((0, values.shape[1]), np.float16)
        return EmbeddingRows(
            ids=ids,
            values=np.asarray(values, np.float16),
            began=none,
            gradient=none,
            first=none,
            second=none,
            seen=np.zeros(0, np.int64),
            steps=np.array(0),
        )

    @staticmethod
    def begin(
        ids: np.ndarray, values: np.ndarray, before: "EmbeddingRows | None"
    ) -> "EmbeddingRows":
        """Rows as the server sent them, with the moments of the round before."""
        began = np.asarray(values, np.float16)
        values = began.astype(np.float32)
        return EmbeddingRows(
            ids=ids,
            values=values,
            began=began,
            gradient=np.zeros_like(values),
            first=np.zeros_like(values) if before is None else before.first,
            second=np.zeros_like(values) if before is None else before.second,
            seen=np.zeros(len(ids), np.int64),
            steps=np.array(0) if before is None else before.steps,
        )

    @property
    def is_trained(self) -> bool:
        return len(self.began) > 0

    def rows(self, ids_U: np.ndarray) -> np.ndarray:
        return np.asarray(self.values[np.searchsorted(self.ids, ids_U)], np.float32)

    def add(
        self,
        gradient: np.ndarray,
        tokens: int,
        at: np.ndarray | slice = slice(None),
        seen: np.ndarray | None = None,
    ) -> None:
        """Add to the step's gradient, for the rows `at`."""
        self.gradient[at] += gradient
        self.seen[at] += tokens if seen is None else seen

    def step(self, adam: Adam) -> None:
        """One step of Adam with the gradient so far, in place."""
        self.steps = self.steps + 1
        one, two = adam.decay
        debias = 1 - one ** int(self.steps), 1 - two ** int(self.steps)
        # so that nothing as large as the rows is made on the way
        for at in range(0, len(self.ids), BLOCK):
            rows = slice(at, at + BLOCK)
            gradient = self.gradient[rows]
            first = self.first[rows]
            second = self.second[rows]
            first *= one
            first += (1 - one) * gradient
            second *= two
            second += (1 - two) * np.square(gradient)
            self.values[rows] -= (
                adam.lr * (first / debias[0]) / (np.sqrt(second / debias[1]) + adam.epsilon)
            )
        self.gradient[:] = 0

    def learnt(self) -> np.ndarray:
        """What the round changed, float16 [R, D]."""
        learnt = np.empty(self.values.shape, np.float16)
        for at in range(0, len(self.ids), BLOCK):
            rows = slice(at, at + BLOCK)
            learnt[rows] = self.values[rows] - self.began[rows]
        return learnt

    def snapshot(self) -> Arrays:
        return {name: getattr(self, name) for name in EmbeddingRows.__slots__}

    @staticmethod
    def restored(kept: Arrays) -> "EmbeddingRows":
        return EmbeddingRows(**{name: np.array(kept[name]) for name in EmbeddingRows.__slots__})


def rows_present(packed: np.ndarray, vocabulary: int) -> np.ndarray:
    """Ids of the rows that a device said occur there, [R]."""
    return np.flatnonzero(np.unpackbits(packed)[:vocabulary])


def distinct(ids_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct token ids, sorted, and which of them stands at each position; at padding, the
    first."""
    real_BT = ids_BT != PADDING
    distinct_U, inverse = np.unique(ids_BT[real_BT], return_inverse=True)
    index_BT = np.zeros(ids_BT.shape, codec.index_dtype(ids_BT.size))
    index_BT[real_BT] = inverse
    return distinct_U, index_BT
