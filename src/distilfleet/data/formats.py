"""The kinds of files and folders that hold data: what tells them, and how each is read.

What `--data` and `--proxy` take follows from the rows of `READERS` alone, and so do the words of
messages that name it. A new format is a row here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError
from . import (
    array_files,
    arrays,
    column_files,
    hub,
    idx,
    images,
    labelled_text,
    recordings,
    tables,
    text_files,
)
from .raw import Raw, SampleSpec
from .reading import Reading
from .text_files import Corpus, Names

OF_PIXELS = frozenset({"missing", "sample_kind", "channels_axis"})
"""The fields of `Reading` that settle how arrays of pictures are read."""
OF_ARRAYS = OF_PIXELS | {"window", "hop", "rate_hz"}
"""Those that settle how other arrays are read."""
OF_ENTRIES = frozenset({"missing", "text"})
"""Those that settle how files of entries with a text each are read."""
OF_TABLES = frozenset(field.name for field in fields(Reading))

OF_RECORDINGS = frozenset({"missing", "separator", "window", "hop", "rate_hz"})
"""Those that settle how recordings are read."""

Samples = Callable[[Path, str | None, str | None, Reading], Raw]
"""Reads labelled samples as they were stored, given a path and the names of labels and groups."""
Inputs = Callable[[Path, SampleSpec, Reading], np.ndarray]
"""Reads unlabelled samples as they were stored, given a path and what they are to be like."""
Times = Callable[[Path, Reading], np.ndarray | None]
"""Says when the rows of a file were measured, in seconds; None where it does not say."""
Documents = Callable[[Path, Names], Corpus]
"""Reads texts as they were stored, given a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One kind of file or folder, and what it can be read as."""

    kind: str
    """How messages call it."""
    holds: Callable[[Path], bool]
    """Whether a path that is there is of this kind, by its name."""
    samples: Samples | None = None
    inputs: Inputs | None = None
    times: Times | None = None
    documents: Documents | None = None
    has_names: bool = False
    """Whether labels and groups go by names that a person can give."""
    settles: frozenset[str] = frozenset()
    """The fields of `Reading` that can be settled of it."""
    of_columns: bool = False
    """Whether its samples are rows of named columns."""
    is_recorded: bool = False
    """Whether its samples are recordings, which are read again as each run means them."""


def kinds(readers: Sequence[Reader]) -> str:
    """The kinds that can be read, for a message."""
    return ", ".join(reader.kind for reader in readers)


def ending(*endings: str) -> Callable[[Path], bool]:
    """A test for files whose names end so, in any case."""
    return lambda path: path.suffix.lower() in endings and not path.is_dir()


# --- readers in the form of the table -------------------------------------------------------------


def _arrays(path: Path, label: str | None, group: str | None, reading: Reading) -> Raw:
    return arrays.read(path, label, group)


def _array_inputs(path: Path, spec: SampleSpec, reading: Reading) -> np.ndarray:
    return arrays.read_inputs(path)


def _table(path: Path, label: str | None, group: str | None, reading: Reading) -> Raw:
    if not tables.is_table(path, label):
        raise ConfigError(
            f"{path}: files that end in {path.suffix.lower()!r} cannot be read; expected "
            f"{kinds(SAMPLES)} (a table in a .txt file: name its label column with --label)"
        )
    return tables.read(path, label, group, reading)


def _table_inputs(path: Path, spec: SampleSpec, reading: Reading) -> np.ndarray:
    return tables.read_inputs(path, spec.columns, reading)


def _array_file(path: Path, label: str | None, group: str | None, reading: Reading) -> Raw:
    found = array_files.opened(path)
    if column_files.are_columns(found):
        return tables.of_sheet(column_files.sheet_of(found, str(path)), label, group, reading)
    return column_files.read_arrays(found, str(path), label, group)


def _array_file_inputs(path: Path, spec: SampleSpec, reading: Reading) -> np.ndarray:
    found = array_files.opened(path)
    if column_files.are_columns(found):
        return tables.encode(column_files.sheet_of(found, str(path)), spec.columns, reading)
    return column_files.read_array_inputs(found, str(path))


def _array_file_times(path: Path, reading: Reading) -> np.ndarray | None:
    return tables.read_times(path, reading) if column_files.is_tabular(path) else None


def _idx(path: Path, label: str | None, group: str | None, reading: Reading) -> Raw:
    return idx.read(path, reading)


def _pictures(path: Path, label: str | None, group: str | None, reading: Reading) -> Raw:
    return images.read(path)


def _picture_inputs(path: Path, spec: SampleSpec, reading: Reading) -> np.ndarray:
    return images.read_inputs(path)


def _text_folder(path: Path, label: str | None, group: str | None, reading: Reading) -> Raw:
    return labelled_text.read_folder(path)


# --- the table ----------------------------------------------------------------------------------

READERS = (
    Reader(
        kind="a folder of Hugging Face datasets (save_to_disk)",
        holds=hub.is_saved,
        samples=hub.read_folder,
        inputs=hub.read_folder_inputs,
        has_names=True,
        settles=OF_ARRAYS,
    ),
    Reader(
        kind="recordings (.wav, .flac, .edf, .hea and others), in a folder by class or in a table",
        holds=recordings.holds,
        samples=recordings.read,
        inputs=recordings.read_inputs,
        has_names=True,
        settles=OF_RECORDINGS,
        is_recorded=True,
    ),
    Reader(
        kind=".npz",
        holds=ending(".npz"),
        samples=_arrays,
        inputs=_array_inputs,
        has_names=True,
        settles=OF_ARRAYS,
    ),
    Reader(kind=".txt", holds=ending(".txt", ".md", ".py"), documents=text_files.plain),
    Reader(
        kind=".jsonl",
        holds=ending(".jsonl"),
        samples=labelled_text.read_entries,
        documents=text_files.json_lines,
        has_names=True,
        settles=OF_ENTRIES,
    ),
    Reader(
        kind=".json",
        holds=ending(".json"),
        samples=labelled_text.read_entries,
        documents=text_files.json_file,
        has_names=True,
        settles=OF_ENTRIES,
    ),
    Reader(
        kind=".csv, .tsv",
        holds=ending(".csv", ".tsv", ".txt"),
        samples=_table,
        inputs=_table_inputs,
        times=tables.read_times,
        documents=text_files.table,
        has_names=True,
        settles=OF_TABLES,
        of_columns=True,
    ),
    Reader(
        kind=".parquet, .feather, .arrow, .h5, .nc, .mat, .arff, .ts",
        holds=array_files.is_known,
        samples=_array_file,
        inputs=_array_file_inputs,
        times=_array_file_times,
        has_names=True,
        settles=(OF_TABLES | OF_ARRAYS) - {"decimal", "separator"},
    ),
    Reader(kind="IDX files (the MNIST family)", holds=idx.holds, samples=_idx, settles=OF_PIXELS),
    Reader(
        kind="a folder of text files by class",
        holds=labelled_text.holds_texts,
        samples=_text_folder,
    ),
    Reader(
        kind="a folder of pictures by class",
        holds=Path.is_dir,
        samples=_pictures,
        inputs=_picture_inputs,
    ),
    Reader(
        kind="a folder of .txt, .md or .py files", holds=Path.is_dir, documents=text_files.folder
    ),
)
"""The first row that holds a path and can be read as what is asked for is the one that reads it."""
SAMPLES = tuple(reader for reader in READERS if reader.samples)
INPUTS = tuple(reader for reader in READERS if reader.inputs)
DOCUMENTS = tuple(reader for reader in READERS if reader.documents)
