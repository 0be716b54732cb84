"""Datasets from the Hugging Face hub, through their own `datasets` library (an extra)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from . import images, record_files, recordings
from .extras import library
from .labels import is_missing, shorten
from .raw import UNSAMPLED, Part, Raw, SampleSpec, Sampling
from .reading import GUESSED, Reading
from .scaling import Layout
from .series import SERIES

LABELS = ("label", "labels", "y", "target", "fine_label")
TEST_SPLITS = ("test", "validation", "valid")
LISTS = ("List", "LargeList", "Sequence")
NUMBERS = ("int", "uint", "float", "double", "bool")
SOUNDS = ("Audio", "Video")
SAVED = ("dataset_info.json", "dataset_dict.json")
"""Files by which a folder of `save_to_disk` is known."""


def read(name: str, label: str | None, group: str | None, reading: Reading = GUESSED) -> Raw:
    """`name` is a dataset's name on the hub, or NAME:CONFIGURATION."""
    where = f"hub:{name}"
    return of_splits(load(name, where), where, label, group, reading)


def is_saved(path: Path) -> bool:
    """Whether a folder is one that `save_to_disk` of `datasets` wrote."""
    return any((path / name).is_file() for name in SAVED)


def read_folder(path: Path, label: str | None, group: str | None, reading: Reading) -> Raw:
    """A folder that `save_to_disk` wrote. Raises ConfigError."""
    where = str(path)
    return of_splits(load_folder(path), where, label, group, reading)


def read_folder_inputs(path: Path, spec: SampleSpec, reading: Reading) -> np.ndarray:
    """The unlabelled samples of such a folder, from the columns that labelled ones come from."""
    train = load_folder(path)["train"]
    names, _ = _input_names(train, [name for name in LABELS if name in train.features], str(path))
    told = (
        recordings.form_of(spec, str(path)) if _kind(train.features[names[0]]) == "Audio" else None
    )
    return _inputs([train], names, str(path), reading, told).parts[0]


def load_folder(path: Path) -> Mapping[str, Any]:
    """The splits of a folder that `save_to_disk` wrote; one that was not split is to train on."""
    where = str(path)
    datasets = library("datasets", where, "hub")
    try:
        held = datasets.load_from_disk(where)
    except Exception as error:
        raise ConfigError(f"{where}: cannot be read ({_line(error)}): save it again") from error
    splits: Mapping[str, Any] = held if isinstance(held, dict) else {"train": held}
    if "train" not in splits:
        raise ConfigError(f"{where}: no split 'train'; it has {', '.join(splits)}")
    return splits


def of_splits(
    splits: Mapping[str, Any],
    where: str,
    label: str | None,
    group: str | None,
    reading: Reading = GUESSED,
) -> Raw:
    """The dataset of these splits, which are called as on the hub."""
    train = splits["train"]
    label_name = _label_name(train, label, where)
    groups = _groups(train, group, where)
    names, unused = _input_names(train, (label_name, group), where)
    test, hidden = held_out(splits, label_name, where)
    used = [train] if test is None else [train, test]
    read = _inputs(used, names, where, reading)
    inputs = read.parts
    labels = _labels(used, label_name, where)
    read_as = f"inputs from {', '.join(names)}, labels from {label_name}"
    return Raw(
        where=where,
        train=Part(inputs=inputs[0], labels=labels[0], groups=groups),
        test=None if test is None else Part(inputs=inputs[1], labels=labels[1]),
        class_names=_class_names(train.features[label_name], labels[0]),
        layout=read.layout,
        sampling=read.sampling,
        notes=(read_as, *unused, *read.notes, *hidden),
    )


def _groups(split: Any, group: str | None, where: str) -> np.ndarray | None:
    if group is None:
        return None
    column = _column(split, (group,), f"--group {group}", where)
    return np.asarray(values(split, column, where))


def load(name: str, where: str) -> Mapping[str, Any]:
    """Splits by name, `train` among them. Raises ConfigError, whatever the library or the dataset
    raises."""
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"{where} needs Hugging Face datasets: pip install 'distilfleet[hub]'"
        ) from error
    repository, _, configuration = name.partition(":")
    try:
        splits: Mapping[str, Any] = datasets.load_dataset(repository, configuration or None)
    except Exception as error:
        why = (
            _line(error) if error.__cause__ is None else f"{_line(error)}: {_line(error.__cause__)}"
        )
        raise ConfigError(
            f"{where}: cannot be loaded ({why}): check the name, the connection and the files"
        ) from error
    if "train" not in splits:
        raise ConfigError(f"{where}: no split 'train'; it has {', '.join(splits)}")
    return splits


