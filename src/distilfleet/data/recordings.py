"""Folders of recordings by class, tables of their paths, and single ones with annotations.

Sound is mixed to one channel, brought to one sampling rate and, unless it is cut into windows, to
one length. Signals (EDF, WFDB) keep their channels and are never resampled. The class of a
recording is its folder or what the table says; where neither does, its own annotations give each
window a class, and every recording is an owner.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError
from . import images, series
from .extras import library
from .files import check_fits
from .folders import below, class_name, parts
from .labels import labelled, shorten, shown
from .raw import FeatureColumn, Part, Raw, SampleSpec, Sampling
from .reading import GUESSED, Reading
from .record_files import Header, Recorder, is_recording, recorder
from .series import NO_CLASS, SERIES, Recording
from .sheets import Sheet, named, open_sheet

PATHS = ("path", "file", "filename", "file_name", "filepath", "audio", "sound", "recording", "wav")
"""What a table calls its column of paths."""
GLANCED_BYTES = 65536
"""Of a table, to see whether it lists recordings."""
MOST_RATIO = 10_000
"""Largest whole number in the ratio of two sampling rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A recording, and what is known of it beside its content."""

    file: Path
    label: str = ""
    """Blank where its own annotations say it."""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingFormat:
    """What all recordings of a dataset are brought to."""

    is_sound: bool
    rate_hz: float
    channels: tuple[FeatureColumn, ...]
    steps: int
    """The length of each, where they are not cut into windows."""

    @property
    def names(self) -> tuple[str, ...]:
        """The channels to read, by name."""
        return tuple(channel.name for channel in self.channels)


def holds(path: Path) -> bool:
    """Whether a path is a recording, a folder that has more of them than pictures, or a table that
    lists them."""
    if not path.is_dir():
        return is_recording(path) or lists(path)
    found = below(path)
    return sum(map(is_recording, found)) > sum(map(images.is_picture, found))


def lists(path: Path) -> bool:
    """Whether a .csv or .tsv file has a column of paths of recordings, by its first rows."""
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(GLANCED_BYTES).decode("utf-8", "replace").lower()
    names, _, rest = head.partition("\n")
    cells = [cell.strip("\"' \r\t") for row in rest.splitlines()[:5] for cell in _fields(row)]
    called = {name.strip("\"' \r\t\ufeff") for name in _fields(names)}
    return bool(called & set(PATHS)) and any(is_recording(Path(cell)) for cell in cells if cell)


def _fields(row: str) -> list[str]:
    for mark in ";|":
        row = row.replace(mark, ",")
    return row.replace("\t", ",").split(",")


def read(
    path: Path,
    label: str | None,
    group: str | None,
    reading: Reading = GUESSED,
    form: RecordingFormat | None = None,
) -> Raw:
    """Labelled recordings, whole or in windows; `form` is that of other data, if any."""
    train, test, notes = _listed(path, label, group, reading)
    form, of_form = _survey([*train, *test], reading, str(path), form)
    sampling = Sampling(rate_hz=form.rate_hz)
    if reading.window is not None:
        sampling = series.sampling_of(reading, form.rate_hz, str(path))
    made, of_train = _part(train, form, sampling, str(path))
    tested, of_test = _part(test, form, sampling, str(path)) if test else (None, ())
    said = (*notes, *of_form, *of_train, *(f"test part: {note}" for note in of_test))
    return Raw(
        where=str(path),
        train=made,
        test=tested,
        columns=form.channels,
        layout=SERIES,
        sampling=sampling,
        notes=said,
    )


def read_inputs(path: Path, meant: SampleSpec, reading: Reading) -> np.ndarray:
    """Unlabelled recordings, [n, steps, channels], brought to the form of other data."""
    reading = as_in_run(reading, meant.sampling)
    form = form_of(meant, str(path))
    found = [path] if path.is_file() else [file for file in below(path) if is_recording(file)]
    if path.is_file() and not is_recording(path):
        found = [one.file for one in _of_table(path, None, None, reading, needs_label=False)[0]]
    form, _ = _survey([Listing(file=file) for file in found], reading, str(path), form)
    if not reading.window:
        return _whole([Listing(file=file) for file in found], form, str(path))[0]
    sampling = series.sampling_of(reading, form.rate_hz, str(path))
    recordings = (
        Recording(values=values, classes=np.broadcast_to(np.int64(0), len(values)))
        for values in (_values(file, form) for file in found)
    )
    return series.cut(recordings, sampling, np.zeros(1, np.int64), str(path))[0].inputs


def count(path: Path, label: str | None, reading: Reading) -> int:
    """How many labelled recordings there are. Raises ConfigError where they cannot be listed."""
    train, _, _ = _listed(path, label, None, reading)
    return len(train)


# --- which files ----------------------------------------------------------------------------------


def _listed(
    path: Path, label: str | None, group: str | None, reading: Reading
) -> tuple[list[Listing], list[Listing], tuple[str, ...]]:
    """The recordings to train on, those to test on, and notes."""
    if path.is_file() and not is_recording(path):
        found, notes = _of_table(path, label, group, reading)
        return found, [], notes
    for flag, name in (("--label", label), ("--group", group)):
        if name is not None:
            raise ConfigError(
                f"{path}: {flag} {name} names a column, and recordings have none: leave it out, or "
                f"list them in a table with columns path, label and group"
            )
    if path.is_file():
        return [Listing(file=path)], [], ()
    if any(is_recording(file) for file in path.iterdir()):
        return _flat(path)
    there = parts(path, is_recording)
    train = _by_class(there.train)
    test = _by_class(there.test) if there.test else []
    return train, test, (*there.notes, *_left(there.train))


def _flat(folder: Path) -> tuple[list[Listing], list[Listing], tuple[str, ...]]:
    """A folder of annotated recordings, each of an owner that is called as its file."""
    found = [file for file in below(folder) if is_recording(file)]
    if recorder(found[0]).is_sound:
        raise ConfigError(
            f"{folder}: recordings lie in it directly, so nothing says their classes; expected "
            f"{folder.name}/CLASS/*{found[0].suffix}, or a table with columns path and label"
        )
    owner = f"each of {len(found)} recordings is an owner, by the name of its file"
    return [Listing(file=file, owner=file.stem) for file in found], [], (owner,)


def _by_class(folder: Path) -> list[Listing]:
    found = [
        Listing(file=file, label=class_name(place))
        for place in sorted(folder.iterdir())
        if place.is_dir() and not place.name.startswith(".")
        for file in below(place)
        if is_recording(file)
    ]
    if not found:
        raise ConfigError(f"{folder}: no recordings in class folders; expected one folder a class")
    return found


def _left(folder: Path) -> Iterator[str]:
    """A note on files that are no recordings; those that belong to one are left unsaid."""
    files = below(folder)
    recorded = {file.with_suffix("") for file in files if is_recording(file)}
    others = [one for one in files if not is_recording(one) and one.with_suffix("") not in recorded]
    if others:
        endings = sorted({file.suffix.lower() or file.name for file in others})
        yield f"{len(others)} files that are no recordings left aside: {', '.join(endings)}"


def _of_table(
    path: Path, label: str | None, group: str | None, reading: Reading, needs_label: bool = True
) -> tuple[list[Listing], tuple[str, ...]]:
    """The recordings that a table lists, and notes."""
    sheet = open_sheet(path, reading.separator)
    path_name = next(filter(None, (_column(sheet, one) for one in PATHS)))
    label_name = _named(sheet, label or "label", "--label", label is not None or needs_label)
    group_name = _named(sheet, group or "group", "--group", group is not None)
    rows = list(range(len(sheet.lines)))
    notes = [*sheet.notes, f"recordings from column {shown(path_name)}"]
    if label_name is not None and needs_label:
        rows = labelled(sheet.cells[label_name], reading.missing, sheet.place, label_name)
        if len(rows) < len(sheet.lines):
            notes.append(f"{len(sheet.lines) - len(rows)} rows left out: no label")
    listed = [
        Listing(
            file=_inside(path, sheet.cells[path_name][row], sheet.lines[row]),
            label=sheet.cells[label_name][row] if label_name else "",
            owner=sheet.cells[group_name][row] if group_name else "",
        )
        for row in rows
    ]
    others = [name for name in sheet.cells if name not in (path_name, label_name, group_name)]
    if others:
        notes.append(f"columns not used: {shorten(others)}")
    return listed, tuple(notes)


def _named(sheet: Sheet, name: str, flag: str, is_needed: bool) -> str | None:
    found = _column(sheet, name)
    if found is None and is_needed:
        raise ConfigError(
            f"{sheet.where}: no column {shown(name)}; columns: {shorten(list(sheet.cells))}: "
            f"name it with {flag}"
        )
    return found


def _column(sheet: Sheet, name: str) -> str | None:
    return next(named(sheet.cells, name), None)


def _inside(table: Path, cell: str, line: int) -> Path:
    """The file that a cell names. Raises ConfigError for one that is not below the table's folder,
    is not there, or is no recording."""
    root = table.parent.resolve()
    file = table.parent / cell
    if not file.resolve().is_relative_to(root):
        raise ConfigError(
            f"{table}: line {line} names {shown(cell)}, which is not in the table's folder: put "
            f"the recordings beside it"
        )
    if not file.is_file():
        raise ConfigError(f"{table}: line {line} names {shown(cell)}, which is no file here")
    if not is_recording(file):
        raise ConfigError(f"{table}: line {line} names {shown(cell)}, which is no recording")
    return file


# --- one form for all -----------------------------------------------------------------------------


def _survey(
    listed: Sequence[Listing], reading: Reading, where: str, told: RecordingFormat | None = None
) -> tuple[RecordingFormat, tuple[str, ...]]:
    """One rate, one set of channels and one length, by the headers, or as it is told; and what is
    done to some. Raises ConfigError."""
    if not listed:
        raise ConfigError(f"{where}: no recordings")
    kinds = {recorder(one.file).is_sound for one in listed}
    if len(kinds) > 1:
        raise ConfigError(f"{where}: holds sound and signals (EDF, WFDB): name one kind alone")
    is_sound = kinds.pop()
    if told is not None and told.is_sound != is_sound:
        here, there = ("sound", "signals") if is_sound else ("signals", "sound")
        raise ConfigError(f"{where}: recordings are {here}, where {there} is expected")
    facts = [recorder(one.file).facts(one.file) for one in listed]
    notes = Counter(note for one in facts for note in one.notes)
    said = [f"{count} of {len(facts)} recordings: {note}" for note, count in notes.items()]
    if is_sound:
        form, more = _sound_form(facts, reading, told)
    else:
        form, more = _signal_form(listed, facts, reading, told)
    return form, (*said, *more)


def _sound_form(
    facts: Sequence[Header], reading: Reading, told: RecordingFormat | None
) -> tuple[RecordingFormat, list[str]]:
    rates = Counter(one.rate_hz for one in facts)
    usual_hz = max(rates, key=lambda rate: (rates[rate], rate))
    rate_hz = told.rate_hz if told is not None else reading.rate_hz or usual_hz
    lengths = Counter(resampled_steps(one.steps, one.rate_hz, rate_hz) for one in facts)
    steps = told.steps if told is not None else _usual_length(lengths)
    form = RecordingFormat(is_sound=True, rate_hz=rate_hz, channels=(), steps=steps)
    notes = []
    others = [rate for rate in sorted(rates) if rate != rate_hz]
    if others:
        count = sum(rates[rate] for rate in others)
        before = ", ".join(f"{rate:g}" for rate in others)
        notes.append(
            f"{count} of {len(facts)} recordings resampled to {rate_hz:g} Hz (from {before})"
        )
    if reading.window is None:
        notes.append(_length_said(lengths, form))
    return form, notes


def of_waves(
    waves: Sequence[tuple[np.ndarray, float]],
    reading: Reading,
    where: str,
    told: RecordingFormat | None = None,
) -> tuple[np.ndarray, RecordingFormat, list[str]]:
    """Sound that was decoded elsewhere, [steps] and a rate each, as [n, steps, 1] of one rate and
    length; the form it was brought to, and notes."""
    headers = [Header(steps=len(wave), rate_hz=rate_hz) for wave, rate_hz in waves]
    form, notes = _sound_form(headers, reading, told)
    check_fits(4 * len(waves) * form.steps, f"{where}: its sound holds", "give a part of it")
    inputs = np.zeros((len(waves), form.steps, 1), dtype=np.float32)
    for row, (wave, rate_hz) in enumerate(waves):
        values = resampled(wave[:, np.newaxis], rate_hz, form.rate_hz, where)[: form.steps]
        inputs[row, : len(values)] = values
    return inputs, form, notes


def _usual_length(lengths: Counter[int]) -> int:
    """The length of half of the recordings and more; else that of the longest, so that nothing is
    lost."""
    usual, count = max(lengths.items(), key=lambda item: (item[1], item[0]))
    return usual if 2 * count >= lengths.total() else max(lengths)


def _length_said(lengths: Counter[int], form: RecordingFormat) -> str:
    padded = sum(count for length, count in lengths.items() if length < form.steps)
    cut = sum(count for length, count in lengths.items() if length > form.steps)
    lasting = (
        f"sound of {form.steps} steps ({form.steps / form.rate_hz:g} s at {form.rate_hz:g} Hz)"
    )
    many = f"of {lengths.total()} recordings, {padded} padded with silence and {cut} cut at the end"
    return f"{lasting}; {many}" if padded or cut else lasting


def resampled_steps(steps: int, rate_hz: float, wanted_hz: float) -> int:
    """Steps of a recording once it is brought to another rate."""
    ratio = Fraction(wanted_hz / rate_hz).limit_denominator(MOST_RATIO)
    return -(-steps * ratio.numerator // ratio.denominator)


def _signal_form(
    listed: Sequence[Listing],
    facts: Sequence[Header],
    reading: Reading,
    told: RecordingFormat | None,
) -> tuple[RecordingFormat, list[str]]:
    rate_hz = told.rate_hz if told is not None else facts[0].rate_hz
    other = "the run" if told is not None else listed[0].file.name
    for one, listing in zip(facts, listed, strict=True):
        series.known_rate_hz(one.rate_hz, reading, str(listing.file))
        if not series.agree(one.rate_hz, rate_hz):
            raise ConfigError(
                f"{listing.file}: {one.rate_hz:g} steps a second, where {other} has {rate_hz:g}: "
                f"resample one of them first"
            )
    shared = [one for one in facts[0].channels if all(one.name in f.names for f in facts)]
    everything = dict.fromkeys(name for one in facts for name in one.names)
    channels = shared if told is None else _as_told(told, shared, str(listed[0].file))
    if not channels:
        raise ConfigError(f"{listed[0].file}: no channel that all recordings have: rename them")
    others = [name for name in everything if name not in {one.name for one in channels}]
    lengths = sorted({one.steps for one in facts})
    if reading.window is None and len(lengths) > 1:
        raise ConfigError(
            f"{listed[0].file.parent}: recordings of {lengths[0]} to {lengths[-1]} steps; expected "
            f"one length: cut them with --window"
        )
    form = RecordingFormat(
        is_sound=False, rate_hz=rate_hz, channels=tuple(channels), steps=lengths[0]
    )
    why = "that some recordings lack" if told is None else "that are not asked for"
    return form, [f"channels {why} left out: {shorten(others)}"] if others else []


def _as_told(
    told: RecordingFormat, found: Sequence[FeatureColumn], where: str
) -> list[FeatureColumn]:
    """The channels that are wanted, as they are spelled here. Raises ConfigError for none."""
    spelled = {one.name.casefold(): one for one in found}
    missing = [name for name in told.names if name.casefold() not in spelled]
    if missing:
        have = shorten([one.name for one in found])
        raise ConfigError(f"{where}: no channel {shorten(missing)}; it has {have}")
    return [spelled[name.casefold()] for name in told.names]


# --- their numbers --------------------------------------------------------------------------------


def _part(
    listed: Sequence[Listing], form: RecordingFormat, sampling: Sampling, where: str
) -> tuple[Part, tuple[str, ...]]:
    names: list[str] = []
    has_owners = any(one.owner for one in listed)
    if sampling.window:
        recordings = _annotated(listed, form, names)
        return series.cut(recordings, sampling, names, where, has_owners)
    unlabelled = next((one for one in listed if not one.label), None)
    if unlabelled is not None:
        raise ConfigError(
            f"{unlabelled.file}: its annotations say what its steps are: cut it with --window, "
            f"or put recordings in class folders"
        )
    inputs, notes = _whole(listed, form, where)
    part = Part(
        inputs=inputs,
        labels=np.array([one.label for one in listed]),
        groups=np.array([one.owner for one in listed]) if has_owners else None,
    )
    return part, notes


def _whole(
    listed: Sequence[Listing], form: RecordingFormat, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Recordings of one length, [n, steps, channels]: cut at the end, or padded with silence."""
    channels = len(form.channels) or 1
    size_bytes = 4 * len(listed) * form.steps * channels
    check_fits(size_bytes, f"{where}: its recordings hold", "cut them with --window")
    inputs = np.zeros((len(listed), form.steps, channels), dtype=np.float32)
    for row, one in enumerate(listed):
        values = _values(one.file, form)[: form.steps]
        inputs[row, : len(values)] = values
    return inputs, ()


