"""Readers of texts: plain files, folders, tables, JSON and the hub, a document per file, line, row
or entry."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import ConfigError
from . import files, hub, sheets
from .folders import below
from .labels import shorten, shown
from .reading import Missing, Separator

TEXTS = ("text", "sentence", "utterance", "query", "content")
LABELS = ("label", "category", "intent", "class")
GROUPS = ("group",)
ENDINGS = (".txt", ".md", ".py")
MARK = "<|endoftext|>"
INSTRUCTION = ("instruction", "input", "output")
"""Keys of an entry in a list of instructions; the second may be empty or missing."""
PARTS = {"train": ("train", "oos_train"), "test": ("test", "oos_test")}
"""Keys of a file of labelled utterances in the form of CLINC150."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text as it was stored."""

    text: str
    label: str | None = None
    """Blank where the place for it is; None where there is none."""
    owner: str | None = None
    at: str = ""
    """Place in the file, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Documents in the order of the file."""

    where: str
    """How the user named it; every message starts with it."""
    train: Sequence[Document]
    test: Sequence[Document] | None = None
    notes: tuple[str, ...] = ()
    column: str = ""
    """The column or key that the texts come from, where it has a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Columns that the user named, and what is to be done with texts that have no label where
    others do."""

    label: str | None = None
    group: str | None = None
    missing: Missing = "refuse"
    separator: Separator | None = None
    """What parts the fields of a table."""
    text: str | None = None
    """Column of the texts. Default: the first with a name in use."""


# --- plain text -----------------------------------------------------------------------------------


def plain(path: Path, names: Names) -> Corpus:
    """One document, or those that a mark parts, as in TinyStories."""
    texts = [one.strip("\n") for one in _text(path).split(MARK)]
    notes = (f"{len(texts)} documents, parted by {MARK}",) if len(texts) > 1 else ()
    return Corpus(where=str(path), train=[Document(text=one) for one in texts], notes=notes)


def folder(path: Path, names: Names) -> Corpus:
    """A document of each file below it that is text by its ending."""
    found = [file for file in below(path) if file.suffix.lower() in ENDINGS]
    if not found:
        raise ConfigError(
            f"{path}: no text in this folder; expected files that end in {', '.join(ENDINGS)}"
        )
    documents = [Document(text=_text(file)) for file in found]
    return Corpus(
        where=str(path), train=documents, notes=(f"{len(found)} files, one document each, by name",)
    )


def _text(path: Path) -> str:
    return _decoded(path).replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: Path) -> str:
    """Ends of lines as they are stored: what ends one elsewhere may stand inside a string of
    JSON."""
    return files.read_text(path)


# --- tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What a table's columns of texts, labels and owners are called."""

    text: str
    label: str | None
    group: str | None


def table(path: Path, names: Names) -> Corpus:
    """A document of each row: a column of text, and columns of labels and owners if there are."""
    sheet = sheets.open_sheet(path, names.separator)
    columns = _columns(sheet.cells, names, str(path))
    absent = [None] * len(sheet.lines)
    labels = sheet.cells[columns.label] if columns.label else absent
    owners = sheet.cells[columns.group] if columns.group else absent
    rows = zip(sheet.cells[columns.text], labels, owners, sheet.lines, strict=True)
    documents = [
        Document(text=text, label=label, owner=owner, at=f"line {line}")
        for text, label, owner, line in rows
    ]
    notes = (*sheet.notes, *_used(columns, sheet.cells))
    return Corpus(where=str(path), train=documents, notes=notes)


def _columns(there: Iterable[str], names: Names, where: str) -> Columns:
    """The columns by the names that the user gives, or those in use. Raises ConfigError."""
    lowered = {name.lower(): name for name in there}
    no_label = f"{where}: no column {names.label!r} for the labels"
    no_group = f"{where}: no column {names.group!r} for the owners"
    label = _column(lowered, LABELS, names.label, no_label)
    group = _column(lowered, GROUPS, names.group, no_group)
    no_text = f"{where}: no column {names.text!r} of texts"
    text = _column(lowered, TEXTS, names.text, no_text)
    if text is None:
        raise ConfigError(
            f"{where}: no column of text; expected one called {', '.join(TEXTS)}, it has "
            f"{', '.join(there)}"
        )
    return Columns(text=text, label=label, group=group)


