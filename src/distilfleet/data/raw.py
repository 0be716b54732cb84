"""What a file reader hands on, before labels are numbered, a test part is made and inputs are
scaled."""

from dataclasses import dataclass

import numpy as np

from ..core.errors import ConfigError
from .scaling import Layout

UNNAMED = "unknown"
"""The owner of samples whose group is blank."""
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureColumn:
    """One feature column of a table: a number, or one 0/1 input for each of its `values`."""

    name: str
    values: tuple[str, ...] = ()
    unit: str = ""
    """What was written behind its numbers, or a currency before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How series were measured and cut; 0 stands for what is not known, or not done."""

    rate_hz: float = 0.0
    """Steps per second."""
    window: int = 0
    """Steps of each sample, where it was cut out of a longer series."""
    hop: int = 0
    """Steps from the start of one to that of the next."""


UNSAMPLED = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSpec:
    """What samples of other data are, so that further ones are read alike."""

    shape: tuple[int, ...]
    """Of one sample, as models see it."""
    columns: tuple[FeatureColumn, ...] = ()
    sampling: Sampling = UNSAMPLED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Samples as they were stored, the sample axis first."""

    inputs: np.ndarray
    """Numbers, or texts as an array of objects [n]."""
    labels: np.ndarray
    groups: np.ndarray | None = None
    times: np.ndarray | None = None
    """When each sample was measured, in seconds, float64; None where nobody says it."""
    rows: np.ndarray | None = None
    """The number that each sample had in the file, where some were left out."""
    spans: np.ndarray | None = None
    """First step of each sample and the one behind its last, int64 [n, 2], of all series laid end
    to end; None where samples were not cut out of longer series."""

    def take(self, rows: np.ndarray) -> "Part":
        """These samples, in the order named."""
        others = {name: getattr(self, name) for name in ("groups", "times", "rows", "spans")}
        taken = {name: array if array is None else array[rows] for name, array in others.items()}
        return Part(inputs=self.inputs[rows], labels=self.labels[rows], **taken)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Raw:
    """A dataset as it was stored."""

    where: str
    """How the user named it; every message starts with it."""
    train: Part
    test: Part | None = None
    class_names: tuple[str, ...] = ()
    """Names in the order of the sorted labels; empty where the labels name themselves."""
    columns: tuple[FeatureColumn, ...] = ()
    """Feature columns of a table, or the one that texts come from; empty for everything else."""
    layout: Layout | None = None
    """What samples are, where the format says so."""
    sampling: Sampling = UNSAMPLED
    notes: tuple[str, ...] = ()


def are_texts(inputs: np.ndarray) -> bool:
    """Whether inputs are texts and no numbers."""
    return inputs.dtype.kind == "O"


def check_part(part: Part, where: str) -> None:
    """Refuse a part that is empty, uneven, neither texts nor numbers, or not finite."""
    check_even(part, where)
    if not are_texts(part.inputs):
        check_numbers(part.inputs, where)


def check_even(part: Part, where: str) -> None:
    """Refuse a part that is empty or uneven."""
    if part.inputs.ndim == 0 or part.labels.ndim == 0 or part.inputs.size == 0:
        raise ConfigError(
            f"{where}: no samples (inputs have shape {part.inputs.shape}); expected at least two "
            "classes"
        )
    _check_length(part.labels, "labels", part.inputs, where)
    if part.groups is not None:
        _check_length(part.groups, "groups", part.inputs, where)


def _is_usable(inputs: np.ndarray) -> np.ndarray:
    """Which numbers a float32 model can hold."""
    usable: np.ndarray = np.isfinite(inputs)
    if inputs.dtype.itemsize > 4:
        usable &= np.abs(inputs) <= FLOAT32_MAX
    return usable


def check_numbers(inputs: np.ndarray, where: str) -> None:
    """Refuse inputs that are no numbers, or that a float32 model cannot hold, naming the first bad
    place."""
    if inputs.dtype.kind not in "biuf":
        raise ConfigError(f"{where}: inputs are of type {inputs.dtype}; expected numbers")
    if inputs.dtype.kind != "f":
        return
    usable = _is_usable(inputs)
    if not usable.all():
        place = tuple(int(axis) for axis in np.argwhere(~usable)[0])
        drop = ", or --missing drop leaves such samples out" if np.isnan(inputs[place]) else ""
        raise ConfigError(
            f"{where}: {_place(place)} is {inputs[place]}; expected finite numbers: remove that "
            f"sample or fill the gap{drop}"
        )


def present(inputs: np.ndarray) -> np.ndarray:
    """Which samples miss no number: bool [n]."""
    if inputs.dtype.kind != "f" or inputs.ndim == 0:
        return np.ones(len(np.atleast_1d(inputs)), dtype=bool)
    whole: np.ndarray = ~np.isnan(inputs.reshape(len(inputs), -1)).any(axis=1)
    return whole


def as_text(values: np.ndarray) -> np.ndarray:
    """Names as a unicode array: bytes decoded, others than UTF-8 as escapes; whole floats without
    their `.0`."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace")
    if values.dtype.kind != "f":
        return values.astype(str)
    known = np.isfinite(values)
    if (np.abs(values[known]) >= 2.0**63).any() or (values[known] != np.round(values[known])).any():
        return values.astype(str)
    return np.where(
        known, np.where(known, values, 0).astype(np.int64).astype(str), values.astype(str)
    )


def _check_length(other: np.ndarray, what: str, inputs: np.ndarray, where: str) -> None:
    if len(other) != len(inputs) or (what == "groups" and other.size != len(other)):
        raise ConfigError(
            f"{where}: {len(inputs)} inputs (shape {inputs.shape}) but {len(other)} {what} (shape "
            f"{other.shape}); expected one of each per sample"
        )


def _place(place: tuple[int, ...]) -> str:
    if len(place) == 2:
        return f"row {place[0]}, column {place[1]} of the inputs (counted from 0)"
    return f"row {place[0]}, position {list(place[1:])} of the inputs (counted from 0)"
