"""The cells of .csv and .tsv files, by the names in their first line, whatever parts fields and
whatever ends rows."""

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice, pairwise
from pathlib import Path

from ..core.errors import ConfigError
from . import files, numbers
from .labels import shorten, shown
from .numbers import TypedCells
from .reading import Separator

MARKS: Mapping[Separator, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
TRIED = 50
"""Rows that are looked at to find what parts fields."""
LONGEST_FIELD = 2**31 - 1
"""A text may be one field; the csv module stops at 131,072 characters unless told."""
COMMENT = re.compile(r"[ \t]*(?:#([^\r\n]*))?(?:\r\n|\n|\r)")
FIRST_QUOTED = re.compile(r"[^\r\n]*[\r\n]+[ \t]*\"")
"""A text whose first row below the header begins with a quote."""
ANNOTATED = re.compile(r"#(?:group|datatype|default)[,;\t]")
"""How InfluxDB's command line and page begin an export."""
EXCEL = re.compile(r"sep=(.)\r?\n?", re.I)
ROW_NAMES = "first field of every row dropped: row names, which the header has no name for"

Rows = list[list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A file's cells by column, stripped text, and the line each row stands on."""

    where: str
    cells: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    notes: tuple[str, ...]
    padded: frozenset[str] = frozenset()
    """Columns of which some cells had spaces around them."""
    place_words: str = "line {}"
    """How messages name one of `lines`."""

    def place(self, row: int) -> str:
        """How messages name a row."""
        return f"{self.where}: {self.place_words.format(self.lines[row])}"

    def rows(self, kept: Sequence[int]) -> "Sheet":
        """The sheet of some rows, by their numbers."""
        cells: dict[str, Sequence[str]] = {
            name: column.take(kept)
            if isinstance(column, TypedCells)
            else [column[row] for row in kept]
            for name, column in self.cells.items()
        }
        return replace(self, cells=cells, lines=[self.lines[row] for row in kept])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Rows below a header, with the line each ends on."""

    where: str
    header: list[str]
    body: Rows
    lines: list[int]
    quoted: bool = False
    """Whether the first row begins with a quote."""
    notes: tuple[str, ...] = ()


def open_sheet(path: Path, separator: Separator | None = None) -> Sheet:
    """The cells of a file whose first row names the columns. Raises ConfigError with the line."""
    table = _parted(path, separator)
    for step in (
        _without_blank_rows,
        _without_comments,
        _with_row_names,
        _without_trailing,
        _without_unnamed,
    ):
        table = step(table)
    _check_header(table)
    _check_widths(table)
    columns = dict(zip(table.header, zip(*table.body, strict=True), strict=True))
    cells = {name: [cell.strip() for cell in column] for name, column in columns.items()}
    padded = frozenset(name for name, column in columns.items() if cells[name] != list(column))
    return Sheet(
        where=table.where, cells=cells, lines=table.lines, notes=table.notes, padded=padded
    )


# --- lines and fields -----------------------------------------------------------------------------


def _parted(path: Path, separator: Separator | None) -> _Table:
    text = files.read_text(path)
    if ANNOTATED.match(text):
        raise ConfigError(
            f"{path}: InfluxDB's annotated CSV (its first lines begin with #group, #datatype or "
            f"#default): export it with annotations off, and pivoted, so that each field is a "
            f"column"
        )
    rest, skipped, commented = _below_comments(text)
    announced = EXCEL.match(rest)
    if announced:
        rest = rest[announced.end() :]
        skipped += 1
    mark = announced[1] if announced and separator is None else _separator(path, rest, separator)
    rows, lines = _rows(path, rest, mark, skipped)
    notes = [f"{skipped} lines above the names of columns skipped"] if skipped else []
    if commented and rows and _is_header(commented, mark, rows[0]):
        rows = [*_fields(commented, mark), *rows]
        lines = [skipped, *lines]
        notes = ["names of columns from the comment above the first row"]
    if len(rows) < 2:
        raise ConfigError(
            f"{path}: {len(rows)} rows; expected a row of column names and rows of data"
        )
    return _Table(
        where=str(path),
        header=[name.strip("\ufeff \t\xa0") for name in rows[0]],
        body=rows[1:],
        lines=lines[1:],
        quoted=FIRST_QUOTED.match(rest) is not None,
        notes=(*notes, *_unusual(mark, path)),
    )


def _unusual(mark: str, path: Path) -> tuple[str, ...]:
    """A note on a mark that the file's ending does not say."""
    said = mark == "," or (mark == "\t" and path.suffix.lower() == ".tsv")
    return () if said else (f"fields parted by {mark!r}",)


def _below_comments(text: str) -> tuple[str, int, str]:
    """What is below leading lines that begin with #, how many those are, and the last of them
    without its #."""
    at = 0
    count = 0
    last = ""
    while found := COMMENT.match(text, at):
        at = found.end()
        count = count + 1
        last = found[1] or last
    return text[at:], count, last.strip()


def _is_header(line: str, mark: str, row: Sequence[str]) -> bool:
    """Whether a comment names the columns of data that begin below it."""
    names = _fields(line, mark)[0]
    if len(row) < 2 or len(names) != len(row):
        return False
    return any(map(numbers.is_number, row)) and not any(map(numbers.is_number, names))


def _fields(line: str, mark: str) -> Rows:
    return list(csv.reader([line], delimiter=mark))


def _separator(path: Path, text: str, separator: Separator | None) -> str:
    """The mark that parts the first rows alike, if just one does."""
    if separator is not None:
        return MARKS[separator]
    head = text[: text.find("\n") + 1 or None]
    if path.suffix.lower() == ".tsv" and "\t" in head:
        return "\t"
    widths = {mark: _widths(text, mark) for mark in MARKS.values()}
    fitting = [mark for mark, each in widths.items() if _alike(each)]
    if len(fitting) > 1:
        raise ConfigError(
            f"{path}: fields can be parted by {' or '.join(map(repr, fitting))}: settle it with "
            "--separator"
        )
    bare = re.sub(r'"[^"]*"', "", head)
    return fitting[0] if fitting else max(MARKS.values(), key=bare.count)


def _widths(text: str, mark: str) -> list[int]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    try:
        return [len(row) for row in islice(reader, TRIED) if row and not row[0].startswith("#")]
    except csv.Error:
        return []


def _alike(widths: Sequence[int]) -> bool:
    """One more field than in the header is a row name or follows a separator at the end."""
    if len(widths) < 2 or widths[0] < 2:
        return False
    return all(0 <= width - widths[0] <= 1 for width in widths)


def _rows(path: Path, text: str, mark: str, skipped: int) -> tuple[Rows, list[int]]:
    rows = []
    lines = []
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(skipped + reader.line_num)
    except csv.Error as error:
        raise ConfigError(
            f"{path}: line {skipped + reader.line_num}: {error}; expected fields that may be "
            'quoted with "'
        ) from error
    return rows, lines


# --- rows that say more or less than the header ---------------------------------------------------


def _some(table: _Table, kept: Sequence[bool], what: str) -> _Table:
    """Rows that are kept, and how many are not."""
    if all(kept):
        return table
    rows = list(compress(table.body, kept))
    lines = list(compress(table.lines, kept))
    note = f"{len(kept) - len(rows)} {what} skipped"
    if not rows:
        raise ConfigError(f"{table.where}: {note}, and none left; expected rows of data")
    return replace(table, body=rows, lines=lines, notes=(*table.notes, note))


def _without_blank_rows(table: _Table) -> _Table:
    return _some(table, [any(map(str.strip, row)) for row in table.body], "blank rows")


def _without_comments(table: _Table) -> _Table:
    width = len(table.header)
    kept = [len(row) == width or not row[0].lstrip().startswith("#") for row in table.body]
    return _some(table, kept, "rows that begin with #")


def _with_row_names(table: _Table) -> _Table:
    """Rows as R writes them: one field more than the header in every row, no two the same."""
    width = len(table.header) + 1
    firsts = [row[0] for row in table.body]
    if any(len(row) != width for row in table.body) or not any(
        row[-1].strip() for row in table.body
    ):
        return table
    if len(set(firsts)) != len(firsts) or not (table.quoted or _name_rows(firsts)):
        raise ConfigError(
            f"{table.where}: every row has {width} fields, line 1 has {width - 1}; expected as "
            "many: name the first column, and quote numbers with a decimal comma or part fields "
            "with ;"
        )
    return replace(table, body=[row[1:] for row in table.body], notes=(*table.notes, ROW_NAMES))


def _name_rows(firsts: Sequence[str]) -> bool:
    """Whether they are words, or count on; 21,5 and 22,1 would otherwise lose their first half."""
    if not any(map(numbers.is_number, firsts)):
        return True
    if not all(first.strip().isdecimal() and len(first) < 19 for first in firsts):
        return False
    counts = list(map(int, firsts))
    return all(after - before == 1 for before, after in pairwise(counts))


def _without_trailing(table: _Table) -> _Table:
    """The table without the blank fields behind separators that end rows."""
    return _without_blank_names(_without_blank_ends(table))


def _without_blank_ends(table: _Table) -> _Table:
    """Rows that are longer than the header by blank fields lose these."""
    width = len(table.header)
    longer = sum(len(row) > width and _is_blank(row[width:]) for row in table.body)
    if not longer:
        return table
    body = [row[:width] if _is_blank(row[width:]) else row for row in table.body]
    note = f"{longer} rows end in a separator: the blank field after it is none"
    return replace(table, body=body, notes=(*table.notes, note))


def _without_blank_names(table: _Table) -> _Table:
    """A header that ends in blank names, with nothing below them, loses these."""
    width = len(table.header)
    named = width
    while named > 1 and not table.header[named - 1] and _is_blank_from(table, named - 1):
        named -= 1
    if named == width:
        return table
    body = [row[:named] if len(row) <= width else row for row in table.body]
    note = "line 1 ends in a separator: the blank name after it is none"
    return replace(table, header=table.header[:named], body=body, notes=(*table.notes, note))


def _is_blank_from(table: _Table, place: int) -> bool:
    return all(_is_blank(row[place:]) for row in table.body)


def _is_blank(cells: Sequence[str]) -> bool:
    return not any(map(str.strip, cells))


def _without_unnamed(table: _Table) -> _Table:
    """The table without an index that has no name, as pandas writes it, and without blank columns
    that have none."""
    _check_widths(table)
    unnamed = [place for place, name in enumerate(table.header) if not name]
    if not unnamed:
        return table
    notes = list(table.notes)
    if unnamed[0] == 0 and not _is_blank([row[0] for row in table.body]):
        _check_index(table)
        notes.append("first column dropped: it has no name, and numbers the rows")
        unnamed = unnamed[1:]
    for place in unnamed:
        _check_blank(table, place)
    if unnamed:
        notes.append(f"{len(unnamed)} blank columns without a name dropped")
    return replace(_named_columns(table), notes=tuple(notes))


def _named_columns(table: _Table) -> _Table:
    kept = [place for place, name in enumerate(table.header) if name]
    header = [table.header[place] for place in kept]
    body = [[row[place] for place in kept] for row in table.body]
    return replace(table, header=header, body=body)


def _check_index(table: _Table) -> None:
    if not _is_index([row[0].strip() for row in table.body]):
        raise ConfigError(
            f"{table.where}: line 1 has no name for column 1, which is no index of rows: line "
            f"{table.lines[0]} has {shown(table.body[0][0])}; name it"
        )


def _check_blank(table: _Table, place: int) -> None:
    for row, line in zip(table.body, table.lines, strict=True):
        if row[place].strip():
            raise ConfigError(
                f"{table.where}: line 1 has no name for column {place + 1}, which line {line} "
                "fills: name it"
            )


def _is_index(cells: Sequence[str]) -> bool:
    """Whether they may number or name rows: whole numbers, numbers that rise, or no two the
    same."""
    if all(cell.isdecimal() for cell in cells):
        return True
    if all(map(numbers.is_number, cells)):
        return all(before < after for before, after in pairwise(map(float, cells)))
    return len(set(cells)) == len(cells)


def _check_header(table: _Table) -> None:
    if all(map(numbers.is_number, table.header)):
        raise ConfigError(
            f"{table.where}: line 1 is all numbers ({shorten(table.header)}); expected a row of "
            "column names"
        )
    name, times = Counter(table.header).most_common(1)[0]
    if times > 1:
        raise ConfigError(
            f"{table.where}: line 1 names column {shown(name)} twice; expected each name once"
        )


def _check_widths(table: _Table) -> None:
    for row, line in zip(table.body, table.lines, strict=True):
        if len(row) != len(table.header):
            raise ConfigError(
                f"{table.where}: line {line} has {len(row)} fields; expected {len(table.header)}, "
                "as in the first line"
            )


def named(header: Collection[str], name: str) -> Iterator[str]:
    """Columns of that name: as it is spelled, else in any case."""
    if name in header:
        yield name
        return
    yield from (column for column in header if column.casefold() == name.strip().casefold())