def _column(
    lowered: Mapping[str, str], known: Sequence[str], named: str | None, missing: str
) -> str | None:
    """The column that the user named, else the first with a name in use."""
    if named is None:
        return next((lowered[name] for name in known if name in lowered), None)
    if named.lower() not in lowered:
        raise ConfigError(f"{missing}; it has {', '.join(lowered.values())}")
    return lowered[named.lower()]


def _used(columns: Columns, there: Iterable[str]) -> tuple[str, ...]:
    used = [f"text from {columns.text!r}"]
    used += [f"labels from {columns.label!r}"] if columns.label else []
    used += [f"owners from {columns.group!r}"] if columns.group else []
    known = (columns.text, columns.label, columns.group)
    return (", ".join(used), *_unused(name for name in there if name not in known))


def _unused(names: Iterable[str]) -> tuple[str, ...]:
    left = shorten(list(map(shown, names)))
    return (f"not used: {left}",) if left else ()


# --- JSON -----------------------------------------------------------------------------------------

Entry = Mapping[str, msgspec.Raw]
UNREADABLE = (msgspec.DecodeError, KeyError, RecursionError, ValueError)
"""No JSON, another kind of value, nested too deep, or half a character."""
BLANK = " \t\r\n\xa0"
"""Around an entry; a line of these alone has none."""
_entry = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode
_name = msgspec.json.Decoder(str | int | float | bool | None).decode


def json_lines(path: Path, names: Names) -> Corpus:
    """A document of each line that holds an object."""
    text = _decoded(path)
    lines = enumerate(text.split("\n" if "\n" in text else "\r"), 1)
    written = [(f"line {number}", line) for number, line in lines if line.strip(BLANK)]
    return _entries(path, names, written)


def _entries(path: Path, names: Names, entries: Iterable[tuple[str, str | msgspec.Raw]]) -> Corpus:
    """A document of each entry, and a note on the keys that are not used."""
    seen = dict[str, None]()
    documents = [_document(entry, names, path, at, seen) for at, entry in entries]
    lowered = set(map(str.lower, seen))
    text = next(((name,) for name in _keys(names.text, TEXTS) if name in lowered), INSTRUCTION)
    used = {*text, *_keys(names.label, LABELS[:1]), *_keys(names.group, GROUPS)}
    notes = _unused(key for key in seen if key.lower() not in used)
    column = text[0] if len(text) == 1 else ""
    return Corpus(where=str(path), train=documents, notes=notes, column=column)


def _keys(named: str | None, known: Sequence[str]) -> tuple[str, ...]:
    return tuple(known) if named is None else (named.lower(),)


def _document(
    line: str | msgspec.Raw, names: Names, path: Path, at: str, seen: dict[str, None]
) -> Document:
    """One object with a text, or one instruction, keys in any case; `seen` gathers its keys."""
    try:
        spelled = _entry(line)
        seen.update(dict.fromkeys(spelled))
        entry = {**{key.lower(): value for key, value in spelled.items()}, **spelled}
        return Document(
            label=_field(entry, _spellings(names.label, LABELS[:1])),
            owner=_field(entry, _spellings(names.group, GROUPS)),
            text=_content(entry, _spellings(names.text, TEXTS)),
            at=at,
        )
    except UNREADABLE as error:
        raise ConfigError(
            f'{path}: {at}: {_what(error)}; expected an object such as {{"text": "..."}}, or '
            "another key that --text names"
        ) from error


def _spellings(named: str | None, known: Sequence[str]) -> Sequence[str]:
    """The keys that are looked for: as the user names it, or those in use."""
    return (named, named.lower()) if named else known


def _content(entry: Entry, known: Sequence[str]) -> str:
    """The text under one of these keys; an instruction where nobody names the key. Raises
    KeyError, with the key that is wanted, for an entry without."""
    text = next((_string(entry[name]) for name in known if name in entry), None)
    if text is None and known is not TEXTS:
        raise KeyError(known[0])
    return _instruction(entry) if text is None else text


