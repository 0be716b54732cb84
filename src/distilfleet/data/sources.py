"""Where samples come from: one call turns a name or a path into train and test parts, ready for any
model."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError, did_you_mean
from ..core.types import Dataset
from . import (
    arrays,
    column_files,
    files,
    hub,
    labelled_text,
    labels,
    prepared,
    recordings,
    scaling,
    series,
    tables,
    words,
)
from .digest import of_arrays
from .formats import OF_ARRAYS, SAMPLES, Reader, kinds
from .raw import (
    UNNAMED,
    UNSAMPLED,
    FeatureColumn,
    Part,
    Raw,
    SampleSpec,
    Sampling,
    are_texts,
    as_text,
    check_part,
    present,
)
from .reading import GUESSED, Missing, Reading
from .scaling import PICTURES, Scaling
from .sheets import named
from .spec import DataSpec, figures
from .units import fits
from .words import Words

NAMES = "digits, hub:NAME"
KINDS = kinds(SAMPLES)
AUDIBLE_HZ = 4000.0
"""Sampling rate from which on nets that see spectra are the first choice."""


Tokenise = Callable[[Sequence[str]], np.ndarray]
"""Makes int32 [n, tokens] of texts, padded with `PADDING`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A dataset, scaled by its train part, and all that treating further samples alike takes."""

    name: str
    train: Dataset
    test: Dataset
    classes: tuple[str, ...]
    groups: np.ndarray | None
    """Owner of each training sample; None if unknown."""
    owners: frozenset[str] = frozenset()
    """All that the data names, also those whose samples are all in the test part."""
    scaling: Scaling | Words
    """What makes inputs of stored samples."""
    columns: tuple[FeatureColumn, ...]
    """Feature columns of a table file, or the one that texts come from; empty for everything
    else."""
    notes: tuple[str, ...]
    """What was decided while loading."""
    digest: str
    """Equal for equal data, as they are stored."""
    stored: tuple[str, ...] = ()
    """The labels of the classes as they are stored, where those are numbers that have a name
    allowed."""
    sampling: Sampling = UNSAMPLED
    """How series were measured and cut."""
    tokenise: Tokenise | None = None
    """What makes inputs for the server's large model of texts, where it takes other ones than
    devices."""
    is_tokenised: bool = False
    """Whether the inputs are those of the large model's tokenizer, which no device makes."""
    train_texts: np.ndarray | None = None
    test_texts: np.ndarray | None = None
    """The texts as they were stored, which a server that is given its parts apart must have for its
    large model."""

    @property
    def is_text(self) -> bool:
        """Whether samples are texts, and inputs the numbers of their words."""
        return isinstance(self.scaling, Words)

    def of_texts(self, texts: np.ndarray) -> Dataset:
        """Further texts without labels, as both sides take them."""
        return self.with_tokens(Dataset(self.scaling.apply(texts)), texts)

    def for_large(self, tokenise: Tokenise) -> "Source":
        """The same with inputs for a large model that makes its own of texts, if these are some."""
        with_tokenizer = replace(self, tokenise=tokenise)
        return replace(
            with_tokenizer,
            train=with_tokenizer.with_tokens(self.train, self.train_texts),
            test=with_tokenizer.with_tokens(self.test, self.test_texts),
        )

    def with_tokens(self, data: Dataset, texts: np.ndarray | None) -> Dataset:
        """The samples with the large model's own inputs, where it makes such of their texts."""
        if self.tokenise is None or texts is None:
            return data
        return replace(data, large_inputs=self.tokenise(texts.tolist()))

    @property
    def is_sound(self) -> bool:
        """Whether samples are waveforms of one channel, sampled fast enough to be heard."""
        is_wave = self.scaling.kind == "series" and self.train.shape[0] == 1
        return is_wave and self.sampling.rate_hz >= AUDIBLE_HZ

    @property
    def meant(self) -> SampleSpec:
        """What further samples are to be like."""
        return SampleSpec(shape=self.train.shape, columns=self.columns, sampling=self.sampling)

    def spec(self, label: str | None) -> DataSpec:
        """What devices are told, so that they map their own files onto it."""
        return DataSpec(
            shape=self.train.shape,
            classes=self.classes,
            stored=self.stored,
            columns=self.columns,
            label=label or "",
            sampling=self.sampling,
            **({"kind": "text"} if self.is_tokenised else figures(self.scaling)),
        )


