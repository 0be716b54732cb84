"""Text for language models: documents become windows of token ids, each owned by one device.

A text without labels is a stream: the documents of a device one after the other, a separator before
each, cut into windows that do not overlap and stay the same in every epoch, so that what a teacher
says about one can be kept. A labelled text is one window per document, cut or padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from ..core.chance import stream
from ..core.errors import ConfigError, ScarceError
from . import labels, tokenizer, windows
from .digest import of_arrays
from .documents import read
from .partition import by_group
from .raw import Part, Raw
from .reading import Missing, Separator
from .text_files import Corpus, Document, Names
from .tokenizer import Tokenizer
from .windows import Windows

MANY = 20
"""So many documents and more have whole ones held out; fewer have the end of each."""

Cutting = Literal["packed", "whole"]
Rows = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a text is to be cut."""

    context: int = 128
    """Tokens in a window."""
    holdout: float = 0.1
    vocabulary: int = 4096
    """Entries of a tokenizer that is trained; one that is named has its own."""
    tokenizer: str | Path | None = None
    """See `tokenizer.choose`."""
    windows: Cutting = "packed"
    """Whether documents without labels stand one after the other, or each at the start of a
    window."""
    devices: int = 8
    label: str | None = None
    group: str | None = None
    """Column that names the owner, by default `group` if there is one: one device for each, however
    many."""
    missing: Missing = "refuse"
    separator: Separator | None = None
    text: str | None = None
    """See `reading.Reading`."""
    test: str | None = None
    """A file whose texts are tested on, where the text has no test part."""
    alpha: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextSource:
    """A text, cut; `owners` and `rows` say which training windows are whose."""

    name: str
    train: Windows
    test: Windows
    classes: tuple[str, ...]
    """Empty for a text without labels."""
    tokenizer: Tokenizer
    owners: tuple[str, ...] | None
    """Names of the owners, in the order of `rows`; None where nobody named them."""
    rows: Rows
    """Numbers of each device's training windows."""
    partition: str
    """How training windows were divided among devices."""
    notes: tuple[str, ...]
    """What was decided while loading."""

    @property
    def digest(self) -> str:
        """Equal for the same windows cut by the same tokenizer; a run that is resumed can tell that
        a text changed."""
        texts = [
            array
            for part in (self.train, self.test)
            for array in (part.ids_NT, part.lengths_N, part.labels_N)
        ]
        return of_arrays([np.array(self.tokenizer.digest), *texts, *self.rows])

    def data(self, device: int) -> Windows:
        """The training windows of a device, counted from 0."""
        return self.train.take(self.rows[device])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    windows: Windows
    rows: Rows
    partition: str
    owners: tuple[str, ...] | None = None


def load(spec: str, wanted: Wanted) -> TextSource:
    """Load `stdlib`, `hub:NAME` or a path. Everything wrong with it is a ConfigError that names
    place and remedy."""
    _check(wanted)
    corpus = read(spec, _names(wanted))
    owners = {document.owner for document in corpus.train if document.owner is not None}
    if wanted.test is not None:
        corpus = _tested_on(corpus, wanted.test, wanted)
    corpus = _with_test(corpus, wanted)
    texts = [document.text for document in corpus.train]
    made = tokenizer.choose(wanted.tokenizer, texts, wanted.vocabulary)
    cut = _cut(corpus, made, wanted)
    density = _density(cut.windows, corpus)
    source = TextSource(
        name=corpus.where,
        train=cut.windows,
        test=_test(corpus, made, wanted),
        classes=(),
        tokenizer=made,
        owners=cut.owners,
        rows=cut.rows,
        partition=cut.partition,
        notes=(*corpus.notes, *_absent(owners, cut.owners)),
    )
    source = _with_classes(source, corpus)
    note = f"tokenizer {made.name}, {made.vocabulary} entries: {density}"
    return replace(source, notes=(*source.notes, note, *_cutting(corpus, source, wanted)))


