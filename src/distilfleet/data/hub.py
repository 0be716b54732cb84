"""Datasets from the Hugging Face hub, through their own `datasets` library (an extra)."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from distilfleet.core.errors import ConfigError
from distilfleet.data import images
from distilfleet.data.raw import Part, Raw

LABELS = ("label", "labels", "y", "target", "fine_label")
TEST_SPLITS = ("test", "validation", "valid")


def read(name: str, label: str | None, group: str | None) -> Raw:
    """`name` is a dataset's name on the hub, or NAME:CONFIGURATION."""
    where = f"hub:{name}"
    splits = _load(name, where)
    if "train" not in splits:
        raise ConfigError(f"{where}: no split 'train'; it has {', '.join(splits)}")
    train = splits["train"]
    label_name = _label_name(train, label, where)
    groups = None if group is None else np.asarray(list(train[_column(train, (group,), f"--group {group}", where)]))
    names = _input_names(train, (label_name, group), where)
    test_name = next((split for split in TEST_SPLITS if split in splits), None)
    used = [train] if test_name is None else [train, splits[test_name]]
    inputs, notes = _inputs(used, names, where)
    labels = [np.asarray(list(split[label_name])) for split in used]
    return Raw(
        where=where,
        train=Part(inputs=inputs[0], labels=labels[0], groups=groups),
        test=None if test_name is None else Part(inputs=inputs[1], labels=labels[1]),
        class_names=_class_names(train.features[label_name], labels[0]),
        notes=(f"inputs from {', '.join(names)}, labels from {label_name}", *notes),
    )


def _load(name: str, where: str) -> Mapping[str, Any]:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(f"{where} needs Hugging Face datasets: pip install 'distilfleet[hub]'") from error
    repository, _, configuration = name.partition(":")
    try:
        splits: Mapping[str, Any] = datasets.load_dataset(repository, configuration or None)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{where}: cannot be loaded ({error}): check the name and the connection") from error
    return splits


def _label_name(split: Any, label: str | None, where: str) -> str:
    return _column(split, (label,) if label else LABELS, "the labels, name it with --label", where)


def _column(split: Any, names: Sequence[str], what: str, where: str) -> str:
    found = next((name for name in names if name in split.features), None)
    if found is None:
        raise ConfigError(f"{where}: no column for {what}; it has {', '.join(split.features)}")
    return found


def _input_names(split: Any, taken: Sequence[str | None], where: str) -> list[str]:
    """The one picture column, else every column of numbers."""
    free = {name: feature for name, feature in split.features.items() if name not in taken}
    pictures = [name for name, feature in free.items() if type(feature).__name__ == "Image"]
    numbers = [name for name, feature in free.items() if _is_numeric(feature)]
    if not pictures and not numbers:
        raise ConfigError(f"{where}: no column of pictures or numbers; it has {', '.join(split.features)}")
    return pictures[:1] or numbers


def _is_numeric(feature: Any) -> bool:
    return str(getattr(feature, "dtype", "")).startswith(("int", "uint", "float", "double", "bool"))


def _inputs(splits: Sequence[Any], names: list[str], where: str) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Inputs of each split, the pictures of all brought to the format of the first."""
    if type(splits[0].features[names[0]]).__name__ != "Image":
        return [_table(split, names, where) for split in splits], ()
    pictures = [[_opener(picture) for picture in split[names[0]]] for split in splits]
    form, note = images.survey(pictures[0])
    return [images.stack(each, form) for each in pictures], note


def _opener(picture: Any) -> images.Opener:
    return lambda: nullcontext(picture)


def _table(split: Any, names: list[str], where: str) -> np.ndarray:
    columns = [np.asarray(list(split[name])) for name in names]
    if len(columns) == 1:
        return columns[0]
    if any(column.ndim != 1 for column in columns):
        raise ConfigError(f"{where}: columns {', '.join(names)} do not make one table; expected one number in each")
    return np.stack(columns, axis=1).astype(np.float64)


def _class_names(feature: Any, labels: np.ndarray) -> tuple[str, ...]:
    names = tuple(getattr(feature, "names", None) or ())
    return names if len(names) == len(np.unique(labels)) else ()
