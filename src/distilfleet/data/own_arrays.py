"""A device's arrays, IDX files and pictures, matched with what a run means by its samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import ConfigError, UnmatchedError
from ..core.types import Dataset
from . import images, labels, series
from .arrays import names_classes
from .labels import shorten, shown
from .naming import Naming, check_names, check_shape, need, numbered, samples_of
from .raw import FeatureColumn, Raw, are_texts, as_text
from .reading import Axis
from .scaling import Layout
from .spec import DataSpec, Mapped
from .units import converted, scaled


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """Samples without names of columns, as they were stored."""

    raw: Raw
    naming: Naming
    listed: tuple[str, ...] = ()
    """Names of more classes than the file has labels of; they are counted from 0."""

    @property
    def where(self) -> str:
        return self.raw.where

    def __len__(self) -> int:
        return len(self.raw.train.inputs)

    @property
    def inputs(self) -> np.ndarray:
        """The inputs as stored."""
        return self.raw.train.inputs

    @property
    def labels(self) -> np.ndarray:
        """Numbers of the file's own classes, sorted by name: what can be said before a run names
        its own."""
        return labels.own_numbers(self.raw.train.labels, self.where)

    def mapped(self, spec: DataSpec | None) -> Mapped:
        spec = need(spec, self.where)
        if are_texts(self.raw.train.inputs) or spec.kind == "words":
            return self._of_texts(spec)
        cut = self._as_in(spec)
        _check_rate(cut.sampling.rate_hz, spec, self.where)
        raw = self._alike(cut.train.inputs, spec)
        spec = replace(spec, channels=self._channels(raw, cut.layout, spec))
        _check_stored(raw, spec, self.where)
        inputs, notes = scaled(raw, spec, self.where, self.naming)
        named = _names(cut, self.listed, spec)
        numbers, kept, skipped = numbered(named, spec, self.naming, self.where)
        notes = (*cut.notes[len(self.raw.notes) :], *notes, *skipped, *self._unused())
        return Mapped(data=Dataset(inputs[kept] if skipped else inputs, numbers), notes=notes)

    def _alike(self, raw: np.ndarray, spec: DataSpec) -> np.ndarray:
        """The samples with the run's columns, or as pictures of its size."""
        if spec.columns:
            check_names(self.naming, spec.columns)
            raw = self._by_name(raw, spec)
        if spec.kind == "image":
            raw = _pictures(raw, spec, self.naming, self.where)
        return raw

    def _of_texts(self, spec: DataSpec) -> Mapped:
        """Texts as the run's devices take them."""
        texts = self.raw.train.inputs
        if not are_texts(texts) or spec.kind != "words":
            here = "texts" if are_texts(texts) else "numbers"
            differs = f"{here}; the run's samples are {samples_of(spec.kind)}"
            raise UnmatchedError(f"{self.where} holds {differs}", mismatch=differs)
        numbers, kept, skipped = numbered(
            _names(self.raw, self.listed, spec), spec, self.naming, self.where
        )
        data = Dataset(spec.words.apply(texts[kept]), numbers)
        return Mapped(data=data, notes=(*self.raw.notes, *skipped, *self._unused()))

    def _unused(self) -> list[str]:
        test = self.raw.test
        return [] if test is None else [f"its test part of {len(test.labels)} samples is left out"]

    def _as_in(self, spec: DataSpec) -> Raw:
        """The samples as they were stored, or cut as those of the run."""
        train = self.raw.train
        is_cut = train.inputs.ndim == 3 and spec.sampling.window in train.inputs.shape[1:]
        if not spec.sampling.window or train.spans is not None or is_cut:
            return self.raw
        return series.windowed(self.raw, series.as_in_run(self.naming.reading, spec.sampling))

    def _channels(self, raw: np.ndarray, layout: Layout | None, spec: DataSpec) -> Axis:
        """The layout that the owner, the format or the run says; of pictures whichever gives the
        run's shape."""
        usual = spec.channels if layout is None else layout.channels
        settled = self.naming.reading.channels_axis if layout is not series.SERIES else None
        if settled or raw.ndim != len(spec.shape) + 1:
            return settled or usual
        return replace(spec, channels=usual).scaling.stored_as(raw, spec.shape).channels

    def _by_name(self, raw: np.ndarray, spec: DataSpec) -> np.ndarray:
        """Columns of numbers in the order of the run's, by the names that the owner gives them;
        channels likewise."""
        if raw.ndim == 3 and not self.naming.order:
            return raw
        _check_numbers(spec.columns, self.where)
        order = [self.naming.columns.get(name, name) for name in self.naming.order]
        names = [column.name for column in spec.columns]
        if raw.ndim not in (2, 3) or len(order) != raw.shape[-1] or set(names) - set(order):
            without_names = f"samples of shape {list(raw.shape[1:])} without names"
            differs = f"{without_names}; the run's inputs are {shorten(names)}"
            raise UnmatchedError(
                f"{self.where} holds {differs}: say with --columns what each of yours is, in order",
                mismatch=differs,
            )
        places = [order.index(name) for name in names]
        return converted(raw[..., places].astype(np.float64), spec.columns, self.naming)


