"""From stored labels to class numbers, and the stratified holdout."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..core.errors import ConfigError
from .raw import Raw, as_text
from .reading import Missing

WHOLE = re.compile(r"[-+]?\d{1,18}(?:\.0*)?", re.A)

MISSING = frozenset(
    [
        *(
            "",
            "na",
            "n/a",
            "#n/a",
            "#n/a n/a",
            "n.a.",
            "nan",
            "-nan",
            "nat",
            "null",
            "none",
            "nil",
            "<na>",
            "\\n",
        ),
        *("?", "??", "???", "-", "--", "---", "–", "—", ".", "not available", "undefined"),
        *(
            "#null!",
            "#div/0!",
            "#value!",
            "#ref!",
            "#name?",
            "#num!",
            "1.#ind",
            "-1.#ind",
            "1.#qnan",
            "-1.#qnan",
        ),
    ]
)
PERHAPS = frozenset(
    {
        "..",
        "...",
        "-1",
        "-9",
        "-99",
        "-999",
        "-9999",
        "*",
        "missing",
        "unknown",
        "unlabeled",
        "unlabelled",
        "blank",
    }
)
"""Labels that may stand for none, and may be meant."""
LONGEST_NAME = 60
"""Characters of a name that a message shows."""
Place = Callable[[int], str]
"""Gives what a message calls a row, by its number."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classes:
    """The classes of a dataset, and its labels as their numbers."""

    names: tuple[str, ...]
    stored: tuple[str, ...]
    """The labels of the classes as they are stored."""
    train: np.ndarray
    test: np.ndarray | None
    notes: tuple[str, ...] = ()


def is_missing(text: str) -> bool:
    """Whether a cell marks a value that nobody has: blank, NA, nan, null, none, ?, - and their
    like, in any case."""
    return not text or (len(text) < 16 and text.strip().lower() in MISSING)


def labelled(
    names: Sequence[str], missing: Missing, place: Place, column: str | None = None
) -> list[int]:
    """Rows with a label. Raises ConfigError for the first without one, unless `missing` says what
    to do."""
    without = [row for row, name in enumerate(names) if is_missing(name)]
    if missing == "refuse" and without:
        stands = names[without[0]]
        what = "" if column is None else f" in column {shown(column)}"
        what += f" but {stands!r}, which marks a missing one" if stands.strip() else ""
        raise ConfigError(
            f"{place(without[0])} has no label{what}; expected one in every row: fill it, or "
            "--missing drop leaves such rows out, and --missing class takes the mark as a class"
        )
    gone = frozenset(without if missing == "drop" else ())
    return [row for row in range(len(names)) if row not in gone]


def present(labels: np.ndarray) -> np.ndarray:
    """Which samples have a label: bool [n]."""
    if labels.dtype.kind == "f":
        whole: np.ndarray = ~np.isnan(labels.reshape(len(labels), -1)).any(axis=1)
        return whole
    if labels.dtype.kind not in "US":
        return np.ones(len(labels), dtype=bool)
    return np.array([not is_missing(name) for name in as_text(labels).ravel().tolist()])


def check_present(raw: Raw) -> None:
    """Raises ConfigError for the first sample whose label is text that marks a missing one."""
    for part in filter(None, (raw.train, raw.test)):
        if part.labels.dtype.kind in "US":
            names = as_text(part.labels).ravel().tolist()
            where = raw.where if part is raw.train else f"{raw.where}, test part"
            labelled(names, "refuse", partial(_row, where))


def _row(where: str, row: int) -> str:
    return f"{where}: row {row} (counted from 0)"


def number(raw: Raw) -> Classes:
    """Number the labels 0, 1, ... in order: whole numbers by value, text by alphabet; each keeps
    its spelling."""
    values, train = _distinct(tidy(raw.train.labels, raw.where))
    _check_counts(values, np.bincount(train), raw.where)
    test = (
        None
        if raw.test is None
        else _number_test(tidy(raw.test.labels, raw.where), values, raw.where)
    )
    stored = tuple(str(value) for value in values)
    names = raw.class_names or stored
    _check_names(raw)
    notes = (*_alike(names, raw.where), *_perhaps_none(names))
    return Classes(names=names, stored=stored, train=train, test=test, notes=notes)


def own_numbers(labels: np.ndarray, where: str) -> np.ndarray:
    """Numbers of the classes that these labels alone have, in order, int64: not those of any
    run."""
    return _distinct(tidy(labels, where))[1]


