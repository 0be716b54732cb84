"""Where samples come from: one call turns a name or a path into train and test parts, ready for any model."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distilfleet.core.errors import ConfigError
from distilfleet.core.types import Dataset
from distilfleet.data import arrays, hub, idx, images, labels, prepared, scaling, tables
from distilfleet.data.raw import Column, Part, Raw, as_text, check_part
from distilfleet.data.scaling import Scaling

NAMES = "digits, hub:NAME"
KINDS = ".npz, .csv, .tsv, IDX files (the MNIST family), a folder of pictures by class"
UNNAMED = "unknown"
"""The owner of samples whose group is blank."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A dataset, scaled by its train part, and all that treating further samples alike takes."""

    name: str
    train: Dataset
    test: Dataset
    classes: tuple[str, ...]
    groups: np.ndarray | None
    """Owner of each training sample; None if unknown."""
    scaling: Scaling
    columns: tuple[Column, ...]
    """Feature columns of a table file; empty for everything else."""
    notes: tuple[str, ...]
    """What was decided while loading."""


def load(
    data: str, *, holdout: float = 0.2, label: str | None = None, group: str | None = None, seed: int = 0
) -> Source:
    """Load `digits`, `hub:NAME` or a path.

    `label` and `group` name a key or column; `holdout` is the share that becomes the test part, stratified by class,
    where the data has none. Everything wrong with the data is a `ConfigError` that names file, place and remedy.
    """
    if not 0 < holdout < 1:
        raise ConfigError(f"holdout is {holdout}; expected a share between 0 and 1, such as 0.2")
    ready = _prepared(Path(data).expanduser())
    if ready is not None:
        _refuse_names(data, label, group)
        return ready
    raw = _read(data, label, group)
    _check(raw)
    return _finish(raw, holdout, seed)


def _prepared(path: Path) -> Source | None:
    """The server's part that `distilfleet split` wrote, which is held out; None for other files."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return None
    held = arrays.open_npz(path)
    if not prepared.holds(held):
        return None
    part, where = prepared.dataset(held, str(path)), str(path)
    classes, fitted, columns = prepared.treatment(held, where)
    if part.labels is None or part.labels.max(initial=0) >= len(classes):
        raise ConfigError(f"{where}: expected a label for each sample, from 0 to {len(classes) - 1}")
    return Source(
        name=prepared.name_of(held, where),
        train=part,
        test=part,
        classes=classes,
        groups=None,
        scaling=fitted,
        columns=columns,
        notes=(),
    )


def _read(data: str, label: str | None, group: str | None) -> Raw:
    if data.startswith("hub:"):
        return hub.read(data.removeprefix("hub:"), label, group)
    if data == "digits":
        _refuse_names(data, label, group)
        return _digits()
    path = Path(data).expanduser()
    if not path.exists():
        raise _absent(data, path.suffix)
    return _read_folder(path, label, group) if path.is_dir() else _read_file(path, label, group)


def _read_folder(path: Path, label: str | None, group: str | None) -> Raw:
    _refuse_names(str(path), label, group)
    return idx.read(path) if idx.holds(path) else images.read(path)


def _read_file(path: Path, label: str | None, group: str | None) -> Raw:
    ending = path.suffix.lower()
    if ending == ".npz":
        return arrays.read(path, label, group)
    if ending in (".csv", ".tsv") or (ending == ".txt" and label):
        return tables.read(path, label, group)
    if idx.NAME.fullmatch(path.name):
        _refuse_names(str(path), label, group)
        return idx.read(path)
    advice = " (a table in a .txt file: name its label column with --label)" if ending == ".txt" else ""
    raise ConfigError(f"{path}: files that end in {ending!r} cannot be read; expected {KINDS}{advice}")


def _absent(data: str, ending: str) -> ConfigError:
    if ending or "/" in data or "\\" in data:
        return ConfigError(f"{data}: no such file or folder; expected a path to {KINDS}, or a name: {NAMES}")
    return ConfigError(f"no dataset is called {data!r}; there are {NAMES}, or give a path to {KINDS}")


def _refuse_names(data: str, label: str | None, group: str | None) -> None:
    for flag, value in (("--label", label), ("--group", group)):
        if value is not None:
            raise ConfigError(
                f"{data}: {flag} {value} names a key or column, which this data does not have: leave it out"
            )


def _digits() -> Raw:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError("digits come with scikit-learn: pip install 'distilfleet[train]'") from error
    bundled = load_digits()
    return Raw(where="digits", train=Part(inputs=bundled.images, labels=bundled.target))


def _check(raw: Raw) -> None:
    check_part(raw.train, raw.where)
    if raw.test is None:
        return
    check_part(raw.test, f"{raw.where}, test part")
    train_shape, test_shape = raw.train.inputs.shape[1:], raw.test.inputs.shape[1:]
    if train_shape != test_shape:
        raise ConfigError(
            f"{raw.where}: samples have shape {train_shape} in the train part but {test_shape} in the test part; "
            f"expected one shape"
        )


def _finish(raw: Raw, holdout: float, seed: int) -> Source:
    classes = labels.number(raw)
    train, notes = _owned(replace(raw.train, labels=classes.train), raw.notes)
    if raw.test is not None and classes.test is not None:
        test = replace(raw.test, labels=classes.test)
    else:
        train, test = _divide(train, holdout, seed)
        shared = "" if train.groups is None else "; owners of training samples own test samples too"
        notes = (*notes, f"no test part: {100 * holdout:g} % held out, stratified, seed {seed}{shared}")
    fitted = scaling.fit(train.inputs, raw.where)
    return Source(
        name=raw.where,
        train=Dataset(fitted.apply(train.inputs), train.labels),
        test=Dataset(fitted.apply(test.inputs), test.labels),
        classes=classes.names,
        groups=train.groups,
        scaling=fitted,
        columns=raw.columns,
        notes=notes,
    )


def _owned(part: Part, notes: tuple[str, ...]) -> tuple[Part, tuple[str, ...]]:
    """Groups as text, blank ones under one name."""
    if part.groups is None:
        return part, notes
    groups = as_text(part.groups)
    blank = np.char.strip(groups) == ""
    if blank.any():
        notes = (*notes, f"{blank.sum()} samples have a blank group and belong to {UNNAMED!r}")
        groups = np.where(blank, UNNAMED, groups)
    return replace(part, groups=groups), notes


def _divide(part: Part, holdout: float, seed: int) -> tuple[Part, Part]:
    kept, held = labels.stratified(part.labels, holdout, np.random.default_rng(seed))
    return _take(part, kept), _take(part, held)


def _take(part: Part, rows: np.ndarray) -> Part:
    groups = None if part.groups is None else part.groups[rows]
    return Part(inputs=part.inputs[rows], labels=part.labels[rows], groups=groups)