def values(split: Any, name: str, where: str) -> list[Any]:
    """A column. Raises ConfigError where the library cannot decode it."""
    try:
        return list(split[name])
    except Exception as error:
        raise ConfigError(
            f"{where}: column {name} cannot be read ({_line(error)}): fetch the dataset again"
        ) from error


def held_out(
    splits: Mapping[str, Any], label: str | None, where: str
) -> tuple[Any, tuple[str, ...]]:
    """The first split to test on whose labels are there, and a note on one that keeps them to
    itself."""
    found = [name for name in TEST_SPLITS if name in splits]
    hidden = [
        name
        for name in found
        if label in splits[name].features and _keeps(splits[name], str(label), where)
    ]
    notes = (f"split {', '.join(hidden)} not used: it has no labels",) if hidden else ()
    return next((splits[name] for name in found if name not in hidden), None), notes


def class_name(value: Any, named: Sequence[str] | None) -> str:
    """A label as text, by its name where the dataset has one; blank for -1, which stands for none
    there."""
    if value is None or (named and not 0 <= int(value) < len(named)):
        return ""
    return str(named[value] if named else value)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _keeps(split: Any, label: str, where: str) -> bool:
    named = _names(split.features[label])
    return all(is_missing(class_name(value, named)) for value in values(split, label, where))


def _names(feature: Any) -> tuple[str, ...]:
    return tuple(getattr(feature, "names", None) or ())


# --- columns --------------------------------------------------------------------------------------


def _label_name(split: Any, label: str | None, where: str) -> str:
    return _column(split, (label,) if label else LABELS, "the labels, name it with --label", where)


def _column(split: Any, names: Sequence[str], what: str, where: str) -> str:
    found = next((name for name in names if name in split.features), None)
    if found is None:
        raise ConfigError(f"{where}: no column for {what}; it has {', '.join(split.features)}")
    return found


def _input_names(
    split: Any, taken: Sequence[str | None], where: str
) -> tuple[list[str], tuple[str, ...]]:
    """The one picture column, else those of lists of numbers, else those of numbers; and a note on
    the others."""
    free = {name: feature for name, feature in split.features.items() if name not in taken}
    pictures = [name for name, feature in free.items() if _kind(feature) == "Image"]
    lists = [name for name, feature in free.items() if _is_listed(feature)]
    numbers = [name for name, feature in free.items() if _is_numeric(feature)]
    sounds = [name for name, feature in free.items() if _kind(feature) == "Audio"]
    used = pictures[:1] or sounds[:1] or lists or numbers
    if not used:
        raise _no_inputs(split.features, where)
    left = [name for name in free if name not in used]
    return used, (f"columns not used: {shorten(left)}",) if left else ()


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _is_numeric(feature: Any) -> bool:
    return _kind(feature) not in (*LISTS, *SOUNDS) and str(
        getattr(feature, "dtype", "")
    ).startswith(NUMBERS)


def _is_listed(feature: Any) -> bool:
    """Numbers in lists at any depth, or in an array of fixed shape."""
    if _kind(feature).startswith("Array"):
        return str(feature.dtype).startswith(NUMBERS)
    inner = getattr(feature, "feature", None)
    return _kind(feature) in LISTS and (_is_numeric(inner) or _is_listed(inner))


def _no_inputs(features: Mapping[str, Any], where: str) -> ConfigError:
    videos = [name for name, feature in features.items() if _kind(feature) == "Video"]
    advice = f"; {videos[0]} is video: store its frames as pictures" if videos else ""
    return ConfigError(
        f"{where}: no column of pictures, sound or numbers; it has {', '.join(features)}{advice}"
    )


# --- inputs and labels ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitInputs:
    """The inputs of each split, and what they are."""

    parts: list[np.ndarray]
    layout: Layout | None = None
    sampling: Sampling = UNSAMPLED
    notes: tuple[str, ...] = ()


