"""Texts by the name or path that a person gives: those that are not blank, with their labels and owners."""

from collections.abc import Sequence
from dataclasses import replace

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
    """Documents of `stdlib`, `hub:NAME` or a path. Raises ConfigError with file, place and expectation."""
    corpus = _read(spec, names)
    kept = [document for document in corpus.train if document.text.strip()]
    if not kept:
        raise ConfigError(f"{corpus.where}: no text; expected at least one document that is not blank")
    blank = len(corpus.train) - len(kept)
    notes = (f"{blank} blank documents dropped",) if blank else ()
    _check_named(kept, names, corpus.where)
    kept, unnamed = _owned(kept)
    train, gone = _labelled(kept, names.missing, corpus.where)
    notes = (*corpus.notes, *notes, *unnamed, *_marks(kept), *gone)
    if corpus.test is None:
        return Corpus(where=corpus.where, train=train, notes=notes)
    whole = [document for document in corpus.test if document.text.strip()]
    test, gone = _labelled(whole, names.missing, f"{corpus.where}, test part")
    return Corpus(where=corpus.where, train=train, test=test, notes=(*notes, *gone))


def _read(spec: str, names: Names) -> Corpus:
    if spec == "stdlib":
        texts, note = library.sample()
        return Corpus(where=spec, train=[Document(text=text) for text in texts], notes=(note, *files.beside(spec)))
    if spec.startswith("hub:"):
        return from_hub(spec.removeprefix("hub:"), names)
    path = files.named(spec)
    if not path.exists():
        raise ConfigError(f"{spec}: no such file or folder; expected {KINDS}, or a name: {NAMES}")
    reader = next((reader for reader in DOCUMENTS if reader.holds(path)), None)
    if reader is None or reader.documents is None:
        raise ConfigError(f"{path}: files that end in {path.suffix!r} are no text; expected {KINDS}")
    if names.separator is not None and not reader.of_columns:
        raise ConfigError(f"{path}: --separator is for tables: leave it out")
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
            raise ConfigError(f"{where}: {flag} {named} names a column, which this text does not have: leave it out")
    if any(owned) and not all(owned):
        raise ConfigError(
            f"{where}: document {owned.index(False) + 1} has no owner but others have; expected one everywhere"
        )


def _owned(documents: list[Document]) -> tuple[list[Document], tuple[str, ...]]:
    """The documents with one owner for all whose own is blank, and a note on these."""
    blank = [document.owner is not None and is_missing(document.owner) for document in documents]
    if not any(blank):
        return documents, ()
    pairs = zip(documents, blank, strict=True)
    owned = [replace(document, owner=UNNAMED) if without else document for document, without in pairs]
    return owned, (f"{sum(blank)} documents have a blank group and belong to {UNNAMED!r}",)


def _marks(documents: Sequence[Document]) -> tuple[str, ...]:
    """A note on texts such as NA, which may stand for none."""
    count = sum(is_missing(document.text) for document in documents)
    return (f"{count} documents are but a mark such as 'NA': taken as text",) if count else ()


def _labelled(documents: list[Document], missing: Missing, where: str) -> tuple[list[Document], tuple[str, ...]]:
    """Documents that have a label if any has, and a note on those without. Raises ConfigError where that is not asked
    for."""
    if all(document.label is None for document in documents):
        return documents, ()
    labels = [document.label or "" for document in documents]
    rows = labelled(labels, missing, lambda row: f"{where}: {documents[row].at or f'document {row + 1}'}")
    gone = len(documents) - len(rows)
    notes = (f"{where}: {gone} documents without a label dropped",) if gone else ()
    return [replace(documents[row], label=labels[row]) for row in rows], notes
