"""From stored labels to class numbers, and the stratified holdout."""

from dataclasses import dataclass

import numpy as np

from distilfleet.core.errors import ConfigError
from distilfleet.data.raw import Raw, as_text


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classes:
    """The classes of a dataset, and its labels as their numbers."""

    names: tuple[str, ...]
    train: np.ndarray
    test: np.ndarray | None


def number(raw: Raw) -> Classes:
    """Number the labels 0, 1, ... in sorted order: whole numbers by value, text by alphabet."""
    labels = tidy(raw.train.labels, raw.where)
    values, train, counts = np.unique(labels, return_inverse=True, return_counts=True)
    _check_counts(values, counts, raw.where)
    test = None if raw.test is None else _number_test(tidy(raw.test.labels, raw.where), values, raw.where)
    names = raw.class_names or tuple(str(value) for value in values)
    return Classes(names=names, train=train.astype(np.int64), test=test)


def tidy(labels: np.ndarray, where: str) -> np.ndarray:
    """One label per sample, int64 or unicode."""
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1:
        raise ConfigError(
            f"{where}: labels have shape {labels.shape}; expected one per sample, [n]; if they are one-hot, store "
            f"y.argmax(1)"
        )
    if flat.dtype.kind in "US":
        return as_text(flat)
    if flat.dtype.kind not in "biuf":
        raise ConfigError(f"{where}: labels are of type {flat.dtype}; expected whole numbers or text")
    if flat.dtype.kind == "f":
        _check_whole(flat, where)
    return flat.astype(np.int64)


def stratified(labels: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows (kept, held out): about `share` of every class is held out, at least one and never all of it."""
    held = np.zeros(len(labels), dtype=bool)
    for value in np.unique(labels):
        rows = np.flatnonzero(labels == value)
        count = min(max(round(share * len(rows)), 1), len(rows) - 1)
        held[rng.permutation(rows)[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _check_whole(labels: np.ndarray, where: str) -> None:
    whole = np.isfinite(labels) & (labels == np.floor(labels))
    if not whole.all():
        row = int(np.flatnonzero(~whole)[0])
        raise ConfigError(
            f"{where}: the label of row {row} (counted from 0) is {labels[row]}; expected whole numbers or text, "
            f"one per class: bin a continuous target first"
        )


def _check_counts(values: np.ndarray, counts: np.ndarray, where: str) -> None:
    if len(values) < 2:
        raise ConfigError(f"{where}: every label is {str(values[0])!r}; expected at least two classes")
    if counts.min() < 2:
        rare = str(values[counts.argmin()])
        raise ConfigError(
            f"{where}: class {rare!r} has a single training sample; expected two or more: remove it or merge it with "
            f"another class (a continuous target has to be binned)"
        )


def _number_test(labels: np.ndarray, values: np.ndarray, where: str) -> np.ndarray:
    if labels.dtype.kind != values.dtype.kind:
        raise ConfigError(f"{where}: labels are {values.dtype} in the train part but {labels.dtype} in the test part")
    unseen = np.setdiff1d(labels, values)
    if len(unseen):
        raise ConfigError(
            f"{where}: the test part has class {str(unseen[0])!r}, which no training sample has; "
            f"training classes: {shorten(values.astype(str).tolist())}"
        )
    return np.searchsorted(values, labels).astype(np.int64)


def shorten(names: list[str], most: int = 20) -> str:
    """A list for a message, cut in the middle: labels and owners often stand last."""
    if len(names) <= most:
        return ", ".join(names)
    half = most // 2
    return f"{', '.join(names[:half])}, ... {len(names) - most} more ..., {', '.join(names[-half:])}"