def load(
    data: str,
    *,
    holdout: float = 0.2,
    label: str | None = None,
    group: str | None = None,
    seed: int = 0,
    reading: Reading = GUESSED,
    test: str | None = None,
) -> Source:
    """Load `digits`, `hub:NAME` or a path.

    `label` and `group` name a key or column; `holdout` is the share that becomes the test part,
    stratified by class, where neither the data nor `test`, a path, has one. Everything wrong with
    the data is a `ConfigError` that names file, place and remedy."""
    if not 0 < holdout < 1:
        raise ConfigError(f"holdout is {holdout}; expected a share between 0 and 1, such as 0.2")
    ready = _prepared(files.named(data))
    if ready is not None:
        _refuse_names(data, label, group)
        _refuse_settled(data, reading)
        if test is not None:
            raise ConfigError(
                f"{data}: --test {test}: the server's part is a test part already: leave it out"
            )
        return ready
    raw = read(data, label=label, group=group, reading=reading)
    if test is not None:
        raw = _with_test(raw, test, label, reading)
    return _finish(raw, reading, holdout, seed)


def read(
    data: str, *, label: str | None = None, group: str | None = None, reading: Reading = GUESSED
) -> Raw:
    """Samples, labels and owners as they were stored and under their own names, checked; not
    numbered, not scaled."""
    return _completed(_read(data, label, group, reading), reading)


def _completed(raw: Raw, reading: Reading) -> Raw:
    """Cut into windows and without gaps, as asked; checked."""
    if reading.window is not None and are_texts(raw.train.inputs):
        raise ConfigError(f"{raw.where}: --window cuts series, and these are texts: leave it out")
    if reading.window is not None and raw.train.spans is None:
        raw = series.windowed(raw, reading)
    if reading.missing != "refuse":
        raw = _without_gaps(raw, reading.missing)
    elif raw.layout is None and not are_texts(raw.train.inputs):  # a folder may be called none
        labels.check_present(raw)
    _check(raw)
    return raw


def _with_test(raw: Raw, test: str, label: str | None, reading: Reading) -> Raw:
    """The data with a test part from a file of its own. Raises ConfigError where it is of another
    kind."""
    if raw.test is not None:
        raise ConfigError(
            f"{raw.where}: --test {test}: the data have a test part already: leave it out"
        )
    other = _read_alike(raw, test, label, reading)
    if are_texts(other.train.inputs) != are_texts(raw.train.inputs):
        kinds = ["texts" if are_texts(one.train.inputs) else "numbers" for one in (other, raw)]
        raise ConfigError(f"{test}: holds {kinds[0]}; expected {kinds[1]}, as {raw.where} does")
    names = [column.name for column in raw.columns]
    if not are_texts(raw.train.inputs) and [column.name for column in other.columns] != names:
        raise ConfigError(
            f"{test}: its inputs have other names than those of {raw.where}: "
            f"{labels.shorten(names)}"
        )
    part = replace(other.train, labels=_labels_as(raw, other), groups=None)
    aside = (
        []
        if other.test is None
        else [f"its own test part of {len(other.test.labels)} samples is left out"]
    )
    notes = [f"test part from {test}", *(f"{test}: {note}" for note in (*other.notes, *aside))]
    whole = replace(raw, test=part, notes=(*raw.notes, *notes))
    _check(whole)
    return whole