def _cutting(corpus: Corpus, source: TextSource, wanted: Wanted) -> tuple[str, ...]:
    """How a text without labels was cut, where that is not as usual: quality depends on it."""
    if wanted.windows != "whole" or corpus.train[0].label is not None:
        return ()
    first = "" if source.tokenizer.separator is None else " behind the token that begins a text"
    documents = len(corpus.train) + len(corpus.test or ())
    note = f"each of {documents} documents begins a window{first} (else: --windows packed)"
    going_on = len(source.train) + len(source.test) - documents
    if going_on <= 0:
        return (note,)
    longer = f"{going_on} more windows go on with long ones, and know nothing of what came before"
    return (note, f"{longer}: raise --context, {wanted.context} now, for fewer of them")


def _with_classes(source: TextSource, corpus: Corpus) -> TextSource:
    """The source with the labels of its documents, if they have any."""
    classes = _classes(corpus)
    if classes is None:
        return source
    return replace(
        source,
        train=replace(source.train, labels_N=classes.train),
        test=replace(source.test, labels_N=classes.test),
        classes=classes.names,
        notes=(*source.notes, *classes.notes),
    )


def _names(wanted: Wanted) -> Names:
    return Names(
        label=wanted.label,
        group=wanted.group,
        missing=wanted.missing,
        separator=wanted.separator,
        text=wanted.text,
    )


def _check(wanted: Wanted) -> None:
    if wanted.alpha is not None:
        raise ConfigError(
            "--alpha: text is divided in runs of whole documents, which differ between devices as "
            "they are; Dirichlet skews classes of independent samples: leave --alpha out, or name "
            "the owners with --group"
        )
    if wanted.context < 2:
        raise ConfigError(
            f"a context of {wanted.context} tokens; expected 2 or more: the first predicts the "
            "second"
        )
    if not 0 < wanted.holdout < 1:
        raise ConfigError(
            f"holdout is {wanted.holdout}; expected a share between 0 and 1, such as 0.1"
        )
    if wanted.devices < 1:
        raise ConfigError(f"{wanted.devices} devices; expected one or more")


def _density(cut: Windows, corpus: Corpus) -> str:
    characters = sum(len(document.text) for document in corpus.train)
    return f"{cut.tokens} training tokens for {characters} characters"


# --- the test part --------------------------------------------------------------------------------


def _tested_on(corpus: Corpus, test: str, wanted: Wanted) -> Corpus:
    """The text with a test part from a file of its own."""
    if corpus.test:
        raise ConfigError(
            f"{corpus.where}: --test {test}: the data have a test part already: leave it out"
        )
    other = read(test, replace(_names(wanted), group=None))
    if (corpus.train[0].label is None) != (other.train[0].label is None):
        has, lacks = (corpus, other) if corpus.train[0].label is not None else (other, corpus)
        raise ConfigError(
            f"{test}: {has.where} has labels and {lacks.where} has none; expected both or neither"
        )
    notes = [f"test part from {test}", *(f"{test}: {note}" for note in other.notes)]
    return replace(corpus, test=other.train, notes=(*corpus.notes, *notes))


def _with_test(corpus: Corpus, wanted: Wanted) -> Corpus:
    if corpus.test:
        return corpus
    if corpus.train[0].label is not None:
        return _held_by_class(corpus, wanted)
    train, test, held_out = _held_documents(corpus.train, wanted) or _held_ends(
        corpus.train, wanted.holdout
    )
    return replace(
        corpus, train=train, test=test, notes=(*corpus.notes, f"no test part: {held_out} held out")
    )


def _held_by_class(corpus: Corpus, wanted: Wanted) -> Corpus:
    kinds = np.array([document.label for document in corpus.train])
    kept, held = labels.stratified(kinds, wanted.holdout, stream(wanted.seed, "text", "holdout"))
    note = f"no test part: {100 * wanted.holdout:g} % held out, stratified, seed {wanted.seed}"
    return replace(
        corpus,
        train=[corpus.train[row] for row in kept],
        test=[corpus.train[row] for row in held],
        notes=(*corpus.notes, note),
    )


