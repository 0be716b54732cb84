"""Unlabelled inputs for the server to distil on: a share of the training data, or the user's
own."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError
from ..core.types import Dataset
from . import arrays, files, labelled_text, prepared, series
from .formats import INPUTS, Reader, kinds
from .raw import check_numbers, present
from .reading import GUESSED, Reading
from .scaling import Scaling
from .sources import Source
from .words import Words

KINDS = kinds(INPUTS)
FARTHEST = 1.0
"""How far scaled proxy pixels may leave 0..1 before they must have been stored in another range."""


def hold_out(
    train: Dataset, groups: np.ndarray | None, share: float, rng: "np.random.Generator"
) -> tuple[Dataset, np.ndarray | None, Dataset]:
    """(private, groups of private, proxy): a uniform share of the samples loses its labels and
    leaves the devices.

    Labels play no part in the choice, for a real proxy dataset has none.
    """
    private, proxy = rows(len(train), share, rng)
    held_out = replace(train.take(proxy), labels=None)
    return train.take(private), None if groups is None else groups[private], held_out


def rows(samples: int, share: float, rng: "np.random.Generator") -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the private samples and of the proxy's, each in order. Raises ConfigError
    where none are left."""
    count = round(share * samples) if 0 < share < 1 else 0
    if not 0 < count < samples:
        raise ConfigError(
            f"a proxy share of {share} of {samples} samples; expected a share between 0 and 1 that "
            "leaves samples on both "
            f"sides, such as 0.1"
        )
    order = rng.permutation(samples)
    return np.sort(order[count:]), np.sort(order[:count])


def from_path(path: str, source: Source, reading: Reading = GUESSED) -> Dataset:
    """A user's own proxy samples, scaled as `source` was: .npz with `x`, .csv without a label, a
    folder of pictures, or texts where it is of texts."""
    file = files.named(path)
    ready = _prepared(file, source)
    if ready is not None:
        return _checked(ready, file, source)
    if isinstance(source.scaling, Words):
        column = source.columns[0].name if source.columns else ""
        return source.of_texts(labelled_text.read_unlabelled(file, column, reading))
    raw = _read(file, source, reading)
    if reading.missing != "refuse":
        raw = raw[present(raw)]
    if len(np.atleast_1d(raw)) == 0:
        raise ConfigError(
            f"{file}: no samples; expected unlabelled samples of shape {source.train.shape}"
        )
    check_numbers(raw, str(file))
    _check_shape(raw, file, source)
    inputs = source.scaling.stored_as(raw, source.train.shape).apply(raw)
    if source.scaling.kind == "image":
        _check_range(inputs, file)
    return Dataset(inputs)


def _read(file: Path, source: Source, reading: Reading) -> np.ndarray:
    """The samples as stored; series are cut as the run cut its own."""
    reader = _reader(file, source)
    assert reader.inputs is not None
    raw = reader.inputs(file, source.meant, reading)
    window = source.sampling.window
    if not window or raw.shape[1:] == (window, source.train.shape[0]):
        return raw
    times = reader.times(file, reading) if reader.times else None
    return series.unlabelled(raw, source.sampling, times, str(file))


def _prepared(file: Path, source: Source) -> Dataset | None:
    """A part that `distilfleet split` wrote; None for other files."""
    if file.suffix.lower() != ".npz" or not file.is_file():
        return None
    held = arrays.open_npz(file)
    if not prepared.holds(held):
        return None
    inputs = prepared.dataset(held, str(file)).inputs
    return source.with_tokens(Dataset(inputs), prepared.texts_of(held, str(file)))


def _checked(ready: Dataset, file: Path, source: Source) -> Dataset:
    if ready.shape != source.train.shape:
        raise ConfigError(
            f"{file}: prepared samples have shape {ready.shape}, those of {source.name} "
            f"{source.train.shape}"
        )
    return ready


def _reader(file: Path, source: Source) -> Reader:
    if not file.exists():
        raise ConfigError(f"{file}: no such file or folder; expected unlabelled samples in {KINDS}")
    reader = next((reader for reader in INPUTS if reader.holds(file)), None)
    if reader is None or reader.inputs is None:
        raise ConfigError(
            f"{file}: files that end in {file.suffix.lower()!r} cannot be read; expected {KINDS}"
        )
    if reader.of_columns and not source.columns:
        raise ConfigError(
            f"{file}: a table, but {source.name} is none; expected samples of shape "
            f"{source.train.shape}"
        )
    return reader


def _check_shape(raw: np.ndarray, file: Path, source: Source) -> None:
    assert isinstance(source.scaling, Scaling)
    try:
        shape = source.scaling.stored_as(raw, source.train.shape).shape(raw)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}: samples of shape {source.train.shape}") from error
    if shape != source.train.shape:
        raise ConfigError(
            f"{file}: proxy samples have shape {shape}, training samples {source.train.shape}; "
            "expected the same: resize or select the proxy samples first"
        )


def _check_range(inputs: np.ndarray, file: Path) -> None:
    lowest = float(inputs.min())
    highest = float(inputs.max())
    if lowest < -FARTHEST or highest > 1 + FARTHEST:
        raise ConfigError(
            f"{file}: pixels span {lowest:g} to {highest:g} where training pixels span 0 to 1; "
            "expected the range that the training file has, or uint8"
        )
