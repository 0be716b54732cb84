"""Texts by the name or path that a person gives: those that are not blank, with their labels and
owners."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.errors import ConfigError
from . import files
from . import stdlib_text as library
from .formats import DOCUMENTS, kinds
from .labels import is_missing, labelled
from .raw import UNNAMED
from .reading import Missing
from .text_files import Corpus, Document, Names, from_hub

KINDS = kinds(DOCUMENTS)
NAMES = "stdlib, hub:NAME"


def read(spec: str, names: Names) -> Corpus:
    """Documents of `stdlib`, `hub:NAME` or a path. Raises ConfigError with file, place and
    expectation."""
    corpus = _read(spec, names)
    written = _written(corpus.train)
    if not written:
        raise ConfigError(
            f"{corpus.where}: no text; expected at least one document that is not blank"
        )
    _check_named(written, names, corpus.where)
    owned, of_owners = _owned(written)
    train, of_labels = _labelled(owned, names.missing, corpus.where)
    notes = [*corpus.notes, *_blanks(corpus), *of_owners, *_marks(written), *of_labels]
    test = None
    if corpus.test is not None:
        where = f"{corpus.where}, test part"
        test, of_test = _labelled(_written(corpus.test), names.missing, where)
        notes += of_test
    return Corpus(where=corpus.where, train=train, test=test, notes=tuple(notes))


def _blanks(corpus: Corpus) -> list[str]:
    """A note on the documents that say nothing."""
    blank = len(corpus.train) - len(_written(corpus.train))
    return [f"{blank} blank documents dropped"] if blank else []


def _written(documents: Sequence[Document]) -> list[Document]:
    """The documents that are not blank."""
    return [document for document in documents if document.text.strip()]


def _read(spec: str, names: Names) -> Corpus:
    if spec == "stdlib":
        return _of_python()
    if spec.startswith("hub:"):
        return from_hub(spec.removeprefix("hub:"), names)
    return _read_path(files.named(spec), spec, names)


def _of_python() -> Corpus:
    texts, note = library.sample()
    documents = [Document(text=text) for text in texts]
    return Corpus(where="stdlib", train=documents, notes=(note, *files.same_named("stdlib")))


def _read_path(path: Path, spec: str, names: Names) -> Corpus:
    if not path.exists():
        raise ConfigError(f"{spec}: no such file or folder; expected {KINDS}, or a name: {NAMES}")
    reader = next((reader for reader in DOCUMENTS if reader.holds(path)), None)
    if reader is None or reader.documents is None:
        raise ConfigError(
            f"{path}: files that end in {path.suffix!r} are no text; expected {KINDS}"
        )
    if names.separator is not None and not reader.of_columns:
        raise ConfigError(f"{path}: --separator is for tables: leave it out")
    if names.text is not None and not (reader.of_columns or reader.has_names):
        raise ConfigError(
            f"{path}: --text {names.text} names a column, which this text does not have"
        )
    return reader.documents(path, names)


def _check_named(documents: Sequence[Document], names: Names, where: str) -> None:
    """What the user named is there, and every document has an owner if one has."""
    owned = [document.owner is not None for document in documents]
    facts = (
        ("--label", names.label, [document.label is not None for document in documents]),
        ("--group", names.group, owned),
    )
    for flag, named, known in facts:
        if named and not any(known):
            raise ConfigError(
                f"{where}: {flag} {named} names a column, which this text does not have: leave it "
                "out"
            )
    if any(owned) and not all(owned):
        raise ConfigError(
            f"{where}: document {owned.index(False) + 1} has no owner but others have; expected "
            "one everywhere"
        )


def _owned(documents: list[Document]) -> tuple[list[Document], tuple[str, ...]]:
    """The documents with one owner for all whose own is blank, and a note on these."""
    blank = [document.owner is not None and is_missing(document.owner) for document in documents]
    if not any(blank):
        return documents, ()
    pairs = zip(documents, blank, strict=True)
    owned = [
        replace(document, owner=UNNAMED) if without else document for document, without in pairs
    ]
    return owned, (f"{sum(blank)} documents have a blank group and belong to {UNNAMED!r}",)


def _marks(documents: Sequence[Document]) -> tuple[str, ...]:
    """A note on texts such as NA, which may stand for none."""
    count = sum(is_missing(document.text) for document in documents)
    return (f"{count} documents are but a mark such as 'NA': taken as text",) if count else ()


def _labelled(
    documents: list[Document], missing: Missing, where: str
) -> tuple[list[Document], tuple[str, ...]]:
    """Documents that have a label if any has, and a note on those without. Raises ConfigError where
    that is not asked for."""
    if all(document.label is None for document in documents):
        return documents, ()
    labels = [document.label or "" for document in documents]
    rows = labelled(
        labels, missing, lambda row: f"{where}: {documents[row].at or f'document {row + 1}'}"
    )
    gone = len(documents) - len(rows)
    notes = (f"{where}: {gone} documents without a label dropped",) if gone else ()
    return [replace(documents[row], label=labels[row]) for row in rows], notes
