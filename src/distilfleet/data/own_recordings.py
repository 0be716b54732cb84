"""A device's recordings, read again for each run: at its rate, of its channels, in its length."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError, UnmatchedError
from . import recordings
from .naming import Naming, need, samples_of
from .own_arrays import Stored
from .raw import Raw, SampleSpec
from .spec import DataSpec, Mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Recordings of sound or signals, whole or to be cut into windows."""

    path: Path
    naming: Naming
    files: int

    @property
    def where(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return self.files

    def mapped(self, spec: DataSpec | None) -> Mapped:
        spec = need(spec, self.where)
        if spec.kind != "series" or not spec.sampling.rate_hz:
            differs = f"recordings; the run's samples are {samples_of(spec.kind)} of no known rate"
            raise UnmatchedError(f"{self.where} holds {differs}", mismatch=differs)
        raw = self._read(spec)
        mapped = Stored(raw=raw, naming=replace(self.naming, order=())).mapped(spec)
        return replace(mapped, notes=(*raw.notes, *mapped.notes))

    def _read(self, spec: DataSpec) -> Raw:
        """The recordings in the run's form, under the run's names of channels."""
        mine = {run: own for own, run in self.naming.columns.items()}
        columns = tuple(
            replace(column, name=mine.get(column.name, column.name)) for column in spec.columns
        )
        meant = SampleSpec(shape=spec.shape, columns=columns, sampling=spec.sampling)
        reading = recordings.as_in_run(self.naming.reading, spec.sampling)
        try:
            form = recordings.form_of(meant, self.where)
            return recordings.read(self.path, self.naming.label, None, reading, form)
        except ConfigError as fault:
            raise UnmatchedError(str(fault), mismatch="recordings unlike the run's") from None

    @property
    def inputs(self) -> np.ndarray:
        """The recordings as stored, where they are of one form."""
        return self._alone().train.inputs

    @property
    def labels(self) -> np.ndarray:
        """Numbers of their own classes, sorted by name."""
        return Stored(raw=self._alone(), naming=self.naming).labels

    def _alone(self) -> Raw:
        return recordings.read(self.path, self.naming.label, None, self.naming.reading)


def recorded(path: Path, naming: Naming) -> Recorded:
    """Raises ConfigError where there is no recording."""
    return Recorded(
        path=path, naming=naming, files=recordings.count(path, naming.label, naming.reading)
    )