def _held_documents(
    documents: Sequence[Document], wanted: Wanted
) -> tuple[list[Document], list[Document], str] | None:
    """Whole documents, in random order while they fit in the share; None where too few are left on
    either side."""
    if len(documents) < MANY:
        return None
    held = _fitting([len(document.text) for document in documents], wanted)
    if not held or len(held) == len(documents):
        return None
    train = [document for row, document in enumerate(documents) if row not in held]
    test = [document for row, document in enumerate(documents) if row in held]
    return train, test, f"{len(held)} documents, seed {wanted.seed},"


def _fitting(letters: Sequence[int], wanted: Wanted) -> set[int]:
    """Rows, in random order, while they fit in the share."""
    left = wanted.holdout * sum(letters)
    held = set()
    for row in stream(wanted.seed, "text", "holdout").permutation(len(letters)).tolist():
        if letters[row] <= left:
            held.add(row)
            left -= letters[row]
    return held


def _held_ends(
    documents: Sequence[Document], holdout: float
) -> tuple[list[Document], list[Document], str]:
    """The end of each document, from the start of a line if there is one near."""
    train = []
    test = []
    for document in documents:
        at = _line_start(document.text, round((1 - holdout) * len(document.text)))
        train.append(replace(document, text=document.text[:at]))
        test.append(replace(document, text=document.text[at:]))
    whose = "the text" if len(documents) == 1 else f"each of {len(documents)} documents"
    return train, test, f"the last {100 * holdout:g} % of {whose}"


def _line_start(text: str, at: int) -> int:
    """The next start of a line, unless that is past half of what is left."""
    end = text.find("\n", at) + 1
    return end if 0 < end - at <= (len(text) - at) // 2 else at


def _test(corpus: Corpus, made: Tokenizer, wanted: Wanted) -> Windows:
    cut = _windows(corpus.test or (), _tokens(corpus.test or (), made), made, wanted)
    if not len(cut) or not cut.lengths_N.max() > 1:
        raise ConfigError(
            f"{corpus.where}: the test part has no text to predict; expected some: raise --holdout "
            f"above {wanted.holdout:g}, or give more text"
        )
    return cut


# --- windows and owners ---------------------------------------------------------------------------


def _tokens(documents: Sequence[Document], made: Tokenizer) -> list[np.ndarray]:
    first = [] if made.separator is None else [made.separator]
    front = np.array(first, dtype=np.int32)
    return [
        np.concatenate([front, ids])
        for ids in made.encode([document.text for document in documents])
    ]


def _windows(
    documents: Sequence[Document], tokens: Sequence[np.ndarray], made: Tokenizer, wanted: Wanted
) -> Windows:
    if documents and documents[0].label is not None:
        return windows.one_each(tokens, wanted.context, made.padding)
    return _unlabelled(tokens, made, wanted)


def _unlabelled(tokens: Sequence[np.ndarray], made: Tokenizer, wanted: Wanted) -> Windows:
    cut = windows.whole if wanted.windows == "whole" else windows.packed
    return cut(tokens, wanted.context, made.padding)


def _cut(corpus: Corpus, made: Tokenizer, wanted: Wanted) -> _Cut:
    tokens = _tokens(corpus.train, made)
    _check_length(corpus, sum(map(len, tokens)), wanted)
    if corpus.train[0].label is not None:
        return _cut_labelled(corpus, windows.one_each(tokens, wanted.context, made.padding), wanted)
    if corpus.train[0].owner is not None:
        return _cut_by_owner(corpus, tokens, made, wanted)
    return _cut_stream(corpus, tokens, made, wanted)


def _check_length(corpus: Corpus, tokens: int, wanted: Wanted) -> None:
    if corpus.train[0].label is None and tokens < wanted.context:
        raise ConfigError(
            f"{corpus.where}: {tokens} training tokens; expected at least one window of "
            f"{wanted.context}: give more text, or a shorter --context"
        )


