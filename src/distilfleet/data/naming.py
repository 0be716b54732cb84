"""What a device's owner says about the names in a file, and how names of classes become a run's
numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from ..core.errors import ConfigError, UnmatchedError
from .labels import shorten, shown
from .raw import FeatureColumn
from .reading import GUESSED, Reading
from .spec import DataSpec

SAMPLES = {
    "table": "rows of a table",
    "series": "series",
    "image": "images",
    "text": "windows of tokens",
    "words": "texts",
}
"""What messages call samples, by their kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What a device's owner says about the names and units of the file."""

    label: str | None = None
    """Column or key of the labels."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The file's name of a column -> the run's."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """The file's name of a class -> the run's."""
    values: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The run's name of a column, the file's name of a category -> the run's."""
    order: tuple[str, ...] = ()
    """Names of the inputs, in order, where either the file or the run has none."""
    units: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The run's name of a column -> factor and offset from the file's unit to the run's."""
    any_range: bool = False
    """Take values far from the run's as they are."""
    skip_unknown: bool = False
    """Leave samples out whose class or category the run does not know."""
    fit_pictures: bool = False
    """Bring pictures to the run's size and colours."""
    reading: Reading = GUESSED
    """How the file is to be read."""


def need(spec: DataSpec | None, where: str) -> DataSpec:
    """What the run means. Raises ConfigError where a run does not say it."""
    if spec is None:
        raise ConfigError(
            f"the run does not say which classes and inputs it means, so {where} cannot be matched"
        )
    return spec


def samples_of(kind: str) -> str:
    """What messages call samples of this kind."""
    return SAMPLES[kind]


def check_shape(shape: tuple[int, ...], spec: DataSpec, where: str) -> None:
    """Raises UnmatchedError for samples that have not the shape of the run's."""
    if shape != spec.shape:
        fit = (
            ": --fit-pictures brings pictures to the run's size and colours"
            if spec.kind == "image"
            else ""
        )
        differs = f"samples of shape {list(shape)}; the run's have {list(spec.shape)}"
        raise UnmatchedError(f"{where} holds {differs}{fit}", mismatch=differs)


def check_some(count: int, where: str) -> None:
    """Raises UnmatchedError where no sample is left."""
    if not count:
        mismatch = "no sample is left that the run knows"
        raise UnmatchedError(f"{where}: {mismatch}; a device needs at least one", mismatch=mismatch)


def numbered(
    named: np.ndarray, spec: DataSpec, naming: Naming, where: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The run's numbers of these classes, the rows that have them, and a note if others are left
    out."""
    distinct, inverse = np.unique(named, return_inverse=True)
    found = np.array(
        [_class(naming.classes.get(name, name), spec.classes) for name in distinct.tolist()],
        np.int64,
    )
    numbers = found[inverse]
    known = numbers >= 0
    if known.all():
        return numbers, np.arange(len(named)), ()
    notes = unknown(named[~known].tolist(), spec.classes, naming, where)
    return numbers[known], np.flatnonzero(known), tuple(notes)


def _class(name: str, classes: Sequence[str]) -> int:
    """The number of a class, -1 if the run has none of that name. Whole numbers may be spelled
    otherwise."""
    if name in classes:
        return classes.index(name)
    value = _whole(name)
    alike = [
        number
        for number, known in enumerate(classes)
        if value is not None and _whole(known) == value
    ]
    return alike[0] if len(alike) == 1 else -1


def _whole(name: str) -> float | None:
    try:
        value = float(name)
    except ValueError:
        return None
    return value if value.is_integer() else None


def _check_known(flag: str, names: Iterable[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise UnmatchedError(
                f"{flag} {name}: no such column in the run; it has {shorten(known)}",
                mismatch=f"{flag} names a column that the run has not",
            )


def check_names(naming: Naming, columns: Sequence[FeatureColumn]) -> None:
    """Raises ConfigError for a flag that names no column of the run, which may be a slip of the
    pen."""
    known = [column.name for column in columns]
    _check_known("--units", naming.units, known)
    _check_known("--rename-value", [column for column, _ in naming.values], known)
    texts = [column.name for column in columns if column.values and column.name in naming.units]
    if texts:
        raise UnmatchedError(
            f"--units {texts[0]}: this column of the run is text, which has no unit: leave it out",
            mismatch="--units names a column of the run that is text",
        )


def nearest(name: str, names: Sequence[str]) -> str:
    """The name that is spelled nearly so; a word that stands for one where none is."""
    folded = {} if _whole(name) is not None else {one.casefold(): one for one in names}
    return next((folded[one] for one in get_close_matches(name.casefold(), folded, 1)), "RUN")


def unknown(
    strange: Sequence[str], known: Sequence[str], naming: Naming, where: str, column: str = ""
) -> list[str]:
    """A note for samples that are left out. Raises ConfigError unless the owner lets them go."""
    counts = Counter(strange)
    counted = ", ".join(f"{shown(name)} ({count} samples)" for name, count in counts.most_common(5))
    what = f"column {shown(column)} has the value" if column else "labels have the class"
    if naming.skip_unknown:
        return [f"{what} {counted}, which the run does not know: left out"]
    pair = f"{strange[0]}={nearest(strange[0], known)}"
    remedy = f"--rename-value {column}:{pair}" if column else f"--rename-class {pair}"
    raise UnmatchedError(
        f"{where}: {what} {counted}, which is unknown to the run; it has {shorten(list(known))}. "
        f"Map it with {remedy}, or leave such samples out with --skip-unknown",
        mismatch=f"{what.replace(' the ', ' a ')} that is unknown to the run, which the device's "
        "log names",
    )
