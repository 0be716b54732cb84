"""A device's table, matched with a run's columns by name."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError, UnmatchedError
from ..core.types import Dataset
from . import clock, column_files, numbers, series, tables
from .labelled_text import as_array
from .labels import is_missing, labelled, own_numbers, shorten, shown
from .naming import Naming, check_names, check_some, need, numbered, samples_of, unknown
from .raw import FeatureColumn, Part, present
from .sheets import Sheet, named
from .spec import DataSpec, Mapped
from .units import converted, scaled

LABEL = "label"
"""The column of labels, where neither the owner nor the run names one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnTable:
    """A file with names of columns; read again for each run, so that cells need not stay in memory
    as text."""

    path: Path
    naming: Naming
    rows: int

    @property
    def where(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return self.rows

    def mapped(self, spec: DataSpec | None) -> Mapped:
        spec = need(spec, self.where)
        if spec.kind == "words":
            return self._of_texts(spec)
        _check_kind(spec, self.where)
        columns = _columns(spec, self.naming, self.where)
        sheet = _opened(self.path, self.naming)
        _check_columns(sheet, columns)
        label = _label_column(sheet, self.naming, spec.label, {column.name for column in columns})
        notes = [*sheet.notes, *_ignored(sheet, columns, label)]
        sheet, of_categories = _known_categories(sheet, columns, self.naming)
        notes += [*_blank_categories(sheet, columns), *of_categories]
        labels = None
        if label is not None:
            sheet, labels, of_labels = self._numbered(sheet, label, spec)
            notes += of_labels
        check_some(len(sheet.lines), self.where)
        raw = converted(_encoded(sheet, columns, self.naming), columns, self.naming)
        if spec.sampling.window:
            raw, labels, of_windows = self._cut(sheet, raw, labels, spec)
            notes += of_windows
        found = self._whole(raw, labels, spec)
        return Mapped(data=found.data, notes=(*notes, *found.notes))

    def _whole(self, raw: np.ndarray, labels: np.ndarray | None, spec: DataSpec) -> Mapped:
        """The samples without a missing number, in the run's units."""
        whole = present(raw)
        what = "windows" if spec.sampling.window else "rows"
        left_out = () if whole.all() else (f"{(~whole).sum()} {what} left out: no number",)
        inputs, notes = scaled(raw[whole], spec, self.where, self.naming)
        data = Dataset(inputs, None if labels is None else labels[whole])
        return Mapped(data=data, notes=(*left_out, *notes))

    def _cut(
        self, sheet: Sheet, raw: np.ndarray, labels: np.ndarray | None, spec: DataSpec
    ) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
        """Windows of steps as the run cut its own, and their labels; gaps by times, or by lines
        that are left out."""
        reading = series.as_in_run(self.naming.reading, spec.sampling)
        name = tables.time_column(sheet, reading)
        times = None if name is None else clock.seconds(sheet, name)
        found_hz = 0.0 if times is None else series.rate_of(times)
        if not series.agree(found_hz, spec.sampling.rate_hz):
            differs = f"rows {found_hz:g} a second; the run's steps are {spec.sampling.rate_hz:g}"
            raise UnmatchedError(
                f"{self.where} has {differs}: resample them first", mismatch=differs
            )
        rate_hz = found_hz or spec.sampling.rate_hz
        classes = np.zeros(len(raw), dtype=np.int64) if labels is None else labels
        steps = Part(inputs=raw, labels=classes, times=times, rows=np.array(sheet.lines))
        part, notes = series.cut_part(
            steps, series.SERIES, series.sampling_of(reading, rate_hz, self.where), self.where
        )
        return part.inputs, None if labels is None else part.labels, notes

    def _of_texts(self, spec: DataSpec) -> Mapped:
        """Texts as the run's devices take them: the column that the owner or the run names."""
        sheet = _opened(self.path, self.naming)
        wanted = self.naming.reading.text or (spec.columns[0].name if spec.columns else "")
        text = find(sheet, self.naming.columns.get(wanted, wanted))
        if text is None:
            columns = shorten(list(sheet.cells))
            raise UnmatchedError(
                f"{self.where}: no column {shown(wanted or 'of texts')}, which the run classifies; "
                f"columns here: {columns}. "
                f"Name it with --text",
                mismatch=f"missing column {shown(wanted)} of texts",
            )
        label = _label_column(sheet, self.naming, spec.label, {text})
        written = [row for row, cell in enumerate(sheet.cells[text]) if cell.strip()]
        blank = len(sheet.lines) - len(written)
        notes = [*sheet.notes, *([f"{blank} rows left out: no text"] if blank else [])]
        sheet = sheet.rows(written)
        labels = None
        if label is not None:
            sheet, labels, of_labels = self._numbered(sheet, label, spec)
            notes += of_labels
        check_some(len(sheet.lines), self.where)
        ids = spec.words.apply(as_array(sheet.cells[text]))
        return Mapped(data=Dataset(ids, labels), notes=tuple(notes))

    def _numbered(
        self, sheet: Sheet, label: str, spec: DataSpec
    ) -> tuple[Sheet, np.ndarray, tuple[str, ...]]:
        """The rows whose label the run knows, its numbers of their classes, and notes on rows that
        are left out."""
        sheet, without = _labelled(sheet, label, self.naming)
        classes, kept, strange = numbered(
            np.array(sheet.cells[label]), spec, self.naming, self.where
        )
        return sheet.rows(kept.tolist()), classes, (*without, *strange)

    @property
    def inputs(self) -> np.ndarray:
        """Columns of numbers in the order of their names, as stored: what can be said before a run
        names its own."""
        sheet = _opened(self.path, self.naming)
        names = sorted(set(sheet.cells) - {_label_column(sheet, self.naming, "")})
        read = {
            name: numbers.read(sheet.cells[name], self.naming.reading.decimal) for name in names
        }
        columns = [FeatureColumn(name=name) for name, found in read.items() if found is not None]
        return tables.encode(sheet, columns, self.naming.reading)

    @property
    def labels(self) -> np.ndarray:
        """Numbers of the file's own classes, sorted by name: what can be said before a run names
        its own."""
        sheet = _opened(self.path, self.naming)
        label = _label_column(sheet, self.naming, "")
        if label is None:
            raise ConfigError(f"{self.where}: no column {LABEL!r}; name the labels' with --label")
        sheet, _ = _labelled(sheet, label, self.naming)
        return own_numbers(np.array(sheet.cells[label]), self.where)


def _check_kind(spec: DataSpec, where: str) -> None:
    """Raises UnmatchedError where a run's samples cannot be rows of a table."""
    if spec.kind != "table" and not spec.sampling.window:
        differs = f"a table; the run's samples are {samples_of(spec.kind)}"
        raise UnmatchedError(f"{where} is {differs}", mismatch=differs)


def table(path: Path, naming: Naming) -> OwnTable:
    """Raises ConfigError for a file without rows, or without a column that the owner names."""
    sheet = _opened(path, naming)
    _label_column(sheet, naming, "")
    return OwnTable(path=path, naming=naming, rows=len(sheet.lines))


def _opened(path: Path, naming: Naming) -> Sheet:
    """The cells under the run's names of columns."""
    return _renamed(column_files.opened(path, naming.reading.separator), naming)


def _encoded(sheet: Sheet, columns: Sequence[FeatureColumn], naming: Naming) -> np.ndarray:
    """The values as stored; a column that the owner converts may be in any unit."""
    wanted = [
        replace(column, unit="") if column.name in naming.units else column for column in columns
    ]
    try:
        return tables.encode(sheet, wanted, naming.reading)
    except ConfigError as fault:
        names = [
            column.name
            for column in wanted
            if not column.values and not _is_numeric(sheet, column, naming)
        ]
        mismatch = (
            f"column {shorten(list(map(shown, names)))} cannot be read as the numbers that the run "
            "means"
        )
        raise UnmatchedError(str(fault), mismatch=mismatch) from None


def _is_numeric(sheet: Sheet, column: FeatureColumn, naming: Naming) -> bool:
    found = numbers.read(sheet.cells[find(sheet, column.name) or ""], naming.reading.decimal)
    usual = (
        not isinstance(found, numbers.Numbers)
        or not (found.unit and column.unit)
        or found.unit == column.unit
    )
    return isinstance(found, numbers.Numbers) and usual and bool(np.isfinite(found.values).all())


def _labelled(sheet: Sheet, label: str, naming: Naming) -> tuple[Sheet, tuple[str, ...]]:
    """Rows that have a label, and a note if others are left out."""
    cells = sheet.cells[label]
    kept = labelled(cells, naming.reading.missing, sheet.place, label)
    return sheet.rows(kept), (f"{len(cells) - len(kept)} rows left out: no label",) if len(
        kept
    ) < len(cells) else ()


def _ignored(sheet: Sheet, columns: Sequence[FeatureColumn], label: str | None) -> list[str]:
    wanted = {find(sheet, column.name) for column in columns}
    others = [name for name in sheet.cells if name not in wanted and name != label]
    return (
        [f"columns that are no inputs of the run are left out: {shorten(others)}"] if others else []
    )


def find(sheet: Sheet, name: str) -> str | None:
    """The column of this name, as it is spelled, else in any case if there is only one."""
    found = list(named(sheet.cells, name))
    return found[0] if len(found) == 1 else None


def _renamed(sheet: Sheet, naming: Naming) -> Sheet:
    absent = [name for name in naming.columns if name not in sheet.cells]
    if absent:
        raise ConfigError(
            f"{sheet.where}: no column {shown(absent[0])} to --rename; columns: "
            f"{shorten(list(sheet.cells))}"
        )
    names = [naming.columns.get(name, name) for name in sheet.cells]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f"{sheet.where}: --rename leaves two columns {shown(twice[0])}; expected each name once"
        )
    return replace(sheet, cells=dict(zip(names, sheet.cells.values(), strict=True)))


