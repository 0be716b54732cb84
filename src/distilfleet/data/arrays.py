"""Datasets in NumPy's .npz files: which array is what is told by its key, or by the user."""

import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..core.errors import ConfigError
from . import files
from .labels import shorten, shown
from .raw import Part, Raw, as_text

INPUTS = ("x", "inputs", "data", "images", "features")
LABELS = ("y", "label", "labels", "target", "targets")
GROUPS = ("group", "groups")
OF_CLASSES = ("class", "label", "target")
"""What keys of lists of class names have in them."""
OF_OTHERS = ("feature", "column", "channel", "sensor", "unit", "axis", "axes", "input")
"""What keys of lists of other names have in them."""

SIGNS = re.compile(r"[\W_]+")

NPY = b"\x93NUMPY"
HEADERS: Mapping[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, Any]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

_Arrays = Mapping[str, np.ndarray]


def read(path: Path, label: str | None, group: str | None) -> Raw:
    """A labelled dataset, with a test part if the file has one."""
    return of(open_npz(path), str(path), label, group)


def of(arrays: _Arrays, where: str, label: str | None, group: str | None) -> Raw:
    """The labelled dataset that arrays make, by their names."""
    if _find(arrays, _of("train", INPUTS)) is None:
        return _without_parts(arrays, where, label, group)
    return _with_parts(arrays, where, label, group)


def read_inputs(path: Path) -> np.ndarray:
    """The inputs of an unlabelled file: key `x` or one like it, or the only array."""
    return inputs_of(open_npz(path), str(path))


def has_inputs(arrays: _Arrays) -> bool:
    """Whether one of the arrays is called as samples are, and is more than a column."""
    key = _find(arrays, (*INPUTS, *_of("train", INPUTS)))
    return key is not None and arrays[key].ndim > 1


def inputs_of(arrays: _Arrays, where: str) -> np.ndarray:
    """The unlabelled samples among arrays, by their names."""
    key = _find(arrays, INPUTS) or _find(arrays, _of("train", INPUTS))
    if key is None and len(arrays) == 1:
        key = next(iter(arrays))
    if key is None:
        raise ConfigError(
            f"{where}: no key 'x'; found {_list(arrays)}: name the array of samples 'x'"
        )
    return arrays[key]


def open_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file; anything damaged, pickled or too large for this machine is refused."""
    files.check_file(path)
    try:
        # opened here: np.load leaves its own file open when the archive is damaged
        with path.open("rb") as file:
            if file.read(len(NPY)) == NPY:
                raise ConfigError(
                    f"{path}: a single array, not an .npz file: save it with numpy.savez(path, "
                    "x=...)"
                )
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            _check_members(archive.zip, path)
            arrays = {key: archive[key] for key in archive.files}
    except ConfigError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        raise _damaged(path, error) from error
    if not arrays:
        raise ConfigError(
            f"{path}: the file holds no array; expected x_train and y_train, or x and y"
        )
    return arrays


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Each is an array of the size that it announces, before any is held in memory."""
    files.check_size(sum(member.file_size for member in archive.infolist()), path)
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            raise ConfigError(
                f"{path}: holds {shown(member.filename)}; expected arrays alone, as numpy.savez "
                "writes them"
            )
        with archive.open(member) as file:
            announced = _announced(file)
            there = member.file_size - file.tell()
        if announced is not None and announced != there:
            raise ConfigError(
                f"{path}: {shown(member.filename)} announces {announced} bytes and holds {there}: "
                "it is truncated or damaged; write or fetch it again"
            )


def _announced(file: IO[bytes]) -> int | None:
    """Bytes of an array by its header, which is read; None where it holds objects, or names that
    are no ASCII."""
    read = HEADERS.get(np.lib.format.read_magic(file))
    if read is None:
        return None
    shape, _, kind = read(file)
    return None if kind.hasobject else math.prod(shape) * kind.itemsize


def _damaged(path: Path, error: Exception) -> ConfigError:
    if "allow_pickle" in str(error) and "max_header_size" not in str(error):
        return ConfigError(
            f"{path}: holds Python objects, which could run code and are never loaded; expected "
            "plain arrays: store numbers, and text with .astype(str)"
        )
    why = str(error).partition("\n")[0]
    return ConfigError(
        f"{path}: not a readable .npz file ({why}): it may be truncated; write or fetch it again"
    )


def _with_parts(arrays: _Arrays, where: str, label: str | None, group: str | None) -> Raw:
    label_names = _of("train", (label,) if label else LABELS)
    group_names = _of("train", (group,) if group else GROUPS)
    inputs_key = _need(arrays, _of("train", INPUTS), where, "inputs")
    label_key = _need(arrays, label_names, where, _flagged("labels", label, "--label"))
    group_key = _group_key(arrays, group_names, where, group)
    train = Part(
        inputs=arrays[inputs_key],
        labels=arrays[label_key],
        groups=arrays[group_key] if group_key else None,
    )
    test = _test_part(arrays, label, where)
    return _raw(arrays, where, train, test, (inputs_key, label_key, group_key))


def _raw(
    arrays: _Arrays,
    where: str,
    train: Part,
    test: Part | None,
    keys: tuple[str | None, ...],
    used: str = "",
) -> Raw:
    """The dataset with names of classes, and a note on arrays that are not used."""
    names_key = _names_key(arrays, train, set(keys))
    notes = [used] if used else []
    classes: tuple[str, ...] = ()
    if names_key:
        classes = tuple(as_text(arrays[names_key]).tolist())
        notes.append(f"class names from key {names_key!r}")
    rest = _unused(arrays, [train] if test is None else [train, test], names_key)
    if rest:
        notes.append(f"not used: {_list(rest)}")
    return Raw(where=where, train=train, test=test, class_names=classes, notes=tuple(notes))