def _read_alike(raw: Raw, test: str, label: str | None, reading: Reading) -> Raw:
    """The test file, read as the data were: a table by the names of their columns."""
    path = files.named(test)
    reader = reader_of(path) if path.exists() else None
    if reader is not None and reader.is_recorded:
        form = recordings.form_of(_spec_of(raw), test)
        name = None if path.is_dir() else label
        return _completed(recordings.read(path, name, None, reading, form), reading)
    if reader is not None and not reader.has_names:
        label = None
    if are_texts(raw.train.inputs):
        reading = replace(reading, text=_same_column(raw, path, reading))
    if (
        raw.columns
        and not are_texts(raw.train.inputs)
        and path.is_file()
        and tables.is_table(path, label)
    ):
        return _completed(tables.read(path, label, None, reading, raw.columns), reading)
    return read(test, label=label, reading=reading)


def _spec_of(raw: Raw) -> SampleSpec:
    """What further samples are to be like: the shape is [channels, steps] of series alone."""
    shape = raw.train.inputs.shape[1:]
    steps_last = shape[::-1] if len(shape) == 2 else shape
    return SampleSpec(shape=steps_last, columns=raw.columns, sampling=raw.sampling)


def _same_column(raw: Raw, path: Path, reading: Reading) -> str | None:
    """The column of texts that the data have, where a file has it too; else it is looked for."""
    name = raw.columns[0].name if raw.columns else reading.text
    if name is None or path.is_dir():
        return None
    if not tables.is_table(path, None):
        return name
    cells = column_files.opened(path, reading.separator).cells
    return name if any(named(cells, name)) else None


def _labels_as(raw: Raw, other: Raw) -> np.ndarray:
    """The labels of another file as the data store them, by the names of classes where both have
    such."""
    if not raw.class_names or not other.class_names:
        return other.train.labels
    stored = np.unique(labels.tidy(raw.train.labels, raw.where))
    of_name = dict(zip(raw.class_names, stored, strict=True))
    unknown = [name for name in other.class_names if name not in of_name]
    if unknown:
        known = labels.shorten(list(raw.class_names))
        raise ConfigError(
            f"{other.where}: class {unknown[0]!r}, which {raw.where} has not; it has {known}"
        )
    theirs = np.unique(labels.tidy(other.train.labels, other.where), return_inverse=True)[1]
    return np.array([of_name[name] for name in other.class_names])[theirs]


