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


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Columns that the user named, and what is to be done with texts that have no label where
    others do."""

    label: str | None = None
    group: str | None = None
    missing: Missing = "refuse"
    separator: Separator | None = None
    """What parts the fields of a table."""


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


def table(path: Path, names: Names) -> Corpus:
    """A document of each row: a column of text, and columns of labels and owners if there are."""
    sheet = sheets.open_sheet(path, names.separator)
    lowered = {name.lower(): name for name in sheet.cells}
    text = _column(lowered, TEXTS, None, f"{path}: line 1 names no column of text")
    label = _column(
        lowered, LABELS, names.label, f"{path}: no column {names.label!r} for the labels"
    )
    group = _column(
        lowered, GROUPS, names.group, f"{path}: no column {names.group!r} for the owners"
    )
    if text is None:
        raise _no_text(str(path), sheet.cells)
    absent = [None] * len(sheet.lines)
    labels = sheet.cells[label] if label else absent
    owners = sheet.cells[group] if group else absent
    documents = [
        Document(text=content, label=kind, owner=owner, at=f"line {line}")
        for content, kind, owner, line in zip(
            sheet.cells[text], labels, owners, sheet.lines, strict=True
        )
    ]
    others = [name for name in sheet.cells if name not in (text, label, group)]
    return Corpus(
        where=str(path), train=documents, notes=(*sheet.notes, *_used(text, label, group, others))
    )


def _column(
    lowered: Mapping[str, str], known: Sequence[str], named: str | None, missing: str
) -> str | None:
    """The column that the user named, else the first with a name in use."""
    if named is None:
        return next((lowered[name] for name in known if name in lowered), None)
    if named.lower() not in lowered:
        raise ConfigError(f"{missing}; it has {', '.join(lowered.values())}")
    return lowered[named.lower()]


def _no_text(where: str, columns: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"{where}: no column of text; expected one called {', '.join(TEXTS)}, it has "
        f"{', '.join(columns)}"
    )


def _used(
    text: str, label: str | None, group: str | None, others: Iterable[str]
) -> tuple[str, ...]:
    used = [f"text from {text!r}"]
    used += [f"labels from {label!r}"] if label else []
    used += [f"owners from {group!r}"] if group else []
    return (", ".join(used), *_unused(others))


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
    lines = text.split("\n" if "\n" in text else "\r")
    return _entries(
        path,
        names,
        [(f"line {number}", line) for number, line in enumerate(lines, 1) if line.strip(BLANK)],
    )


def _entries(path: Path, names: Names, entries: Iterable[tuple[str, str | msgspec.Raw]]) -> Corpus:
    """A document of each entry, and a note on the keys that are not used."""
    seen = dict[str, None]()
    documents = [_document(entry, names, path, at, seen) for at, entry in entries]
    lowered = set(map(str.lower, seen))
    text = next(((name,) for name in TEXTS if name in lowered), INSTRUCTION)
    used = {*text, *_keys(names.label, LABELS[:1]), *_keys(names.group, GROUPS)}
    return Corpus(
        where=str(path),
        train=documents,
        notes=_unused(key for key in seen if key.lower() not in used),
    )


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
        label = _field(entry, (names.label, names.label.lower()) if names.label else LABELS[:1])
        owner = _field(entry, (names.group, names.group.lower()) if names.group else GROUPS)
        text = next((_string(entry[name]) for name in TEXTS if name in entry), None)
        return Document(
            text=_instruction(entry) if text is None else text, label=label, owner=owner, at=at
        )
    except UNREADABLE as error:
        raise ConfigError(
            f'{path}: {at}: {_what(error)}; expected an object such as {{"text": "..."}}'
        ) from error


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
    return _entries(
        path, names, [(f"entry {number}", entry) for number, entry in enumerate(entries, 1)]
    )


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
    lowered = {column.lower(): column for column in split.features}
    text = _column(lowered, TEXTS, None, "")
    if text is None:
        raise _no_text(where, split.features)
    label = _column(
        lowered, LABELS, names.label, f"{where}: no column {names.label!r} for the labels"
    )
    group = _column(
        lowered, GROUPS, names.group, f"{where}: no column {names.group!r} for the owners"
    )
    texts = hub.values(split, text, where)
    absent = [None] * len(texts)
    labels = _kinds(split, label, where) if label else absent
    owners = [str(value) for value in hub.values(split, group, where)] if group else absent
    return [
        Document(text="" if value is None else str(value), label=kind, owner=owner)
        for value, kind, owner in zip(texts, labels, owners, strict=True)
    ]


def _kinds(split: Any, label: str, where: str) -> list[str]:
    """Labels by name where the hub knows the names of their numbers."""
    named = getattr(split.features[label], "names", None)
    return [hub.class_name(value, named) for value in hub.values(split, label, where)]