def _label_column(
    sheet: Sheet, naming: Naming, of_run: str, inputs: Collection[str] = ()
) -> str | None:
    """The owner's, the run's, or the usual one unless it is an input; None if the file has no such
    column."""
    if naming.label is None:
        return find(sheet, of_run or LABEL) or (None if LABEL in inputs else find(sheet, LABEL))
    found = find(sheet, naming.columns.get(naming.label, naming.label))
    if found is None:
        columns = shorten(list(sheet.cells))
        raise ConfigError(
            f"{sheet.where}: no column {shown(naming.label)} as --label says; columns: {columns}"
        )
    return found


def _columns(spec: DataSpec, naming: Naming, where: str) -> tuple[FeatureColumn, ...]:
    """The run's columns; or the owner's, where the run has no names."""
    if spec.columns:
        check_names(naming, spec.columns)
        return spec.columns
    if len(naming.order) != spec.shape[0]:
        raise UnmatchedError(
            f"{where} names its columns, and the run has {spec.shape[0]} inputs without names: say "
            "with --columns which columns they are, in order",
            mismatch="a table with names of columns; the run's inputs have none",
        )
    return tuple(FeatureColumn(name=name) for name in naming.order)


def _check_columns(sheet: Sheet, columns: Sequence[FeatureColumn]) -> None:
    missing = [column.name for column in columns if find(sheet, column.name) is None]
    if missing:
        names = shorten([shown(name) for name in missing])
        raise UnmatchedError(
            f"{sheet.where}: missing column {names} of the run; columns here: "
            f"{shorten(list(sheet.cells))}. One with another name can be mapped: --rename "
            f"OWN={missing[0]}",
            mismatch=f"missing column {names} of the run",
        )