def _annotated(
    listed: Sequence[Listing], form: RecordingFormat, names: list[str]
) -> Iterator[Recording]:
    """Recordings with the class of each step; classes are added to `names` as they come."""
    numbers: dict[str, int] = {}

    def number(label: str) -> int:
        if label not in numbers:
            names.append(label)
        return numbers.setdefault(label, len(numbers))

    for one in listed:
        values = _values(one.file, form)
        if one.label:
            classes = np.broadcast_to(np.int64(number(one.label)), len(values))
        else:
            classes = np.full(len(values), NO_CLASS, dtype=np.int64)
            for note in recorder(one.file).annotations(one.file):
                classes[note.begin : note.end] = number(note.label)
        yield Recording(values=values, classes=classes, owner=one.owner)


def _values(file: Path, form: RecordingFormat) -> np.ndarray:
    found: Recorder = recorder(file)
    values = found.values(file, form.names)
    if not form.is_sound:
        return values
    return resampled(values, found.facts(file).rate_hz, form.rate_hz, str(file))


def resampled(values: np.ndarray, rate_hz: float, wanted_hz: float, where: str) -> np.ndarray:
    """Steps at another rate, by a polyphase filter: [steps, channels] float32."""
    if rate_hz == wanted_hz:
        return values
    ratio = Fraction(wanted_hz / rate_hz).limit_denominator(MOST_RATIO)
    signal = library("scipy.signal", where, "audio")
    made = signal.resample_poly(values, ratio.numerator, ratio.denominator, axis=0)
    return np.asarray(made, dtype=np.float32)


def form_of(meant: SampleSpec, where: str) -> RecordingFormat:
    """The form of recordings that models see as these samples. Raises ConfigError for others."""
    if len(meant.shape) != 2 or not meant.sampling.rate_hz:
        raise ConfigError(
            f"{where}: recordings, where samples of shape {list(meant.shape)} are expected"
        )
    return RecordingFormat(
        is_sound=not meant.columns,
        rate_hz=meant.sampling.rate_hz,
        channels=meant.columns,
        steps=meant.shape[1],
    )


def as_in_run(reading: Reading, run: Sampling) -> Reading:
    """What a device's owner says, and of the rest what the run does; sound takes the run's rate."""
    return replace(series.as_in_run(reading, run), rate_hz=None)
