"""Token ids in windows of one length.

Axes: N windows, T tokens of a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.types import PADDING, Dataset


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """Token ids of one length, what of them is text, and the class of each window if there are
    classes."""

    ids_NT: np.ndarray
    """int32, padded at the end with an id that the model has."""
    lengths_N: np.ndarray
    """Tokens that are no padding, int32."""
    labels_N: np.ndarray | None = None
    """int64."""

    def __len__(self) -> int:
        return len(self.ids_NT)

    @property
    def tokens(self) -> int:
        """Tokens of all windows that are no padding."""
        return int(self.lengths_N.sum())

    @property
    def mask(self) -> np.ndarray:
        """True where there is text, [N, T]."""
        return np.arange(self.ids_NT.shape[1]) < self.lengths_N[:, np.newaxis]

    def take(self, rows: np.ndarray) -> "Windows":
        """These windows, in the order named; copies."""
        kinds = None if self.labels_N is None else self.labels_N[rows]
        return Windows(ids_NT=self.ids_NT[rows], lengths_N=self.lengths_N[rows], labels_N=kinds)

    def dataset(self) -> Dataset:
        """The windows for workers, with `PADDING` where there is no text; `from_dataset` is the way
        back."""
        return Dataset(np.where(self.mask, self.ids_NT, np.int32(PADDING)), self.labels_N)


def from_dataset(data: Dataset, padding: int = 0) -> Windows:
    """Windows of a `Windows.dataset()`, their ends filled with the id `padding`."""
    real_NT = data.inputs != PADDING
    return Windows(
        ids_NT=np.where(real_NT, data.inputs, np.int32(padding)),
        lengths_N=real_NT.sum(axis=1).astype(np.int32),
        labels_N=data.labels,
    )


def one_each(documents: Sequence[np.ndarray], context: int, padding: int) -> Windows:
    """A window per document, cut or padded at its end."""
    ids_NT = np.full((len(documents), context), padding, dtype=np.int32)
    for row, ids in enumerate(documents):
        ids_NT[row, : len(ids)] = ids[:context]
    lengths = [min(len(ids), context) for ids in documents]
    return Windows(ids_NT=ids_NT, lengths_N=np.array(lengths, dtype=np.int32))


def packed(documents: Sequence[np.ndarray], context: int, padding: int) -> Windows:
    """One document after the other, cut into full windows; what is left over goes, unless it is all
    there is."""
    ids = np.concatenate([np.zeros(0, dtype=np.int32), *documents])
    full = len(ids) // context
    if full == 0:
        return one_each([ids] if len(ids) else [], context, padding)
    return Windows(
        ids_NT=ids[: full * context].reshape(full, context),
        lengths_N=np.full(full, context, dtype=np.int32),
    )


def whole(documents: Sequence[np.ndarray], context: int, padding: int) -> Windows:
    """Every document at the start of a window, padded at its end; a long one goes on in further
    windows, of which none is a single token."""
    parts = [
        ids[at : at + context]
        for ids in documents
        for at in range(0, max(1, len(ids) - 1), context)
    ]
    return one_each([part for part in parts if len(part) > 1] or parts, context, padding)


def joined(parts: Sequence[Windows]) -> Windows:
    """Windows without labels, one after the other."""
    return Windows(
        ids_NT=np.concatenate([part.ids_NT for part in parts]),
        lengths_N=np.concatenate([part.lengths_N for part in parts]),
    )