def _what(error: Exception) -> str:
    return f"no {error} in it" if isinstance(error, KeyError) else str(error)


def _field(entry: Entry, known: Sequence[str]) -> str | None:
    found = next((entry[name] for name in known if name in entry), None)
    if found is None:
        return None
    name = _name(found)
    if isinstance(name, float) and not name.is_integer():
        raise ValueError(
            f"{name} where a class or owner is expected, which is text or a whole number"
        )
    return name if isinstance(name, str) else "" if name is None else bytes(found).decode()


def _instruction(entry: Entry) -> str:
    """Question and answer in one text. Raises KeyError for an entry without them."""
    if not {"instruction", "output"} <= entry.keys():
        raise KeyError("text")
    parts = [_string(entry[name]) for name in INSTRUCTION if name in entry]
    return "\n".join(part for part in parts if part)


def json_file(path: Path, names: Names) -> Corpus:
    """A document of each entry of a list, or of each part of a file in the form of CLINC150."""
    data = _decoded(path).encode()
    try:
        return _parts(msgspec.json.decode(data, type=dict[str, list[tuple[str, str | None]]]), path)
    except UNREADABLE:
        pass
    try:
        entries = msgspec.json.decode(data, type=list[msgspec.Raw])
    except UNREADABLE as error:
        raise ConfigError(
            f"{path}: {error}; expected a list of objects, or an object of parts such as "
            f'{{"train": [["text", "label"]], "test": ...}}'
        ) from error
    numbered = [(f"entry {number}", entry) for number, entry in enumerate(entries, 1)]
    return _entries(path, names, numbered)


def _parts(parts: Mapping[str, Sequence[tuple[str, str | None]]], path: Path) -> Corpus:
    lowered = {name.lower(): name for name in parts}
    spelled = {part: [lowered[name] for name in PARTS[part] if name in lowered] for part in PARTS}
    train = _labelled_documents(parts, spelled["train"])
    test = _labelled_documents(parts, spelled["test"])
    if not train:
        raise ConfigError(f"{path}: no part 'train'; it has {shorten(list(parts))}")
    used = [name for names in spelled.values() for name in names]
    unused = _unused(name for name in parts if name not in used)
    notes = (f"parts {', '.join(sorted(used))}", *unused)
    return Corpus(where=str(path), train=train, test=test or None, notes=notes)


def _labelled_documents(
    parts: Mapping[str, Sequence[tuple[str, str | None]]], names: Sequence[str]
) -> list[Document]:
    return [
        Document(text=text, label=label or "", at=f"part {name!r}, entry {number}")
        for name in names
        for number, (text, label) in enumerate(parts[name], 1)
    ]


# --- hub ------------------------------------------------------------------------------------------


def from_hub(name: str, names: Names) -> Corpus:
    """Through Hugging Face `datasets`; `name` may be NAME:CONFIGURATION."""
    where = f"hub:{name}"
    splits = hub.load(name, where)
    lowered = {column.lower(): column for column in splits["train"].features}
    label = _column(
        lowered, LABELS, names.label, f"{where}: no column {names.label!r} for the labels"
    )
    test, hidden = hub.held_out(splits, label, where)
    return Corpus(
        where=where,
        train=_rows(splits["train"], names, where),
        test=None if test is None else _rows(test, names, where),
        notes=hidden,
    )


def _rows(split: Any, names: Names, where: str) -> list[Document]:
    columns = _columns(split.features, names, where)
    texts = hub.values(split, columns.text, where)
    labels: Sequence[str | None] = [None] * len(texts)
    owners = labels
    if columns.label:
        labels = _kinds(split, columns.label, where)
    if columns.group:
        owners = [str(owner) for owner in hub.values(split, columns.group, where)]
    return [
        Document(text="" if text is None else str(text), label=label, owner=owner)
        for text, label, owner in zip(texts, labels, owners, strict=True)
    ]


def _kinds(split: Any, label: str, where: str) -> list[str]:
    """Labels by name where the hub knows the names of their numbers."""
    named = getattr(split.features[label], "names", None)
    return [hub.class_name(value, named) for value in hub.values(split, label, where)]
