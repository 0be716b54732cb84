"""Texts to be classified: a text and its class in each row of a table, entry of a JSON file, or
file of a folder by class.

They stay texts until the data are complete: `words` makes integers of them for devices, and the
server's large model, where it has a tokenizer, makes its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError
from . import files, text_files
from .folders import below, by_class, left_aside, parts
from .labels import Place, is_missing, labelled, shorten, shown
from .raw import FeatureColumn, Part, Raw
from .reading import Missing, Reading
from .sheets import Sheet, named, open_sheet
from .text_files import ENDINGS, TEXTS, Corpus, Document, Names

ENTRIES = {".jsonl": text_files.json_lines, ".json": text_files.json_file}
"""Readers of files of entries, by their ending."""


def of_table(
    sheet: Sheet, text: str, label: str, group: str | None, missing: Missing
) -> tuple[Part, list[str]]:
    """Texts, labels and owners of a sheet, and notes; its labels have been looked at."""
    kept, notes = _kept(sheet.cells[text], missing, sheet.place, text)
    part = Part(
        inputs=as_array([sheet.cells[text][row] for row in kept]),
        labels=np.array(sheet.cells[label])[kept],
        groups=None if group is None else np.array(sheet.cells[group])[kept],
    )
    unused = [shown(name) for name in sheet.cells if name not in (text, label, group)]
    return part, [*notes, *([f"not used: {', '.join(unused)}"] if unused else [])]


def read_entries(path: Path, label: str | None, group: str | None, reading: Reading) -> Raw:
    """A .jsonl or .json file of objects with a text and a label. Raises ConfigError with line or
    entry."""
    names = Names(label=label, group=group, missing=reading.missing, text=reading.text)
    corpus = ENTRIES[path.suffix.lower()](path, names)
    train, notes = _part(corpus.train, corpus, names)
    test, of_test = (None, []) if corpus.test is None else _part(corpus.test, corpus, names)
    return Raw(
        where=corpus.where,
        train=train,
        test=test,
        columns=_columns(corpus.column),
        notes=(
            *_source(corpus.column),
            *corpus.notes,
            *notes,
            *(f"test part: {note}" for note in of_test),
        ),
    )


def read_folder(folder: Path) -> Raw:
    """`folder/CLASS/*.txt`, or `folder/train/CLASS/*` with `folder/test/CLASS/*`. Raises
    ConfigError with the file."""
    found = parts(folder, is_text)
    train = _of_files(by_class(found.train, is_text, "texts", "*.txt"))
    test = (
        None if found.test is None else _of_files(by_class(found.test, is_text, "texts", "*.txt"))
    )
    notes = (
        f"{len(train.inputs)} text files by class",
        *left_aside(found.train, is_text, "text"),
        *found.notes,
    )
    return Raw(where=str(folder), train=train, test=test, notes=notes)


def holds_texts(path: Path) -> bool:
    """Whether a folder holds text files and no other kind that could be meant: the first file of a
    class tells."""
    inner = (place for place in sorted(path.iterdir()) if place.is_dir()) if path.is_dir() else ()
    first = next((file for place in inner for file in below(place)), None)
    return first is not None and is_text(first)


def is_text(file: Path) -> bool:
    """Whether a file is text by its ending. Hidden files are none."""
    return file.suffix.lower() in ENDINGS and not file.name.startswith(".")


def as_array(texts: Sequence[str]) -> np.ndarray:
    """Texts as an array [n] of objects."""
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def packed(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texts as bytes of UTF-8, one behind the other, and where each ends: arrays of plain
    numbers."""
    coded = [text.encode("utf-8", "surrogatepass") for text in texts.tolist()]
    ends = np.cumsum([len(one) for one in coded], dtype=np.int64)
    return np.frombuffer(b"".join(coded), np.uint8), ends


