"""Files that hold one recording each: sound by soundfile, EDF and BDF by edfio, WFDB by wfdb.

A recorder tells what a file is like from its header, reads its numbers, and says what was marked in
it. Whatever a library raises becomes one sentence that names the file.
"""

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
from .raw import FeatureColumn

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".w64")
EDF = (".edf", ".bdf")
WFDB = (".hea",)
ANNOTATIONS = (".atr", ".ann", ".qrs")
"""Endings of WFDB's files of annotations; the first that is there is read."""
RHYTHM = "+"
"""WFDB's symbol of a change of rhythm, which lasts until the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself before its numbers are read."""

    steps: int
    rate_hz: float
    channels: tuple[FeatureColumn, ...] = ()
    """The channels, by name; of sound there is one, the mean of all, without a name."""
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its channels."""
        return tuple(channel.name for channel in self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A label of some steps of a recording."""

    begin: int
    end: int
    """The step behind the last."""
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """How files of one format are read."""

    is_sound: bool = False
    facts: Callable[[Path], Header]
    values: Callable[[Path, Sequence[str]], np.ndarray]
    """float32 [steps, channels], of the channels named; NaN where a number is missing."""
    annotations: Callable[[Path], list[Annotation]]


def recorder(path: Path) -> Recorder:
    """The recorder of a file, by the ending of its name."""
    return RECORDERS[path.suffix.lower()]