def _inputs(
    splits: Sequence[Any],
    names: list[str],
    where: str,
    reading: Reading = GUESSED,
    told: recordings.RecordingFormat | None = None,
) -> SplitInputs:
    """Inputs of each split, the pictures or sounds of all brought to the format of the first."""
    feature = splits[0].features[names[0]]
    if _kind(feature) == "Audio":
        return _sounds(splits, names[0], where, reading, told)
    if _kind(feature) != "Image":
        make = _lists if _is_listed(feature) else _table
        return SplitInputs(parts=[make(split, names, where) for split in splits])
    pictures = [
        [_opener(picture) for picture in values(split, names[0], where)] for split in splits
    ]
    form, note = images.survey(pictures[0])
    return SplitInputs(parts=[images.stack(each, form) for each in pictures], notes=note)


def _sounds(
    splits: Sequence[Any],
    name: str,
    where: str,
    reading: Reading,
    told: recordings.RecordingFormat | None,
) -> SplitInputs:
    """Waveforms, decoded by soundfile: what `datasets` itself decodes with is no small library."""
    parts = []
    notes: list[str] = []
    for split in splits:
        waves = list(_waves(split, name, where))
        inputs, told, said = recordings.of_waves(waves, reading, where, told)
        parts.append(inputs)
        notes += said if not notes else [f"test part: {note}" for note in said]
    assert told is not None
    return SplitInputs(
        parts=parts,
        layout=SERIES,
        sampling=Sampling(rate_hz=told.rate_hz),
        notes=tuple(notes),
    )


def _waves(split: Any, name: str, where: str) -> Iterator[tuple[np.ndarray, float]]:
    datasets = library("datasets", where, "hub")
    for row, held in enumerate(split.cast_column(name, datasets.Audio(decode=False))[name]):
        place = f"{where}: row {row} (counted from 0) of {name}"
        if held is None or held.get("bytes") is None:
            raise ConfigError(f"{place} holds no sound itself: save the dataset with its sound")
        yield record_files.decoded(held["bytes"], place)


def _opener(picture: Any) -> images.Opener:
    return lambda: nullcontext(picture)


def _table(split: Any, names: list[str], where: str) -> np.ndarray:
    columns = [np.asarray(values(split, name, where)) for name in names]
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1).astype(np.float64)


def _lists(split: Any, names: list[str], where: str) -> np.ndarray:
    """Lists of numbers as series, [n, steps, channels], a channel for each column; other arrays as
    they are."""
    columns = [_listed(values(split, name, where), name, where) for name in names]
    shapes = [column.shape[1:] for column in columns]
    if len(set(shapes)) > 1 or (len(names) > 1 and columns[0].ndim != 2):
        each = ", ".join(f"{name} {list(shape)}" for name, shape in zip(names, shapes, strict=True))
        raise ConfigError(
            f"{where}: columns {each} make no series; expected lists of one length: drop the others"
        )
    return columns[0] if columns[0].ndim > 2 else np.stack(columns, axis=-1)


def _listed(rows: list[Any], name: str, where: str) -> np.ndarray:
    try:
        column = np.asarray(rows)
    except ValueError as error:
        lengths = sorted({len(row) for row in rows if row is not None})
        unlike = (
            f"of {lengths[0]} to {lengths[-1]} numbers" if len(lengths) > 1 else "unlike inside"
        )
        raise ConfigError(
            f"{where}: lists in {name} are {unlike}; expected one length: cut or pad them"
        ) from error
    if column.dtype.kind not in "biuf":
        row = next(
            (row for row, one in enumerate(rows) if np.asarray(one).dtype.kind not in "biuf"), 0
        )
        raise ConfigError(
            f"{where}: row {row} (counted from 0) has no numbers in {name}: fill it or remove the "
            "row"
        )
    return column


def _labels(splits: Sequence[Any], name: str, where: str) -> list[np.ndarray]:
    """Labels as they are stored, or by name where some have none, which are then blank."""
    columns = [values(split, name, where) for split in splits]
    named = _names(splits[0].features[name])
    if not any(class_name(value, named) == "" for column in columns for value in column):
        return [np.asarray(column) for column in columns]
    return [np.array([class_name(value, named) for value in column]) for column in columns]


def _class_names(feature: Any, labels: np.ndarray) -> tuple[str, ...]:
    names = _names(feature)
    return names if labels.dtype.kind in "iu" and len(names) == len(np.unique(labels)) else ()
