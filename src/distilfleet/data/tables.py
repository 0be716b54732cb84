"""Tables in .csv and .tsv files: numbers stay, short text becomes 0/1 columns, dates and row numbers go."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilfleet.core.errors import ConfigError
from distilfleet.data.labels import shorten
from distilfleet.data.raw import FLOAT32_MAX, Column, Part, Raw

ROW_NUMBERS = frozenset({"", "id", "index", "row", "unnamed: 0"})
BLANK = frozenset({"", "na", "n/a", "null", "none", "?"})
MOST_VALUES = 20
"""A text column with more distinct values is dropped instead of becoming that many inputs."""
DATE = re.compile(r"(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d.*)?|\d{1,2}:\d{2}(:\d{2}.*)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A file's cells by column, stripped text, and the line each row stands on."""

    where: str
    cells: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A column that is no feature, and why."""

    name: str
    reason: str


def read(path: Path, label: str | None, group: str | None) -> Raw:
    """A labelled table: `label` and `group` name columns, by default those called label and group, if any."""
    sheet = open_sheet(path)
    label_name = _need(sheet, label or "label", "label", "--label")
    group_name = _need(sheet, group, "group", "--group") if group else _find(sheet, "group")
    names = [name for name in sheet.cells if name not in (label_name, group_name)]
    columns, notes = _features(sheet, names)
    groups = None if group_name is None else np.array(sheet.cells[group_name])
    if group_name is not None and group is None:
        notes = (*notes, f"owners from column {group_name!r}")
    train = Part(inputs=encode(sheet, columns), labels=_labels(sheet, label_name), groups=groups)
    return Raw(where=sheet.where, train=train, columns=columns, notes=(*sheet.notes, *notes))


def encode(sheet: Sheet, columns: Sequence[Column]) -> np.ndarray:
    """The inputs of a sheet, float64 [n, features]; a text value that training did not have is all zeros."""
    blocks = [_encode(sheet, _need(sheet, column.name, "feature", ""), column) for column in columns]
    return np.concatenate(blocks, axis=1)


def open_sheet(path: Path) -> Sheet:
    """The cells of a file whose first row names the columns."""
    rows, lines = _rows(path)
    if len(rows) < 2:
        raise ConfigError(f"{path}: {len(rows)} rows; expected a row of column names and rows of data")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    notes: tuple[str, ...] = ()
    if _has_row_names(header, body):
        header, notes = (
            ["", *header],
            ("first field of every row dropped: row names, which the header has no name for",),
        )
    _check_header(header, path)
    _check_widths(header, body, lines[1:], path)
    cells = dict(zip(header, zip(*body, strict=True), strict=True))
    if notes:
        del cells[""]
    stripped = {name: [cell.strip() for cell in column] for name, column in cells.items()}
    return Sheet(where=str(path), cells=stripped, lines=lines[1:], notes=notes)


def _rows(path: Path) -> tuple[list[list[str]], list[int]]:
    rows, lines = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(path, file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error}): save it as UTF-8") from error
    except csv.Error as error:
        raise ConfigError(
            f'{path}: line {reader.line_num}: {error}; expected fields that may be quoted with "'
        ) from error
    return rows, lines


def _delimiter(path: Path, header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    return "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=bare.count)


def _has_row_names(header: list[str], body: list[list[str]]) -> bool:
    """As R writes them: one field more than the header in every row, no two the same."""
    return all(len(row) == len(header) + 1 for row in body) and len({row[0] for row in body}) == len(body)


def _check_header(header: list[str], path: Path) -> None:
    if all(_number(name) is not None for name in header):
        raise ConfigError(f"{path}: line 1 is all numbers ({shorten(header)}); expected a row of column names")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{path}: line 1 names column {twice!r} twice; expected each name once")


def _check_widths(header: list[str], body: list[list[str]], lines: list[int], path: Path) -> None:
    for row, line in zip(body, lines, strict=True):
        if len(row) != len(header):
            raise ConfigError(
                f"{path}: line {line} has {len(row)} fields; expected {len(header)}, as in the first line"
            )


def _features(sheet: Sheet, names: Sequence[str]) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    decided = [_decide(sheet, name) for name in names]
    columns = tuple(column for column in decided if isinstance(column, Column))
    dropped = [column for column in decided if isinstance(column, Dropped)]
    if not columns:
        reasons = "; ".join(f"{column.name!r}: {column.reason}" for column in dropped) or "no other column"
        raise ConfigError(f"{sheet.where}: no column can be a feature ({reasons}); expected columns of numbers")
    notes = [f"column {column.name!r} dropped: {column.reason}" for column in dropped]
    notes += [
        f"column {column.name!r} became {len(column.values)} inputs, one per value: {', '.join(column.values)}"
        for column in columns
        if column.values
    ]
    return columns, tuple(notes)


def _decide(sheet: Sheet, name: str) -> Column | Dropped:
    cells = sheet.cells[name]
    distinct = sorted(set(cells))
    if name.lower() in ROW_NUMBERS and len(distinct) == len(cells):
        return Dropped(name=name, reason="it numbers the rows")
    if _numbers(cells) is not None or _mostly(cells, lambda cell: _number(cell) is not None):
        return Column(name=name)
    if _mostly(cells, lambda cell: DATE.fullmatch(cell) is not None):
        return Dropped(name=name, reason="dates and times are no features")
    if len(distinct) > MOST_VALUES or 2 * len(distinct) > len(cells):
        return Dropped(name=name, reason=f"text with {len(distinct)} values in {len(cells)} rows")
    if len(distinct) == 1:
        return Dropped(name=name, reason=f"every row has {distinct[0]!r}")
    return Column(name=name, values=tuple(distinct))


def _mostly(cells: Sequence[str], test: Callable[[str], bool]) -> bool:
    filled = [cell for cell in cells if cell.lower() not in BLANK]
    return 2 * sum(map(test, filled)) > len(filled)


def _encode(sheet: Sheet, name: str, column: Column) -> np.ndarray:
    if not column.values:
        return _finite(sheet, name)[:, np.newaxis]
    cells = np.array(sheet.cells[name])
    return np.stack([cells == value for value in column.values], axis=1).astype(np.float64)


def _finite(sheet: Sheet, name: str) -> np.ndarray:
    """A column of numbers, or a `ConfigError` with the line of the first cell that is none."""
    values = _numbers(sheet.cells[name])
    if values is not None and (np.abs(values) <= FLOAT32_MAX).all():
        return values
    for cell, line in zip(sheet.cells[name], sheet.lines, strict=True):
        value = _number(cell)
        if value is None or not abs(value) <= FLOAT32_MAX:
            raise ConfigError(
                f"{sheet.where}: line {line}, column {name!r} holds {cell!r}; expected a finite number: correct the "
                f"cell or remove the row"
            )
    raise AssertionError("one of the cells was no finite number")


def _labels(sheet: Sheet, name: str) -> np.ndarray:
    cells = sheet.cells[name]
    if "" in cells:
        line = sheet.lines[cells.index("")]
        raise ConfigError(f"{sheet.where}: line {line} has no label in column {name!r}; expected one in every row")
    values = _numbers(cells)
    if values is None or not np.isfinite(values).all():
        return np.array(cells)
    odd = np.flatnonzero(values != np.floor(values))
    if len(odd):
        raise ConfigError(
            f"{sheet.where}: line {sheet.lines[odd[0]]}, label column {name!r} holds {cells[odd[0]]!r}; expected whole "
            f"numbers or text, one per class: bin a continuous target first"
        )
    return values.astype(np.int64)


def _numbers(cells: Sequence[str]) -> np.ndarray | None:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return None


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _need(sheet: Sheet, name: str, what: str, flag: str) -> str:
    found = _find(sheet, name)
    if found is None:
        advice = f": name it with {flag}" if flag else ""
        raise ConfigError(f"{sheet.where}: no {what} column {name!r}; columns: {shorten(list(sheet.cells))}{advice}")
    return found


def _find(sheet: Sheet, name: str) -> str | None:
    if name in sheet.cells:
        return name
    return next((column for column in sheet.cells if column.lower() == name.lower()), None)