def _unused(arrays: _Arrays, parts: Sequence[Part], names_key: str | None) -> _Arrays:
    """The arrays that neither are in a part nor name classes."""
    taken = {id(array) for part in parts for array in (part.inputs, part.labels, part.groups)}
    return {
        key: array for key, array in arrays.items() if id(array) not in taken and key != names_key
    }


def _test_part(arrays: _Arrays, label: str | None, where: str) -> Part | None:
    names = (label, label.replace("train", "test")) if label else LABELS
    inputs_key = _find(arrays, _of("test", INPUTS))
    label_key = _find(arrays, [name for name in _of("test", names) if "train" not in name.lower()])
    if inputs_key is None and label_key is None:
        return None
    if inputs_key is None or label_key is None:
        found, missing = (inputs_key, "y_test") if inputs_key else (label_key, "x_test")
        raise ConfigError(
            f"{where}: key {found!r} has no counterpart; expected {missing!r} too, or neither"
        )
    return Part(inputs=arrays[inputs_key], labels=arrays[label_key])


def _without_parts(arrays: _Arrays, where: str, label: str | None, group: str | None) -> Raw:
    label_key = _need(
        arrays, (label,) if label else LABELS, where, _flagged("labels", label, "--label")
    )
    group_key = _group_key(arrays, (group,) if group else GROUPS, where, group)
    inputs_key = _inputs_key(
        arrays, {label_key, group_key}, len(np.atleast_1d(arrays[label_key])), where
    )
    train = Part(
        inputs=arrays[inputs_key],
        labels=arrays[label_key],
        groups=arrays[group_key] if group_key else None,
    )
    used = f"inputs from key {inputs_key!r}, labels from key {label_key!r}"
    keys = (inputs_key, label_key, group_key)
    return _raw(arrays, where, train, _test_part(arrays, label, where), keys, used)


def _inputs_key(arrays: _Arrays, taken: set[str | None], count: int, where: str) -> str:
    named = _find(arrays, INPUTS)
    if named is not None and named not in taken:
        return named
    numeric = {
        key: array
        for key, array in arrays.items()
        if key not in taken and array.dtype.kind in "biuf"
    }
    fitting = [key for key, array in numeric.items() if array.ndim >= 2 and len(array) == count]
    if len(fitting) == 1:
        return fitting[0]
    raise ConfigError(
        f"{where}: {'no array' if not fitting else 'more than one array'} could be the inputs of "
        f"{count} labels; found {_list(arrays)}: name the array of samples 'x'"
    )


def _names_key(arrays: _Arrays, train: Part, taken: set[str | None]) -> str | None:
    """The key of a text array with exactly one entry per class; of several, the one that is called
    so."""
    count = 0 if train.labels.dtype.kind in "USO" else len(np.unique(train.labels))
    fitting = [
        key
        for key, array in arrays.items()
        if key not in taken
        and array.dtype.kind in "US"
        and array.shape == (count,)
        and count != len(train.labels)
    ]
    others = [key for key in fitting if not any(word in key.lower() for word in OF_OTHERS)]
    found = list(filter(names_classes, fitting)) or others
    return found[0] if len(found) == 1 else None


def names_classes(key: str) -> bool:
    """Whether a list of this key is called as one of names of classes is."""
    words = key.lower()
    return any(word in words for word in OF_CLASSES) or (
        "names" in words and not any(word in words for word in OF_OTHERS)
    )


def _group_key(
    arrays: _Arrays, names: tuple[str, ...], where: str, group: str | None
) -> str | None:
    return (
        _need(arrays, names, where, _flagged("groups", group, "--group"))
        if group
        else _find(arrays, names)
    )


def _need(arrays: _Arrays, names: tuple[str, ...], where: str, what: str) -> str:
    key = _find(arrays, names)
    if key is None:
        raise ConfigError(
            f"{where}: no key for the {what} (looked for {', '.join(names)}); found {_list(arrays)}"
        )
    return key


def _find(arrays: _Arrays, names: tuple[str, ...] | list[str]) -> str | None:
    """The key that equals one of `names`: exactly if possible, else in any case and with other
    signs between words."""
    lowered = {key.lower(): key for key in arrays}
    joined = {_joined(key): key for key in arrays}
    for name in names:
        found = name if name in arrays else lowered.get(name.lower()) or joined.get(_joined(name))
        if found is not None:
            return found
    return None


def _joined(key: str) -> str:
    """`x_train`, `X-Train` and `xtrain` alike."""
    return SIGNS.sub("", key.lower())


def _of(part: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """How a key of one part may be spelled: as given if it names its part, `x_train`, `train_x`."""
    spelled = [name for name in names if part in name.lower()]
    return (*spelled, *(f"{name}_{part}" for name in names), *(f"{part}_{name}" for name in names))


def _flagged(what: str, given: str | None, flag: str) -> str:
    return f"{what} ({flag} {given})" if given else f"{what}: name it with {flag}"


def _list(arrays: _Arrays) -> str:
    return shorten([f"{key} {list(array.shape)}" for key, array in arrays.items()])
