"""A device's own data: read as they are, then mapped by name onto what a run means by its inputs
and labels.

A file alone cannot say which number a class has, which column comes first, or what its numbers are
scaled by: it may lack a class, name its columns in another order, or have seen one season. The run
says these things (`DataSpec`); what cannot be matched by name is a ConfigError that names the
difference and the flag that settles it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..core.errors import ConfigError, UnmatchedError
from ..core.types import Dataset
from . import prepared, tables
from .arrays import open_npz
from .labels import shorten
from .naming import Naming, check_shape, numbered, samples_of
from .own_arrays import Stored, listed
from .own_recordings import recorded
from .own_table import table
from .raw import FeatureColumn
from .scaling import Scaling
from .spec import DataSpec, Mapped


class Own(Protocol):
    """A device's data, before a run says what it means."""

    @property
    def where(self) -> str: ...

    def __len__(self) -> int: ...

    def mapped(self, spec: DataSpec | None) -> Mapped:
        """Raises ConfigError, which names the difference, for data that are not what the run
        means."""
        ...


def read(path: str, naming: Naming) -> Own:
    """A part that `distilfleet split` wrote, or anything that `run --data` takes. Raises
    ConfigError."""
    file = Path(path).expanduser()
    held = open_npz(file) if file.suffix.lower() == ".npz" and file.is_file() else {}
    if prepared.holds(held):
        return _part(held, path, naming)
    from . import sources  # readers of pictures and of the hub, which few devices need

    reader = sources.reader_of(file) if file.exists() else None
    if reader is not None and reader.is_recorded:
        return recorded(file, naming)
    if file.is_file() and tables.is_table(file, naming.label):
        return table(file, naming)
    raw = sources.read(path, label=naming.label, reading=naming.reading)
    return Stored(raw=raw, naming=naming, listed=listed(held, raw))


@dataclass(slots=True, kw_only=True)
class Cached:
    """An `Own` that is mapped once for a run, since a worker and a digest are made from the
    same."""

    own: Own
    spec: DataSpec | None = None
    done: Mapped | None = None

    @property
    def where(self) -> str:
        return self.own.where

    def __len__(self) -> int:
        return len(self.own)

    def mapped(self, spec: DataSpec | None) -> Mapped:
        if self.done is None or self.spec != spec:
            self.spec, self.done = spec, self.own.mapped(spec)
        return self.done


# --- a part that `distilfleet split` wrote --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ready:
    """Samples as models see them, with their names if they are known."""

    data: Dataset
    where: str = "data"
    facts: prepared.PreparedFacts | None = None
    naming: Naming = Naming()

    def __len__(self) -> int:
        return len(self.data)

    @property
    def inputs(self) -> np.ndarray:
        """The inputs as models see them."""
        return self.data.inputs

    @property
    def labels(self) -> np.ndarray | None:
        """The labels as numbered by the split."""
        return self.data.labels

    def mapped(self, spec: DataSpec | None) -> Mapped:
        if spec is None:
            return Mapped(data=self.data)
        if self.facts is None:
            raise ConfigError(
                f"{self.where} does not say what it holds: write it again with `distilfleet split`"
            )
        _check_same(self.facts, spec, self.where)
        check_shape(self.data.shape, spec, self.where)
        inputs = self.data.inputs
        notes: tuple[str, ...] = ()
        if isinstance(self.facts.scaling, Scaling):
            inputs, notes = _rescaled(inputs, self.facts.scaling, spec.scaling)
        if self.data.labels is None:
            return Mapped(data=Dataset(inputs), notes=notes)
        names = np.array(self.facts.classes)[self.data.labels]
        numbers, kept, skipped = numbered(names, spec, self.naming, self.where)
        return Mapped(
            data=Dataset(inputs[kept] if skipped else inputs, numbers), notes=(*notes, *skipped)
        )


def _part(held: Mapping[str, np.ndarray], where: str, naming: Naming) -> Ready:
    facts = prepared.facts_of(held, where)
    if facts is not None and facts.whose != prepared.DEVICE:
        raise ConfigError(
            f"{where}: the {facts.whose}'s part; a device's is named after it, such as device-0.npz"
        )
    data = prepared.dataset(held, where)
    if facts is not None and data.labels is not None and data.labels.max() >= len(facts.classes):
        raise ConfigError(
            f"{where}: a label {data.labels.max()}, and {len(facts.classes)} names of classes, "
            "from 0 on"
        )
    return Ready(data=data, where=where, facts=facts, naming=naming)


def _check_same(facts: prepared.PreparedFacts, spec: DataSpec, where: str) -> None:
    kind = "text" if facts.scaling is None else facts.scaling.kind
    if kind != spec.kind:
        differs = f"{samples_of(kind)}; the run's samples are {samples_of(spec.kind)}"
        raise UnmatchedError(f"{where} holds {differs}", mismatch=differs)
    if facts.tokenizer != spec.tokenizer:
        differs = "cut with another tokenizer than the run's"
        raise UnmatchedError(
            f"{where} was {differs}: split the text once for all", mismatch=f"windows {differs}"
        )
    if _names_of(facts.columns) != _names_of(spec.columns):
        differs = f"the columns {_listed(facts.columns)}; the run has {_listed(spec.columns)}"
        raise UnmatchedError(f"{where} has {differs}: split the same data again", mismatch=differs)


def _names_of(columns: Sequence[FeatureColumn]) -> list[tuple[str, tuple[str, ...]]]:
    return [(column.name, column.values) for column in columns]


def _listed(columns: Sequence[FeatureColumn]) -> str:
    return shorten([column.name for column in columns]) or "none"


def _rescaled(
    inputs: np.ndarray, mine: Scaling, run: Scaling
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The inputs to the bit where the part was scaled as the run is; else scaled back and as the
    run scales."""
    if np.array_equal(mine.offset, run.offset) and np.array_equal(mine.factor, run.factor):
        return inputs, ()
    varies = mine.factor != 0
    raw = inputs / np.where(varies, mine.factor, 1.0) + mine.offset
    scaled = ((raw - run.offset) * run.factor).astype(np.float32)
    return scaled, ("scaled anew: the run's scaling is not that of the split",)
