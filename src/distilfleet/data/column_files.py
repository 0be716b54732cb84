"""Tables, whatever file holds them: text whose first line names the columns, or arrays by name.

A file of arrays is a table where all of its arrays are columns; where one of them holds samples
([n, steps], [n, steps, channels], pictures), it is read as an .npz file is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError
from . import array_files, arrays
from .array_files import NamedArrays
from .labels import shorten
from .numbers import TypedCells
from .raw import Raw
from .reading import Separator
from .sheets import Sheet, open_sheet

ROW = "row {} (counted from 0)"


def is_tabular(path: Path) -> bool:
    """Whether a file of arrays is a table. Raises ConfigError for one that cannot be read."""
    return array_files.is_known(path) and are_columns(array_files.opened(path))


def opened(path: Path, separator: Separator | None = None) -> Sheet:
    """The cells of a table. Raises ConfigError with the line, or row."""
    if not array_files.is_known(path):
        return open_sheet(path, separator)
    return sheet_of(array_files.opened(path), str(path))


def sheet_of(found: NamedArrays, where: str) -> Sheet:
    """Arrays as the columns of a table; those of another length than most are left out."""
    lengths = {name: len(array) for name, array in found.arrays.items()}
    rows = max(lengths.values())
    uneven = [name for name, length in lengths.items() if length != rows]
    notes = [*found.notes]
    if uneven:
        notes.append(f"of another length than {rows}, so not used: {shorten(uneven)}")
    if found.test is not None:
        notes.append("its test part is left out")
    cells = {
        name: TypedCells(array) if array.dtype.kind in "iuf" else array.astype(str).tolist()
        for name, array in found.arrays.items()
        if name not in uneven
    }
    return Sheet(where=where, cells=cells, lines=range(rows), notes=tuple(notes), place_words=ROW)


def read_arrays(found: NamedArrays, where: str, label: str | None, group: str | None) -> Raw:
    """Arrays of which one holds samples, as in an .npz file. Raises ConfigError."""
    train, stacked = _stacked(found.arrays, label, group)
    held = dict(train)
    if found.test is not None:
        test, _ = _stacked(found.test, label, group)
        parts = {"train": _under_x(train), "test": _under_x(test)}
        held = {
            f"{name}_{part}": array
            for part, named in parts.items()
            for name, array in named.items()
        }
    raw = arrays.of(held, where, label, group)
    return replace(raw, notes=(*found.notes, *stacked, *raw.notes))


def read_array_inputs(found: NamedArrays, where: str) -> np.ndarray:
    """The samples among arrays without labels."""
    held, _ = _stacked(found.arrays, None, None)
    return arrays.inputs_of(held, where)


def are_columns(found: NamedArrays) -> bool:
    """Whether no array holds samples of more than one number."""
    held = found.arrays
    return not arrays.has_inputs(held) and all(array.ndim == 1 for array in held.values())


def _under_x(held: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The same with the one array of samples under the name that it has in parts."""
    samples = [name for name, array in held.items() if array.ndim > 1]
    if arrays.has_inputs(held) or len(samples) != 1:
        return held
    return {"x" if name == samples[0] else name: array for name, array in held.items()}


def _stacked(
    held: Mapping[str, np.ndarray], label: str | None, group: str | None
) -> tuple[Mapping[str, np.ndarray], tuple[str, ...]]:
    """Several arrays of one shape, [n, steps], as the channels of series, and a note on it."""
    lists = [name for name, one in held.items() if one.ndim == 2 and one.dtype.kind in "biuf"]
    lists = [name for name in lists if name not in (label, group)]
    if arrays.has_inputs(held) or len(lists) < 2:
        return held, ()
    _check_alike(held, lists)
    rest = {name: array for name, array in held.items() if name not in lists}
    channels = np.stack([held[name] for name in lists], axis=-1)
    return {**rest, "x": channels}, (f"channels from {shorten(lists)}",)


def _check_alike(held: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    shapes = {held[name].shape for name in names}
    if len(shapes) > 1:
        each = ", ".join(f"{name} {list(held[name].shape[1:])}" for name in names)
        raise ConfigError(f"{each} make no series; expected one length: drop the others")
