"""Named arrays in files of other programs: HDF5, NetCDF, MATLAB, ARFF, .ts, Parquet, Arrow.

Each is opened by the library that is kept for it, as arrays by name with the samples on the first
axis: numbers, or text. A missing number is NaN and a missing text blank, whatever stood for it in
the file.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from . import files
from .extras import library
from .labels import shorten

HDF5 = (".h5", ".hdf5", ".hdf")
NETCDF = (".nc", ".nc4", ".cdf")
MATLAB = (".mat",)
ARFF = (".arff",)
TS = (".ts",)
PARQUET = (".parquet", ".pq")
ARROW = (".feather", ".arrow", ".ipc")
NEW_MATLAB = b"MATLAB 7.3"
"""First bytes of .mat files that are HDF5."""
TRAIN = re.compile(r"(?P<name>.*)_train", re.I)
"""How archives of time series call the part to train on; the other one ends in _test."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NamedArrays:
    """The arrays of a file, and what was decided on the way."""

    arrays: Mapping[str, np.ndarray]
    test: Mapping[str, np.ndarray] | None = None
    """Those of the part to test on, where the format has one."""
    notes: tuple[str, ...] = ()


def opened(path: Path) -> NamedArrays:
    """All arrays of a file. Raises ConfigError for what cannot be read, or would fill memory."""
    files.check_file(path)
    return OPENERS[path.suffix.lower()](path)


def is_known(path: Path) -> bool:
    """Whether a file is of one of these formats, by the ending of its name."""
    return path.suffix.lower() in OPENERS and not path.is_dir()


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Whatever a library raises of a file becomes one error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what libraries say of their own dependencies
            yield
    except (ConfigError, MemoryError):
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(
            f"{path}: not readable as {what} ({why}): write or fetch it again"
        ) from error


def _some(arrays: Mapping[str, np.ndarray], left: Sequence[str], path: Path) -> NamedArrays:
    """The arrays, and a note on what is none. Raises ConfigError if none is."""
    notes = (f"neither numbers nor text, so not used: {shorten(list(left))}",) if left else ()
    if not arrays:
        what = f" ({shorten(list(left))} are neither numbers nor text)" if left else ""
        raise ConfigError(f"{path}: holds no array{what}; expected x and y, or columns")
    return NamedArrays(arrays=arrays, notes=notes)


# --- HDF5, NetCDF, MATLAB -------------------------------------------------------------------------


def _hdf5(path: Path, transposed: bool = False) -> NamedArrays:
    """Every dataset, by its own name, or by its path where two are called alike."""
    h5py = library("h5py", str(path), "arrays")
    with _reading(path, "HDF5"), h5py.File(path, "r") as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if _is_set(item) else None)
        files.check_size(sum(item.size * item.dtype.itemsize for item in found.values()), path)
        names = [name.rpartition("/")[2] for name in found]
        arrays = {}
        left = []
        for name, own in zip(found, names, strict=True):
            array = _hdf5_array(found[name], h5py)
            key = own if names.count(own) == 1 else name
            if array is None or array.ndim == 0:
                left.append(key)
            else:
                arrays[key] = array.T if transposed else array
        return _some(arrays, left, path)


def _is_set(item: Any) -> bool:
    return hasattr(item, "dtype") and hasattr(item, "shape") and item.shape is not None


def _hdf5_array(item: Any, h5py: Any) -> np.ndarray | None:
    """The numbers or text of a dataset; None for anything else."""
    if h5py.check_string_dtype(item.dtype) is not None:
        return np.array(item.asstr(errors="backslashreplace")[...], dtype=np.str_)
    if item.dtype.kind not in "biuf":
        return None
    fill = item.attrs.get("_FillValue")
    return _without_fill(item[...], fill)


def _without_fill(array: np.ndarray, fill: Any) -> np.ndarray:
    """NaN where a number is the one that stands for none."""
    if fill is None or np.size(fill) != 1:
        return array
    missing = array == np.asarray(fill).ravel()[0]
    return np.where(missing, np.nan, array) if missing.any() else array


def _netcdf(path: Path) -> NamedArrays:
    """Every variable that has a dimension, scaled as the file says; NaN where it is masked."""
    netcdf = library("netCDF4", str(path), "arrays")
    with _reading(path, "NetCDF"), netcdf.Dataset(path) as file:
        held = {name: one for name, one in file.variables.items() if one.ndim and one.size}
        files.check_size(sum(8 * one.size for one in held.values()), path)
        arrays = {}
        left = [name for name in file.variables if name not in held]
        for name, variable in held.items():
            array = _netcdf_array(variable, netcdf)
            if array is None:
                left.append(name)
            else:
                arrays[name] = array
        return _some(arrays, left, path)


