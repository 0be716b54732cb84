"""A file to predict: every kind that `--data` takes, with labels or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError
from ..core.types import Dataset
from ..data import arrays, files, own, prepared, proxy
from ..data.documents import read as read_documents
from ..data.naming import Naming
from ..data.own import Ready
from ..data.sources import Source
from ..data.spec import DataSpec
from ..data.text_files import Names

LINES = ".txt"
"""The ending of a file that has a text on each line."""
UNKNOWN = -1
"""Stands where a text's label is none of the model's classes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Inputs as the model takes them."""

    inputs: np.ndarray
    labels: np.ndarray | None = None
    """The number of each sample's class; None where the file has no labels."""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Texts as they were stored."""

    texts: Sequence[str]
    labels: Sequence[str] | None = None
    """The name of each text's class; None where the file has no labels."""
    notes: tuple[str, ...] = ()

    def numbers(self, classes: Sequence[str]) -> np.ndarray | None:
        """The number of each text's class, or `UNKNOWN`."""
        if self.labels is None:
            return None
        known = {name: number for number, name in enumerate(classes)}
        return np.array([known.get(name, UNKNOWN) for name in self.labels])


def read(path: str, spec: DataSpec, naming: Naming) -> Samples:
    """Samples of numbers, as a model takes them.

    Labels that are not those of the model are left alone, with a note. Raises ConfigError, which
    names file, place and remedy.
    """
    file = files.named(path)
    try:
        stored = _stored(file, path, naming)
    except ConfigError:
        if not file.exists():
            raise
        return _unlabelled(path, spec, naming)
    try:
        mapped = stored.mapped(spec)
    except ConfigError as fault:
        found = _unlabelled(path, spec, naming)
        return Samples(inputs=found.inputs, notes=(f"its labels are not used: {fault}",))
    return Samples(inputs=mapped.data.inputs, labels=mapped.data.labels, notes=mapped.notes)


def read_texts(path: str, naming: Naming) -> Texts:
    """Texts of a file: its lines, its rows, or its entries. Raises ConfigError."""
    file = files.named(path)
    if file.suffix.lower() == LINES and file.is_file():
        lines = [line.strip() for line in files.read_text(file).splitlines()]
        return _some(path, [line for line in lines if line])
    corpus = read_documents(path, Names(label=naming.label, separator=naming.reading.separator))
    documents = [*corpus.train, *(corpus.test or ())]
    labels = [document.label for document in documents]
    named = [label for label in labels if label is not None]
    texts = [document.text for document in documents]
    return Texts(
        texts=texts, labels=named if len(named) == len(texts) else None, notes=corpus.notes
    )


def _some(path: str, texts: Sequence[str]) -> Texts:
    if not texts:
        raise ConfigError(f"{path}: no text; expected one on each line")
    return Texts(texts=texts)


def _stored(file: Path, path: str, naming: Naming) -> own.Own:
    """The file as an agent reads its own; of what `distilfleet split` wrote, any part."""
    held = arrays.open_npz(file) if file.suffix.lower() == ".npz" and file.is_file() else {}
    if not prepared.holds(held):
        return own.read(path, naming)
    data = prepared.dataset(held, path)
    return Ready(data=data, where=path, facts=prepared.facts_of(held, path), naming=naming)


def _unlabelled(path: str, spec: DataSpec, naming: Naming) -> Samples:
    return Samples(inputs=proxy.from_path(path, _source(spec), naming.reading).inputs)


def _source(spec: DataSpec) -> Source:
    """The data of the model's run, without its samples: what further ones are read by."""
    none = Dataset(np.zeros((0, *spec.shape), np.float32))
    return Source(
        name="the model's run",
        train=none,
        test=none,
        classes=spec.classes,
        groups=None,
        scaling=spec.words if spec.kind == "words" else spec.scaling,
        columns=spec.columns,
        notes=(),
        digest="",
        sampling=spec.sampling,
    )