def _prepared(path: Path) -> Source | None:
    """The server's part that `distilfleet split` wrote, which is held out; None for other files."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return None
    held = arrays.open_npz(path)
    if not prepared.holds(held):
        return None
    part = prepared.dataset(held, str(path))
    where = str(path)
    if str(held.get(prepared.WHOSE, prepared.SERVER)) == prepared.DEVICE:
        raise ConfigError(f"{where}: the part of a device; the server's is server.npz")
    classes, fitted, columns = prepared.treatment(held, where)
    if part.labels is None or part.labels.max(initial=0) >= len(classes):
        raise ConfigError(
            f"{where}: expected a label for each sample, from 0 to {len(classes) - 1}"
        )
    texts = prepared.texts_of(held, where)
    return Source(
        name=prepared.name_of(held, where),
        train=part,
        test=part,
        classes=classes,
        groups=None,
        scaling=fitted,
        columns=columns,
        sampling=prepared.sampling_of(held, where),
        notes=(),
        digest=of_arrays(
            [part.inputs, part.labels, *prepared.figures_of(fitted), np.array(classes)]
        ),
        train_texts=texts,
        test_texts=texts,
    )


def _read(data: str, label: str | None, group: str | None, reading: Reading) -> Raw:
    if data.startswith("hub:"):
        _refuse_settled(data, reading, OF_ARRAYS)
        return hub.read(data.removeprefix("hub:"), label, group, reading)
    if data == "digits":
        _refuse_names(data, label, group)
        _refuse_settled(data, reading)
        return _digits()
    path = files.named(data)
    if not path.exists():
        raise _absent(data, path.suffix)
    reader = reader_of(path)
    if reader is None or reader.samples is None:
        raise ConfigError(
            f"{path}: files that end in {path.suffix.lower()!r} cannot be read; expected {KINDS}"
        )
    if not reader.has_names:
        _refuse_names(str(path), label, group)
    _refuse_settled(str(path), reading, reader.settles)
    return reader.samples(path, label, group, reading)


def reader_of(path: Path) -> Reader | None:
    """The reader of labelled samples in a file or folder."""
    return next((reader for reader in SAMPLES if reader.holds(path)), None)


def _absent(data: str, ending: str) -> ConfigError:
    if ending or "/" in data or "\\" in data:
        return ConfigError(
            f"{data}: no such file or folder; expected a path to {KINDS}, or a name: {NAMES}"
        )
    meant = did_you_mean(data, ["digits"])
    return ConfigError(
        f"no dataset is called {data!r}{meant}; there are {NAMES}, or give a path to {KINDS}"
    )


def _refuse_names(data: str, label: str | None, group: str | None) -> None:
    for flag, value in (("--label", label), ("--group", group)):
        if value is not None:
            raise ConfigError(
                f"{data}: {flag} {value} names a key or column, which this data does not have: "
                "leave it out"
            )


def _refuse_settled(data: str, reading: Reading, allowed: Collection[str] = ()) -> None:
    """Refuse flags that settle what this data leaves no doubt about."""
    flag = reading.settled(allowed)
    if flag is not None:
        raise ConfigError(
            f"{data}: {flag} settles how another kind of file is read: leave it out here"
        )


def _digits() -> Raw:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError(
            "digits come with scikit-learn: pip install 'distilfleet[train]'"
        ) from error
    bundled = load_digits()
    train = Part(inputs=bundled.images, labels=bundled.target)
    return Raw(where="digits", train=train, layout=PICTURES, notes=files.same_named("digits"))


def _check(raw: Raw) -> None:
    check_part(raw.train, raw.where)
    if raw.test is None:
        return
    check_part(raw.test, f"{raw.where}, test part")
    train_shape = raw.train.inputs.shape[1:]
    test_shape = raw.test.inputs.shape[1:]
    if train_shape != test_shape:
        raise ConfigError(
            f"{raw.where}: samples have shape {train_shape} in the train part but {test_shape} in "
            "the test part; expected one shape"
        )


def _without_gaps(raw: Raw, missing: Missing) -> Raw:
    """Only samples that have all numbers and, unless its absence is a class, a label."""
    train, note = _whole(raw.train, missing)
    test, more = (None, ()) if raw.test is None else _whole(raw.test, missing)
    return replace(
        raw,
        train=train,
        test=test,
        notes=(*raw.notes, *note, *(f"test part: {one}" for one in more)),
    )


def _whole(part: Part, missing: Missing) -> tuple[Part, tuple[str, ...]]:
    if len(np.atleast_1d(part.labels)) != len(np.atleast_1d(part.inputs)):
        return part, ()
    kept = present(part.inputs) & (labels.present(part.labels) if missing == "drop" else True)
    left_out = len(kept) - int(kept.sum())
    note = f"{left_out} of {len(kept)} samples left out: no number or no label"
    return (part.take(np.flatnonzero(kept)), (note,)) if left_out else (part, ())


def _finish(raw: Raw, reading: Reading, holdout: float, seed: int) -> Source:
    classes = labels.number(raw)
    train, of_owners = _owned(replace(raw.train, labels=classes.train))
    owners = frozenset(() if train.groups is None else train.groups.tolist())
    notes = [*raw.notes, *classes.notes, *of_owners]
    if raw.test is not None and classes.test is not None:
        test = replace(raw.test, labels=classes.test)
    else:
        train, test, note = _divide(train, holdout, seed, raw.where)
        shared = "" if train.groups is None else "; owners of training samples own test samples too"
        notes.append(f"no test part: {note}{shared}")
    is_text = are_texts(train.inputs)
    fitted, of_form = _form(raw, train, reading)
    inputs = fitted.apply(train.inputs)
    tested = fitted.apply(test.inputs)
    if isinstance(fitted, Scaling) and train.inputs.dtype == np.uint8 != test.inputs.dtype:
        _check_range(tested, fitted, raw.where)
    if inputs.min() == inputs.max():
        notes.append(
            "all inputs of all training samples are one number: nothing can be learnt from them"
        )
    return Source(
        name=raw.where,
        train=Dataset(inputs, train.labels),
        test=Dataset(tested, test.labels),
        classes=classes.names,
        groups=train.groups,
        owners=owners,
        scaling=fitted,
        columns=raw.columns,
        notes=(*notes, *of_form),
        digest=_digest(raw),
        stored=classes.stored if raw.class_names else (),
        sampling=raw.sampling,
        train_texts=train.inputs if is_text else None,
        test_texts=test.inputs if is_text else None,
    )


def _form(raw: Raw, train: Part, reading: Reading) -> tuple[Scaling | Words, tuple[str, ...]]:
    """What makes inputs of the training samples, and notes on it."""
    if not are_texts(train.inputs):
        layout = raw.layout or scaling.layout(raw.train.inputs, raw.where, reading)
        return scaling.fit(train.inputs, layout), layout.notes
    form = words.fit(train.inputs)
    cut = form.cut(train.inputs)
    longer = f"; {cut} of {len(train.inputs)} texts have more and are cut for them" if cut else ""
    return form, (
        f"devices take up to {form.length} hashed words and parts of words of a text{longer}",
    )


def _check_range(tested: np.ndarray, fitted: Scaling, where: str) -> None:
    """Pixels to test on that are no bytes, where those to train on are, must be in the same
    range."""
    if fitted.kind == "image" and not fits(tested, fitted):
        raise ConfigError(
            f"{where}: pixels of the test part come to {tested.min():g} to {tested.max():g} where "
            "those of the train part are 0 to 1: store both in one range"
        )


def _digest(raw: Raw) -> str:
    parts = [raw.train] if raw.test is None else [raw.train, raw.test]
    classes = np.array(raw.class_names, np.str_)
    columns = np.array([column.name for column in raw.columns], np.str_)
    samples = [
        array for part in parts for array in (*_plain(part.inputs), part.labels, part.groups)
    ]
    return of_arrays([classes, columns, *samples])


def _plain(inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """Inputs as arrays of numbers, for a digest."""
    return labelled_text.packed(inputs) if are_texts(inputs) else (inputs,)


def _owned(part: Part) -> tuple[Part, list[str]]:
    """Groups as text, blank ones under one name, and notes on them."""
    if part.groups is None:
        return part, []
    notes = []
    groups = as_text(part.groups).ravel()
    blank = np.array([labels.is_missing(group) for group in groups.tolist()])
    if blank.any():
        notes.append(f"{blank.sum()} samples have a blank group and belong to {UNNAMED!r}")
        groups = np.where(blank, UNNAMED, groups)
    notes += [
        f"owners {' and '.join(map(labels.shown, same))} differ only in how they are written"
        for same in labels.alike(sorted(set(groups.tolist())))
    ]
    return replace(part, groups=groups), notes


def _divide(part: Part, holdout: float, seed: int, where: str) -> tuple[Part, Part, str]:
    """What is kept to train on, what is held out, and how, in words."""
    if part.spans is not None:
        kept, held = series.latest(part, holdout, where)
        between = len(part.labels) - len(kept) - len(held)
        aside = f"; {between} that share steps with those left out" if between else ""
        how = f"the last {100 * holdout:g} % of windows of each class and owner held out{aside}"
        return part.take(kept), part.take(held), how
    kept, held = labels.stratified(part.labels, holdout, np.random.default_rng(seed))
    return (
        part.take(kept),
        part.take(held),
        f"{100 * holdout:g} % held out, stratified, seed {seed}",
    )