def _check_numbers(columns: Sequence[FeatureColumn], where: str) -> None:
    """Raises UnmatchedError for a column of text, which arrays do not have."""
    for column in columns:
        if column.values:
            differs = f"numbers without names; column {shown(column.name)} of the run is text"
            raise UnmatchedError(f"{where} holds {differs}", mismatch=differs)


def _check_rate(rate_hz: float, spec: DataSpec, where: str) -> None:
    if not series.agree(rate_hz, spec.sampling.rate_hz):
        differs = f"{rate_hz:g} steps a second; the run's have {spec.sampling.rate_hz:g}"
        raise UnmatchedError(
            f"{where} holds series of {differs}: resample them first",
            mismatch=f"series of {differs}",
        )


def _check_stored(raw: np.ndarray, spec: DataSpec, where: str) -> None:
    try:
        shape = spec.scaling.shape(raw)
    except ConfigError:
        stored = f"samples of shape {list(raw.shape[1:])}"
        differs = f"{stored}; the run's are {samples_of(spec.kind)} of {list(spec.shape)}"
        raise UnmatchedError(f"{where} holds {differs}", mismatch=differs) from None
    check_shape(shape, spec, where)


def _pictures(raw: np.ndarray, spec: DataSpec, naming: Naming, where: str) -> np.ndarray:
    """Bytes stay bytes where the run's pixels are bytes or 0 to 1; grey pictures fit a run in
    colour."""
    channels, height, width = spec.shape
    if raw.ndim == 3 and channels == 3 and raw.dtype == np.uint8:
        raw = np.repeat(raw[..., np.newaxis], 3, axis=3)
    bytes_of_pictures = raw.dtype == np.uint8 and (raw.ndim == 3 or raw.shape[-1] == 3)
    if naming.fit_pictures and bytes_of_pictures and channels in (1, 3):
        raw = images.fitted(raw, images.Format(width=width, height=height, grey=channels == 1))
    if raw.dtype == np.uint8 and (spec.offset, spec.factor) != ((0.0,), (1.0,)):
        raw = raw.astype(np.float64)
    return raw


def _names(raw: Raw, listed: tuple[str, ...], spec: DataSpec) -> np.ndarray:
    """A name for each label; of numbers, the names that go with them in the file, else in the run's
    own data."""
    stored = labels.tidy(raw.train.labels, raw.where)
    if stored.dtype.kind == "U":
        return stored
    mine = _by_file(stored, raw, listed)
    theirs = _by_run(stored, spec)
    is_guessed = listed and not raw.class_names
    if is_guessed and mine is not None and theirs is not None:
        _check_agreed(stored, mine, theirs, raw.where)
    found = theirs if mine is None else mine
    return stored.astype(str) if found is None else found


def _check_agreed(stored: np.ndarray, mine: np.ndarray, theirs: np.ndarray, where: str) -> None:
    differ = np.flatnonzero(mine != theirs)
    if len(differ):
        first = differ[0]
        raise UnmatchedError(
            f"{where}: label {stored[first]} is {str(mine[first])!r} here and "
            f"{str(theirs[first])!r} in the run: store the names of the classes as labels",
            mismatch="its numbers of classes have other names than the run's",
        )


def _by_file(stored: np.ndarray, raw: Raw, listed: tuple[str, ...]) -> np.ndarray | None:
    """Names of a file belong to its labels in sorted order; where there are more of them, they are
    counted from 0."""
    if raw.class_names:
        ordered: np.ndarray = np.array(raw.class_names)[np.unique(stored, return_inverse=True)[1]]
        return ordered
    if not listed:
        return None
    if stored.min() < 0 or stored.max() >= len(listed):
        raise ConfigError(
            f"{raw.where}: labels from {stored.min()} to {stored.max()}, and {len(listed)} names "
            "of classes: which is whose cannot be told; store the names as labels"
        )
    counted: np.ndarray = np.array(listed)[stored]
    return counted


def _by_run(stored: np.ndarray, spec: DataSpec) -> np.ndarray | None:
    named = dict(zip(spec.stored, spec.classes, strict=False))
    labels = stored.astype(str).tolist()
    return np.array([named[label] for label in labels]) if set(labels) <= named.keys() else None


def listed(held: Mapping[str, np.ndarray], raw: Raw) -> tuple[str, ...]:
    """The one list of names of classes in a file that has not a label for each of them."""
    lists = [
        as_text(array)
        for key, array in held.items()
        if array.dtype.kind in "US"
        and array.ndim == 1
        and len(array) not in (0, len(raw.train.labels))
        if names_classes(key)
    ]
    return tuple(lists[0].tolist()) if len(lists) == 1 and not raw.class_names else ()