def _distinct(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes in order, and the number of each label."""
    values, inverse = np.unique(labels, return_inverse=True)
    order = _ordered(values)
    return values[order], np.argsort(order)[inverse].astype(np.int64)


def _ordered(values: np.ndarray) -> np.ndarray:
    """Places of sorted values: of text that is whole numbers, by their value."""
    names = values.astype(str).tolist()
    if values.dtype.kind != "U" or not all(map(WHOLE.fullmatch, names)):
        return np.arange(len(values))
    return np.array(
        sorted(range(len(names)), key=lambda place: (_value(names[place]), names[place]))
    )


def _value(name: str) -> int:
    return int(name.partition(".")[0])


def alike(names: Iterable[str]) -> list[list[str]]:
    """Names that a person would call the same."""
    same: dict[str, list[str]] = {}
    for name in names:
        seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
        word = " ".join(unicodedata.normalize("NFKC", seen).casefold().split())
        same.setdefault(str(_value(name)) if WHOLE.fullmatch(name) else word, []).append(name)
    return [group for group in same.values() if len(group) > 1]


def _alike(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Notes on classes that are alike. Raises ConfigError for 1 beside 1.0."""
    groups = alike(names)
    mixed = next(
        (
            group
            for group in groups
            if len({"." in name for name in group if WHOLE.fullmatch(name)}) > 1
        ),
        None,
    )
    if mixed:
        raise ConfigError(
            f"{where}: labels {' and '.join(map(shown, mixed))} are one number in two spellings; "
            "expected one: write all of a class alike"
        )
    return tuple(
        f"classes {' and '.join(map(shown, group))} differ only in how they are written"
        for group in groups
    )


def _check_names(raw: Raw) -> None:
    """Raises ConfigError for two classes of one name, or one without."""
    odd = next(
        (name for name, times in Counter(raw.class_names).items() if not name.strip() or times > 1),
        None,
    )
    if odd is not None:
        raise ConfigError(
            f"{raw.where}: its list of names of classes has {shown(odd)}; expected a name of its "
            "own for each class"
        )


def _perhaps_none(names: Sequence[str]) -> tuple[str, ...]:
    """A note on each label that may stand for none, where two or more classes are left without
    it."""
    found = [
        name
        for name in names
        if len(names) > 2 and name.strip().lower() in PERHAPS and not _counts_on(names)
    ]
    return tuple(
        f"label {name} is a class like the others: remove its samples if it marks missing labels"
        for name in found
    )


def _counts_on(names: Sequence[str]) -> bool:
    """Whether other classes are below zero too."""
    return sum(WHOLE.fullmatch(name) is not None and _value(name) < 0 for name in names) > 1


def tidy(labels: np.ndarray, where: str) -> np.ndarray:
    """One label per sample, int64 or unicode."""
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1:
        raise ConfigError(
            f"{where}: labels have shape {labels.shape}; expected one per sample, [n]; if they are "
            "one-hot, store y.argmax(1)"
        )
    if flat.dtype.kind in "US":
        return as_text(flat)
    if flat.dtype.kind not in "biuf":
        raise ConfigError(
            f"{where}: labels are of type {flat.dtype}; expected whole numbers or text"
        )
    if flat.dtype.kind == "f":
        _check_whole(flat, where)
    _check_64_bits(flat, where)
    return flat.astype(np.int64)


def _check_64_bits(labels: np.ndarray, where: str) -> None:
    beyond = np.flatnonzero(np.abs(labels.astype(np.float64)) >= 2.0**63)
    if len(beyond):
        row = beyond[0]
        raise ConfigError(
            f"{where}: the label of row {row} is {labels[row]}; expected numbers of 64 bits"
        )


def stratified(
    labels: np.ndarray, share: float, rng: "np.random.Generator"
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (kept, held out): about `share` of every class is held out, at least one and never all
    of it."""
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
        if np.isnan(labels[row]):
            raise ConfigError(
                f"{where}: the label of row {row} (counted from 0) is nan, which marks a missing "
                "one; expected one for every sample: fill it, or --missing drop leaves such "
                "samples out"
            )
        raise ConfigError(
            f"{where}: the label of row {row} (counted from 0) is {labels[row]}; expected whole "
            "numbers or text, one per class: bin a continuous target first"
        )


def _check_counts(values: np.ndarray, counts: np.ndarray, where: str) -> None:
    if len(values) < 2:
        raise ConfigError(
            f"{where}: every label is {str(values[0])!r}; expected at least two classes"
        )
    if counts.min() < 2:
        rare = str(values[counts.argmin()])
        raise ConfigError(
            f"{where}: class {rare!r} has a single training sample; expected two or more: remove "
            "it or merge it with another class (a continuous target has to be binned)"
        )


def _number_test(labels: np.ndarray, values: np.ndarray, where: str) -> np.ndarray:
    if labels.dtype.kind != values.dtype.kind:
        raise ConfigError(
            f"{where}: labels are {values.dtype} in the train part but {labels.dtype} in the test "
            "part"
        )
    place = {value: number for number, value in enumerate(values.tolist())}
    unseen = np.setdiff1d(labels, values)
    if len(unseen):
        raise ConfigError(
            f"{where}: the test part has class {str(unseen[0])!r}, which no training sample has; "
            f"training classes: {shorten(values.astype(str).tolist())}"
        )
    return np.array([place[label] for label in labels.tolist()], dtype=np.int64)


def shown(name: str) -> str:
    """A name in quotes for a message, cut if it is long, control characters written out."""
    return repr(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}...")


def shorten(names: list[str], most: int = 20) -> str:
    """A list for a message, cut in the middle: labels and owners often stand last."""
    names = [
        name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..." for name in names
    ]
    if len(names) <= most:
        return ", ".join(names)
    half = most // 2
    return (
        f"{', '.join(names[:half])}, ... {len(names) - most} more ..., {', '.join(names[-half:])}"
    )