def _netcdf_array(variable: Any, netcdf: Any) -> np.ndarray | None:
    if variable.dtype is str:
        return np.array(variable[...], dtype=np.str_)
    values = variable[...]
    if values.dtype.kind == "S":
        return np.asarray(netcdf.chartostring(np.ma.filled(values, b"")), dtype=np.str_)
    if values.dtype.kind not in "biuf":
        return None
    if not np.ma.is_masked(values):
        return np.ma.getdata(values)
    # filled first: as an array it would be the raw number that stands for none
    wide = values if values.dtype.kind == "f" else values.astype(np.float64)
    return np.asarray(wide.filled(np.nan))


def _matlab(path: Path) -> NamedArrays:
    """Every variable that is a matrix of numbers or text; vectors have one axis."""
    with path.open("rb") as file:
        is_hdf5 = file.read(len(NEW_MATLAB)) == NEW_MATLAB
    if is_hdf5:
        return NamedArrays(
            arrays={name: _vector(one) for name, one in _hdf5(path, True).arrays.items()}
        )
    io = library("scipy.io", str(path), "arrays")
    with _reading(path, "MATLAB"):
        sizes = io.whosmat(str(path))
        files.check_size(sum(8 * int(np.prod(shape)) for _, shape, _ in sizes), path)
        held = io.loadmat(str(path), chars_as_strings=True)
    named = {name: array for name, array in held.items() if not name.startswith("__")}
    arrays = {}
    for name, array in named.items():
        if isinstance(array, np.ndarray) and array.dtype.kind in "biufU":
            arrays[name] = np.char.rstrip(array) if array.dtype.kind == "U" else _vector(array)
    return _some(arrays, [name for name in named if name not in arrays], path)


def _vector(array: np.ndarray) -> np.ndarray:
    """A row or a column, of which MATLAB has no other vectors, as one axis."""
    return array.ravel() if array.ndim == 2 and 1 in array.shape else array


# --- ARFF and .ts ---------------------------------------------------------------------------------


def _with_test(path: Path, read: Callable[[Path], NamedArrays]) -> NamedArrays:
    """A file, and the test part beside it where its name ends in _TRAIN."""
    train = read(path)
    called = TRAIN.fullmatch(path.stem)
    beside = [] if called is None else sorted(path.parent.iterdir())
    for other in beside:
        wanted = f"{called['name']}_test{path.suffix}".lower() if called else ""
        if other.name.lower() == wanted:
            tested = read(other)
            said = (f"test part from {other.name}",)
            return NamedArrays(arrays=train.arrays, test=tested.arrays, notes=(*train.notes, *said))
    return train


def _arff(path: Path) -> NamedArrays:
    return _with_test(path, _arff_alone)


def _arff_alone(path: Path) -> NamedArrays:
    """Columns of numbers and of text; a relational one, of as many rows and numbers in each, is a
    series a sample."""
    arff = library("scipy.io.arff", str(path), "arrays")
    files.check_size(path.stat().st_size, path)
    try:
        with _reading(path, "ARFF"):
            rows, _ = arff.loadarff(str(path))
    except ConfigError as error:
        if isinstance(error.__cause__, NotImplementedError):
            raise ConfigError(
                f"{path}: has an attribute of text or dates, which scipy does not read: make it "
                f"nominal, or export the file as .csv"
            ) from error
        raise
    return _some({name: _arff_column(rows[name], path) for name in rows.dtype.names}, [], path)


def _arff_column(column: np.ndarray, path: Path) -> np.ndarray:
    if column.dtype.kind == "O":
        cases = [np.stack([np.asarray(one[part]) for part in one.dtype.names]) for one in column]
        return _of_one_shape([case.astype(np.float64) for case in cases], path)
    if column.dtype.kind == "S":
        text = np.char.decode(column, "utf-8", "backslashreplace")
        return np.where(text == "?", "", text)
    return column


def _of_one_shape(cases: Sequence[np.ndarray], path: Path) -> np.ndarray:
    if not cases:
        raise ConfigError(f"{path}: holds no samples; write or fetch it again")
    shapes = sorted({case.shape for case in cases})
    if len(shapes) > 1:
        raise ConfigError(
            f"{path}: series have {list(shapes[0])} to {list(shapes[-1])} numbers; "
            f"expected one length: cut or pad them first"
        )
    return np.stack(cases)


def _ts(path: Path) -> NamedArrays:
    return _with_test(path, _ts_alone)


def _ts_alone(path: Path) -> NamedArrays:
    """Series [cases, steps, channels], and their labels, which are text."""
    loaders = library("aeon.datasets", str(path), "ts")
    files.check_size(path.stat().st_size, path)
    with _reading(path, ".ts"):
        series, labels = loaders.load_from_ts_file(str(path))
    cases = [np.asarray(case, dtype=np.float64) for case in series]
    stacked = np.moveaxis(_of_one_shape(cases, path), 1, 2)
    return NamedArrays(arrays={"x": stacked, "y": np.asarray(labels)})