def _known_categories(
    sheet: Sheet, columns: Sequence[FeatureColumn], naming: Naming
) -> tuple[Sheet, tuple[str, ...]]:
    """Categories under the run's names; rows with others are left out if the owner says so, else
    refused."""
    notes = []
    for column in (column for column in columns if column.values):
        name = find(sheet, column.name)
        assert name is not None  # checked before
        cells = [naming.values.get((column.name, cell), cell) for cell in sheet.cells[name]]
        sheet = replace(sheet, cells={**sheet.cells, name: cells})
        strange = [cell for cell in cells if not _is_known(cell, column)]
        if strange:
            notes += unknown(strange, column.values, naming, sheet.where, column.name)
            sheet = sheet.rows([row for row, cell in enumerate(cells) if _is_known(cell, column)])
    return sheet, tuple(notes)


def _blank_categories(sheet: Sheet, columns: Sequence[FeatureColumn]) -> list[str]:
    """A note on each column of categories that has rows without one."""
    counts = {
        column.name: sum(map(is_missing, sheet.cells[find(sheet, column.name) or ""]))
        for column in columns
        if column.values
    }
    rows = len(sheet.lines)
    return [
        f"column {shown(name)}: {count} of {rows} rows have no value"
        for name, count in counts.items()
        if count
    ]


def _is_known(cell: str, column: FeatureColumn) -> bool:
    """A missing one is no category, as in the run's own data."""
    return cell in column.values or is_missing(cell)