def unpacked(coded: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The texts that `packed` was given."""
    begins = [0, *ends.tolist()]
    whole = coded.tobytes()
    return as_array(
        [
            whole[a:b].decode("utf-8", "surrogatepass")
            for a, b in zip(begins, ends.tolist(), strict=False)
        ]
    )


def _part(documents: Sequence[Document], corpus: Corpus, names: Names) -> tuple[Part, list[str]]:
    """Texts with their labels, and notes on those that are left out."""
    if all(document.label is None for document in documents):
        remedy = (
            f"no entry has {names.label!r}"
            if names.label
            else "expected a key 'label': name another with --label"
        )
        raise ConfigError(f"{corpus.where}: texts without labels; {remedy}")

    def place(row: int) -> str:
        return f"{corpus.where}: {documents[row].at}"

    written, notes = _kept(
        [document.text for document in documents], names.missing, place, corpus.column
    )
    labels = [documents[row].label or "" for row in written]
    known = labelled(labels, names.missing, lambda at: place(written[at]))
    left_out = len(labels) - len(known)
    kept = [documents[written[at]] for at in known]
    owners = [document.owner for document in kept]
    if names.group and not any(owner is not None for owner in owners):
        raise ConfigError(
            f"{corpus.where}: no entry has {names.group!r} as --group says: leave it out"
        )
    part = Part(
        inputs=as_array([document.text for document in kept]),
        labels=np.array([labels[at] for at in known]),
        groups=None
        if all(owner is None for owner in owners)
        else np.array([owner or "" for owner in owners]),
    )
    return part, [
        *notes,
        *([f"{left_out} of {len(labels)} entries left out: no label"] if left_out else []),
    ]


def _kept(
    texts: Sequence[str], missing: Missing, place: Place, column: str
) -> tuple[list[int], list[str]]:
    """Rows whose text is not blank, and notes. Raises ConfigError for the first that is, unless
    such rows are dropped."""
    blank = [row for row, text in enumerate(texts) if not text.strip()]
    if blank and missing == "refuse":
        where = f" in column {shown(column)}" if column else ""
        raise ConfigError(
            f"{place(blank[0])} has no text{where}; expected one everywhere: fill it, or --missing "
            "drop leaves such rows out"
        )
    gone = frozenset(blank)
    marks = sum(is_missing(text) for row, text in enumerate(texts) if row not in gone)
    notes = [f"{len(blank)} of {len(texts)} left out: no text"] if blank else []
    notes += [f"{marks} texts are but a mark such as 'NA': taken as text"] if marks else []
    return [row for row in range(len(texts)) if row not in gone], notes


def _columns(name: str) -> tuple[FeatureColumn, ...]:
    return (FeatureColumn(name=name),) if name else ()


def _source(name: str) -> tuple[str, ...]:
    return (f"texts from {shown(name)}",) if name else ()


def _of_files(found: Sequence[tuple[Path, str]]) -> Part:
    texts = [files.read_text(file) for file, _ in found]
    blank = next(
        (file for (file, _), text in zip(found, texts, strict=True) if not text.strip()), None
    )
    if blank is not None:
        raise ConfigError(
            f"{blank}: no text; expected one in every file: fill it or remove the file"
        )
    return Part(inputs=as_array(texts), labels=np.array([name for _, name in found]))


# --- texts without labels -----------------------------------------------------------------------


def read_unlabelled(path: Path, column: str, reading: Reading) -> np.ndarray:
    """Texts [n] for a proxy: lines of a .txt file, entries, rows of a table, or the files of a
    folder; labels are not read.

    Args:
        column: what the run calls the column or key of the texts, blank where it has no name.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; expected unlabelled texts in {KINDS}")
    found = _unlabelled(path, column, reading)
    texts = [text for text in found if text.strip()]
    if not texts:
        raise ConfigError(f"{path}: no text; expected at least one that is not blank")
    return as_array(texts)


KINDS = ".txt (one a line), .jsonl, .json, .csv, .tsv, or a folder of text files"


def _unlabelled(path: Path, column: str, reading: Reading) -> Sequence[str]:
    ending = path.suffix.lower()
    if path.is_dir():
        return [files.read_text(file) for file in below(path) if is_text(file)]
    if ending == ".txt":
        return files.read_text(path).splitlines()
    if ending in ENTRIES:
        corpus = ENTRIES[ending](path, Names(text=reading.text))
        return [document.text for document in corpus.train]
    if ending in (".csv", ".tsv"):
        sheet = open_sheet(path, reading.separator)
        return sheet.cells[_text_of(sheet, reading.text or column)]
    raise ConfigError(f"{path}: files that end in {ending!r} hold no texts; expected {KINDS}")


def _text_of(sheet: Sheet, column: str) -> str:
    """The column of texts: of this name, else one that is called as such columns are, else the only
    one."""
    names = (column, *TEXTS) if column else TEXTS
    found = [name for wanted in names for name in named(sheet.cells, wanted)]
    only = list(sheet.cells) if len(sheet.cells) == 1 else []
    if not (found or only):
        raise ConfigError(
            f"{sheet.where}: no column {shown(column or TEXTS[0])} of texts; columns: "
            f"{shorten(list(sheet.cells))}: name it "
            f"with --text"
        )
    return (found or only)[0]