# --- Parquet, Arrow, Feather ----------------------------------------------------------------------


def _parquet(path: Path) -> NamedArrays:
    parquet = library("pyarrow.parquet", str(path), "tables")
    with _reading(path, "Parquet"):
        facts = parquet.ParquetFile(path).metadata
        groups = (facts.row_group(number) for number in range(facts.num_row_groups))
        files.check_size(sum(group.total_byte_size for group in groups), path)
        return _of_arrow(parquet.read_table(path, partitioning=None), path)


def _arrow(path: Path) -> NamedArrays:
    """Arrow's files, which are Feather's second version, and its streams."""
    arrow = library("pyarrow", str(path), "tables")
    ipc = library("pyarrow.ipc", str(path), "tables")
    with _reading(path, "Arrow"), arrow.memory_map(str(path)) as source:
        files.check_size(path.stat().st_size, path)
        try:
            table = ipc.open_file(source).read_all()
        except arrow.ArrowInvalid:
            source.seek(0)
            table = ipc.open_stream(source).read_all()
        return _of_arrow(table, path)


def _of_arrow(table: Any, path: Path) -> NamedArrays:
    """Columns of numbers, text, times and lists of numbers of one length."""
    twice = [name for name in table.column_names if table.column_names.count(name) > 1]
    if twice:
        raise ConfigError(f"{path}: two columns are called {twice[0]!r}; expected each name once")
    if not table.num_rows:
        raise ConfigError(f"{path}: holds no rows")
    types = library("pyarrow.types", str(path), "tables")
    arrays = {}
    left = []
    for name in table.column_names:
        array = _arrow_column(table.column(name), name, path, types)
        if array is None:
            left.append(name)
        else:
            arrays[name] = array
    return _some(arrays, left, path)


def _arrow_column(column: Any, name: str, path: Path, types: Any) -> np.ndarray | None:
    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if _is_list(kind, types):
        return _arrow_lists(column, name, path, types)
    if types.is_decimal(kind):
        column = column.cast("float64")
        kind = column.type
    if types.is_integer(kind) or types.is_floating(kind):
        if types.is_integer(kind) and column.null_count:
            return np.array(["" if one is None else str(one) for one in column.to_pylist()])
        numbers: np.ndarray = column.to_numpy()
        return numbers
    if types.is_boolean(kind):
        named = {None: "", True: "true", False: "false"}
        return np.array([named[one] for one in column.to_pylist()])
    if types.is_string(kind) or types.is_large_string(kind) or types.is_temporal(kind):
        return np.array([_text(one) for one in column.to_pylist()], dtype=np.str_)
    return None


def _text(value: Any) -> str:
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)


def _is_list(kind: Any, types: Any) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _arrow_lists(column: Any, name: str, path: Path, types: Any) -> np.ndarray | None:
    """Lists of one length, of numbers or of such lists: [rows, steps(, channels)]."""
    pc = library("pyarrow.compute", str(path), "tables")
    sizes: list[int] = []
    rows = len(column)
    flat = column.combine_chunks()
    while _is_list(flat.type, types):
        if flat.null_count:
            row = next(row for row, one in enumerate(column) if not one.is_valid)
            raise ConfigError(f"{path}: row {row} (counted from 0) has no list in {name}: fill it")
        lengths = np.unique(pc.list_value_length(flat).to_numpy(zero_copy_only=False))
        if len(lengths) > 1:
            raise ConfigError(
                f"{path}: lists in {name} are of {lengths[0]:g} to {lengths[-1]:g} numbers; "
                f"expected one length: cut or pad them"
            )
        sizes.append(int(lengths[0]))
        inner = flat.flatten()
        flat = inner
    if not (types.is_integer(flat.type) or types.is_floating(flat.type)):
        return None
    numbers: np.ndarray = flat.to_numpy(zero_copy_only=False)
    return numbers.reshape(rows, *sizes)


# --- the table ------------------------------------------------------------------------------------

OPENERS: Mapping[str, Callable[[Path], NamedArrays]] = {
    **dict.fromkeys(HDF5, _hdf5),
    **dict.fromkeys(NETCDF, _netcdf),
    **dict.fromkeys(MATLAB, _matlab),
    **dict.fromkeys(ARFF, _arff),
    **dict.fromkeys(TS, _ts),
    **dict.fromkeys(PARQUET, _parquet),
    **dict.fromkeys(ARROW, _arrow),
}
"""How the files of each ending are opened."""