def is_recording(path: Path) -> bool:
    """Whether a file is a recording by its ending. Hidden files are none."""
    return path.suffix.lower() in RECORDERS and not path.name.startswith(".")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a library raises of a file becomes one error."""
    files.check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what libraries say of their own dependencies
            yield
    except (ConfigError, MemoryError):
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(
            f"{path}: not a readable recording ({why}): remove it or fetch it again"
        ) from error


def _checked(facts: Header, path: Path) -> Header:
    if facts.steps < 1 or facts.rate_hz <= 0:
        raise ConfigError(
            f"{path}: a recording of {facts.steps} steps at {facts.rate_hz:g} Hz; expected one "
            f"that is not empty: remove it"
        )
    return facts


# --- sound ----------------------------------------------------------------------------------------


def _soundfile(path: Path) -> Any:
    return library("soundfile", str(path), "audio")


def _sound_facts(path: Path) -> Header:
    sound = _soundfile(path)
    with _reading(path):
        info = sound.info(str(path))
        mixed = (f"{info.channels} channels mixed to one, their mean",) if info.channels > 1 else ()
        return _checked(
            Header(steps=info.frames, rate_hz=float(info.samplerate), notes=mixed), path
        )


def _sound(path: Path, _names: Sequence[str]) -> np.ndarray:
    sound = _soundfile(path)
    with _reading(path):
        # as float32 always: a file of floats read as integers gives -1, 0 and 1 alone
        values, _ = sound.read(str(path), dtype="float32", always_2d=True)
        return np.asarray(values.mean(axis=1, dtype=np.float32)[:, np.newaxis])


def decoded(content: bytes, where: str) -> tuple[np.ndarray, float]:
    """Sound that lies in memory as a file would: float32 [steps], and its rate in Hz."""
    import io

    sound = library("soundfile", where, "audio")
    try:
        values, rate_hz = sound.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except Exception as error:
        raise ConfigError(f"{where}: not readable as sound ({error}): remove it") from error
    return values.mean(axis=1, dtype=np.float32), float(rate_hz)


# --- EDF and BDF ----------------------------------------------------------------------------------


def _edf(path: Path) -> Any:
    edfio = library("edfio", str(path), "signals")
    read = edfio.read_bdf if path.suffix.lower() == ".bdf" else edfio.read_edf
    file = read(path, lazy_load_data=True)
    if not file.is_continuous:
        raise ConfigError(
            f"{path}: its records do not follow each other (EDF+D), and edfio would close the gaps "
            f"between them: write each stretch as a file of its own"
        )
    return file


def _edf_facts(path: Path) -> Header:
    """Signals of the rate that most of them have."""
    with _reading(path):
        file = _edf(path)
        rates = [float(signal.sampling_frequency) for signal in file.signals]
        if not rates:
            raise ConfigError(f"{path}: holds no signals: remove it")
        rate_hz = max(rates, key=lambda rate: (rates.count(rate), rate))
        used = [s for s, rate in zip(file.signals, rates, strict=True) if rate == rate_hz]
        others = [s.label for s, rate in zip(file.signals, rates, strict=True) if rate != rate_hz]
        left = (f"signals of another rate left out: {shorten(others)}",) if others else ()
        channels = [FeatureColumn(name=s.label, unit=s.physical_dimension) for s in used]
        facts = Header(
            steps=file.num_data_records * used[0].samples_per_data_record,
            rate_hz=rate_hz,
            channels=tuple(channels),
            notes=left,
        )
        return _checked(facts, path)


def _edf_values(path: Path, names: Sequence[str]) -> np.ndarray:
    with _reading(path):
        file = _edf(path)
        return np.stack([file.get_signal(name).data for name in names], axis=1).astype(np.float32)


def _edf_annotations(path: Path) -> list[Annotation]:
    with _reading(path):
        file = _edf(path)
        rate_hz = _edf_facts(path).rate_hz
        annotations = []
        for note in file.annotations:
            begin = max(0, round(note.onset * rate_hz))
            lasts = round((note.duration or 0) * rate_hz)
            annotations.append(
                Annotation(begin=begin, end=begin + max(1, lasts), label=note.text.strip())
            )
        return annotations


# --- WFDB -----------------------------------------------------------------------------------------


def _wfdb_facts(path: Path) -> Header:
    wfdb = library("wfdb", str(path), "wfdb")
    with _reading(path):
        header = wfdb.rdheader(str(path.with_suffix("")))
        units = header.units or [""] * len(header.sig_name or [])
        named = zip(header.sig_name or [], units, strict=True)
        channels = tuple(FeatureColumn(name=name, unit=unit or "") for name, unit in named)
        return _checked(
            Header(steps=header.sig_len or 0, rate_hz=float(header.fs), channels=channels), path
        )


def _wfdb_values(path: Path, names: Sequence[str]) -> np.ndarray:
    wfdb = library("wfdb", str(path), "wfdb")
    with _reading(path):
        record = wfdb.rdrecord(str(path.with_suffix("")), channel_names=list(names))
        order = [record.sig_name.index(name) for name in names]
        return np.asarray(record.p_signal[:, order].astype(np.float32))


def _wfdb_annotations(path: Path) -> list[Annotation]:
    """Rhythms, which last until the next one; or beats, where no rhythm is noted."""
    there = [ending for ending in ANNOTATIONS if path.with_suffix(ending).is_file()]
    if not there:
        return []
    wfdb = library("wfdb", str(path), "wfdb")
    with _reading(path):
        notes = wfdb.rdann(str(path.with_suffix("")), there[0][1:])
        at = notes.sample.tolist()
        rhythms = [
            (begin, aux.strip("\0 "))
            for begin, symbol, aux in zip(at, notes.symbol, notes.aux_note, strict=True)
            if symbol == RHYTHM and aux.strip("\0 ").startswith("(")
        ]
        if not rhythms:
            beats = zip(at, notes.symbol, strict=True)
            return [Annotation(begin=step, end=step + 1, label=symbol) for step, symbol in beats]
        ends = [*(begin for begin, _ in rhythms[1:]), _wfdb_facts(path).steps]
        return [
            Annotation(begin=begin, end=end, label=label.lstrip("("))
            for (begin, label), end in zip(rhythms, ends, strict=True)
        ]


# --- the table ------------------------------------------------------------------------------------

RECORDERS: Mapping[str, Recorder] = {
    **dict.fromkeys(
        SOUNDS,
        Recorder(is_sound=True, facts=_sound_facts, values=_sound, annotations=lambda path: []),
    ),
    **dict.fromkeys(
        EDF, Recorder(facts=_edf_facts, values=_edf_values, annotations=_edf_annotations)
    ),
    **dict.fromkeys(
        WFDB, Recorder(facts=_wfdb_facts, values=_wfdb_values, annotations=_wfdb_annotations)
    ),
}
"""How the files of each ending are read."""