def _cut_labelled(corpus: Corpus, cut: Windows, wanted: Wanted) -> _Cut:
    if corpus.train[0].owner is not None:
        owners, rows = by_group(np.array([document.owner for document in corpus.train]))
        return _Cut(
            windows=cut,
            rows=rows,
            owners=owners,
            partition=f"one device per owner, {len(owners)} owners",
        )
    _check_enough(corpus.where, len(cut), wanted)
    rows = tuple(np.array_split(np.arange(len(cut)), wanted.devices))
    return _Cut(
        windows=cut,
        rows=rows,
        partition="runs of documents in the order of the file, equal in number",
    )


def _cut_by_owner(
    corpus: Corpus, tokens: Sequence[np.ndarray], made: Tokenizer, wanted: Wanted
) -> _Cut:
    owners, documents = by_group(np.array([document.owner for document in corpus.train]))
    runs = [[tokens[row] for row in own] for own in documents]
    cut = [_unlabelled(run, made, wanted) for run in runs]
    # a single token predicts nothing
    trainable = [place for place, part in enumerate(cut) if part.lengths_N.max(initial=0) > 1]
    if not trainable:
        raise ConfigError(
            f"{corpus.where}: no owner has two tokens to train on; expected more text"
        )
    owners = tuple(owners[place] for place in trainable)
    return _join(
        [cut[place] for place in trainable], f"one device per owner, {len(owners)} owners", owners
    )


def _cut_stream(
    corpus: Corpus, tokens: Sequence[np.ndarray], made: Tokenizer, wanted: Wanted
) -> _Cut:
    """Runs of whole documents, about equal in tokens; of windows where documents are too few or too
    uneven."""
    bounds = _bounds(tokens, wanted.devices)
    runs = [tokens[start:end] for start, end in pairwise(bounds)]
    if all(sum(map(len, run)) >= wanted.context for run in runs):
        parts = [_unlabelled(run, made, wanted) for run in runs]
        return _join(
            parts, f"runs of whole documents, {len(tokens)} in all, about equal in tokens", None
        )
    cut = _unlabelled(tokens, made, wanted)
    _check_enough(corpus.where, len(cut), wanted)
    rows = tuple(np.array_split(np.arange(len(cut)), wanted.devices))
    return _Cut(
        windows=cut,
        rows=rows,
        partition="runs of windows in the order of the text, equal in number",
    )


def _bounds(tokens: Sequence[np.ndarray], devices: int) -> np.ndarray:
    """First document of each device, and the end: where the running total comes nearest to equal
    shares."""
    ends = np.cumsum([0, *map(len, tokens)])
    shares = ends[-1] * np.arange(devices + 1) / devices
    bounds: np.ndarray = np.abs(ends[np.newaxis] - shares[:, np.newaxis]).argmin(axis=1)
    return bounds


def _absent(owners: set[str], kept: tuple[str, ...] | None) -> tuple[str, ...]:
    """A note on owners of whom nothing is left to train on."""
    lost = sorted(owners.difference(kept or ()))
    if not lost:
        return ()
    return (
        f"{len(lost)} owners have no device, for too little of theirs is not held out: "
        f"{labels.shorten(lost)}",
    )


def _join(parts: Sequence[Windows], partition: str, owners: tuple[str, ...] | None) -> _Cut:
    ends = np.cumsum([len(part) for part in parts])
    rows = tuple(np.split(np.arange(ends[-1]), ends[:-1]))
    return _Cut(windows=windows.joined(parts), rows=rows, partition=partition, owners=owners)


def _check_enough(where: str, count: int, wanted: Wanted) -> None:
    if count < wanted.devices:
        raise ScarceError(
            f"{where}: {count} windows of {wanted.context} tokens for {wanted.devices} devices; "
            f"expected one each: choose --devices up to {count}, a shorter --context, or give more "
            "text"
        )


# --- classes --------------------------------------------------------------------------------------


def _classes(corpus: Corpus) -> labels.Classes | None:
    if corpus.train[0].label is None or corpus.test is None:
        return None
    train, test = (_part(documents) for documents in (corpus.train, corpus.test))
    return labels.number(Raw(where=corpus.where, train=train, test=test))


def _part(documents: Sequence[Document]) -> Part:
    return Part(
        inputs=np.zeros(len(documents)),
        labels=np.array([str(document.label) for document in documents]),
    )
