"""Tables in .csv and .tsv files: numbers stay, short text becomes 0/1 columns, dates and row
numbers go."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError
from . import array_files, clock, column_files, labelled_text, numbers
from .labels import is_missing, labelled, shorten, shown
from .numbers import Numbers, TypedCells, Unclear
from .raw import FLOAT32_MAX, FeatureColumn, Part, Raw
from .reading import GUESSED, Decimal, Reading
from .sheets import Sheet, named
from .text_files import TEXTS

ROW_NUMBERS = re.compile(r"id|index|row|unnamed: \d+(?:\.\d+)*", re.I)
OWNERS = re.compile(
    r"(?:(?:user|subject|participant|person|patient|owner|client|customer|driver|device|sensor|node"
    r"|home|house|household|site|station)s?(?:[ _-]?(?:id|nr|no|number|name|code))?|uid|pid)",
    re.I,
)
"""What columns of owners are often called."""
MOST_VALUES = 20
"""A text column with more distinct values is dropped instead of becoming that many inputs."""
DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T]\d.*)?"
    r"|\d{1,2}:\d{2}(?::\d{2}.*)?(?: ?[AaPp]\.?[Mm]\.?)?"
    r"|\d{1,2}[- ][A-Za-z]{3,9}\.?[- ,]+\d{2,4}.*|[A-Za-z]{3,9} \d{1,2},? \d{4}.*"
)
MOST_NAMES = 200
"""Columns that one note names."""
STAND_INS = (-999.0, -9999.0, -99999.0)
"""Numbers by which sensors and their software say that there is none, where all others are far
above."""
LONG = 10
"""Rows from which on rising numbers are no chance."""
GLANCE = 50
"""Cells that are looked at before all are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A column that is no feature, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A sheet and the numbers of its columns; every other column is text."""

    sheet: Sheet
    numbers: dict[str, Numbers]

    def finite(self, name: str, missing: bool) -> np.ndarray:
        """The numbers of a column, NaN where one is missing. Raises ConfigError with the line of
        what is none."""
        values = self.numbers[name].values
        odd = np.isinf(values) | (np.abs(values) > FLOAT32_MAX)
        if not missing:
            odd |= np.isnan(values)
        if odd.any():
            raise _no_number(self.sheet, name, int(np.flatnonzero(odd)[0]))
        return values


def is_table(path: Path, label: str | None) -> bool:
    """Whether a file is a table by its ending; a .txt file is text unless its label column is
    named."""
    ending = path.suffix.lower()
    if array_files.is_known(path):
        return column_files.is_tabular(path)
    return ending in (".csv", ".tsv") or (ending == ".txt" and bool(label))


def read(
    path: Path,
    label: str | None,
    group: str | None,
    reading: Reading = GUESSED,
    columns: Sequence[FeatureColumn] | None = None,
) -> Raw:
    """A labelled table: `label` and `group` name columns, by default those called label and group,
    if any.

    `columns` are those of other data, to be found here by name; by default every other column that
    can be an input is.
    """
    return of_sheet(column_files.opened(path, reading.separator), label, group, reading, columns)


def of_sheet(
    sheet: Sheet,
    label: str | None,
    group: str | None,
    reading: Reading = GUESSED,
    columns: Sequence[FeatureColumn] | None = None,
) -> Raw:
    """A labelled table of these cells; see `read`."""
    label_name = _need(sheet, label or "label", "label", "--label")
    group_name = _need(sheet, group, "group", "--group") if group else _find(sheet, "group")
    _check_below(sheet, label_name)
    time_name = time_column(sheet, reading)
    sheet, kept, of_labels = _labelled(sheet, label_name, reading)
    found = []
    if group_name is not None and group is None:
        found.append(f"owners from column {shown(group_name)}")
    if time_name:
        found.append(f"times of rows from column {shown(time_name)}")
    left_out = _left_out(sheet, reading, label_name)
    taken = (label_name, group_name, time_name, *left_out)
    names = [name for name in sheet.cells if name not in taken]
    text = _text_column(sheet, names, reading) if columns is None else None
    if text is not None:
        return _of_texts(sheet, text, label_name, group_name, reading, (*of_labels, *found))
    columns, inputs, of_columns = _inputs(sheet, names, reading, columns)
    perhaps_owners = _perhaps_owners(columns) if group_name is None else ()
    train = Part(
        inputs=inputs,
        labels=np.array(sheet.cells[label_name]),
        groups=None if group_name is None else np.array(sheet.cells[group_name]),
        times=None if time_name is None else clock.seconds(sheet, time_name),
        rows=np.array(kept) if reading.window else None,
    )
    notes = (*sheet.notes, *of_labels, *found, *of_columns, *perhaps_owners)
    return Raw(where=sheet.where, train=train, columns=columns, notes=notes)


def time_column(sheet: Sheet, reading: Reading) -> str | None:
    """The column that says when rows were measured; it is looked for where rows are steps of
    series."""
    if reading.time is not None:
        return _need(sheet, reading.time, "time", "--time")
    found = filter(None, (_find(sheet, name) for name in clock.NAMES))
    return next(found, None) if reading.window else None


def read_times(path: Path, reading: Reading = GUESSED) -> np.ndarray | None:
    """When the rows of a file were measured, in seconds; None where it does not say."""
    sheet = column_files.opened(path, reading.separator)
    name = time_column(sheet, reading)
    return None if name is None else clock.seconds(sheet, name)


def _of_texts(
    sheet: Sheet, text: str, label: str, group: str | None, reading: Reading, notes: Sequence[str]
) -> Raw:
    """Texts to be classified, which are the only input."""
    if text == label:
        raise ConfigError(
            f"{sheet.where}: --text {text} names the label column: name another with --label"
        )
    train, of_texts = labelled_text.of_table(sheet, text, label, group, reading.missing)
    settled = "" if reading.text else " (else: --text; --leave-out does without it)"
    perhaps = [
        shown(name) for name in sheet.cells if name not in (text, label) and OWNERS.fullmatch(name)
    ]
    of_owners = (
        [f"column {shorten(perhaps)} may say whose a row is: --group makes a device of each"]
        if perhaps
        else []
    )
    return Raw(
        where=sheet.where,
        train=train,
        columns=(FeatureColumn(name=text),),
        notes=(
            *sheet.notes,
            f"texts from column {shown(text)}{settled}",
            *notes,
            *of_texts,
            *(of_owners if group is None else ()),
        ),
    )


def _text_column(sheet: Sheet, names: Sequence[str], reading: Reading) -> str | None:
    """The column of texts to be classified: the one that is named, or called as such columns are,
    or the only one that can be learnt from. Raises ConfigError where two can be."""
    if reading.text is not None:
        return _need(sheet, reading.text, "text", "--text")
    called = [
        name for name in names if name.casefold() in TEXTS and _is_free_text(sheet, name, reading)
    ]
    if called:
        return min(called, key=lambda name: TEXTS.index(name.casefold()))
    sentences = [
        name for name in names if _has_words(sheet, name) and _is_free_text(sheet, name, reading)
    ]
    rest = [name for name in names if name not in sentences]
    if not sentences or _can_be_features(sheet, rest, reading):
        return None
    if len(sentences) > 1:
        raise ConfigError(
            f"{sheet.where}: columns {shorten(list(map(shown, sentences)))} hold texts: say with "
            "--text which is to be "
            f"classified"
        )
    return sentences[0]


def _has_words(sheet: Sheet, name: str) -> bool:
    """Whether most cells have two words and more."""
    cells = sheet.cells[name]
    words = re.compile(r"\s*\S+\s+\S.*", re.S)
    return not isinstance(cells, TypedCells) and _mostly(cells, words.fullmatch)


def _is_free_text(sheet: Sheet, name: str, reading: Reading) -> bool:
    """Whether a column is neither numbers nor times, nor the few values of a category."""
    cells = sheet.cells[name]
    if isinstance(cells, TypedCells):
        return False
    values = {cell for cell in cells if not is_missing(cell)}
    if (
        not values
        or _no_categories(list(values), cells) is None
        or len(set(cells)) == 1
        or _is_time(sheet, name)
    ):
        return False
    return not isinstance(numbers.read(cells, reading.decimal), Numbers)


def _can_be_features(sheet: Sheet, names: Sequence[str], reading: Reading) -> bool:
    """Whether any of these columns is an input."""
    read = _numbers(sheet, names, reading.decimal)
    return any(isinstance(_decide(sheet, name, read.get(name)), FeatureColumn) for name in names)


def _left_out(sheet: Sheet, reading: Reading, label_name: str) -> list[str]:
    """The columns that are to be no inputs."""
    names = [_need(sheet, name, "left-out", "--leave-out") for name in reading.leave_out]
    if label_name in names:
        raise ConfigError(
            f"{sheet.where}: --leave-out {label_name} names the label column: name another with "
            "--label"
        )
    return names


def _inputs(
    sheet: Sheet, names: Sequence[str], reading: Reading, columns: Sequence[FeatureColumn] | None
) -> tuple[tuple[FeatureColumn, ...], np.ndarray, tuple[str, ...]]:
    """Columns, the inputs [n, features] that they become, and notes."""
    if columns is None:
        table = Table(sheet=sheet, numbers=_numbers(sheet, names, reading.decimal))
        found, notes = _features(table, names)
        return (
            found,
            _encoded(table, {column.name: column.name for column in found}, found, reading),
            notes,
        )
    wanted = {column.name.casefold() for column in columns}
    unknown = [name for name in names if name.casefold() not in wanted]
    notes = (f"columns that are not asked for left out: {shorten(unknown)}",) if unknown else ()
    return tuple(columns), encode(sheet, columns, reading), notes


def read_inputs(
    path: Path, columns: Sequence[FeatureColumn], reading: Reading = GUESSED
) -> np.ndarray:
    """The inputs of an unlabelled file that has these columns, float64 [n, features]."""
    return encode(column_files.opened(path, reading.separator), columns, reading)


def encode(
    sheet: Sheet, columns: Sequence[FeatureColumn], reading: Reading = GUESSED
) -> np.ndarray:
    """The inputs of a sheet, float64 [n, features]; a text value that training did not have is all
    zeros.

    A missing number is NaN where rows without are to be dropped, else a ConfigError.
    """
    found = {column.name: _need(sheet, column.name, "feature", "") for column in columns}
    table = _table(
        sheet, [found[column.name] for column in columns if not column.values], reading.decimal
    )
    return _encoded(table, found, columns, reading)


def _encoded(
    table: Table, found: Mapping[str, str], columns: Sequence[FeatureColumn], reading: Reading
) -> np.ndarray:
    """float64 [n, features]; `found` are the names of the columns in this table."""
    return np.concatenate(
        [_encode(table, found[column.name], column, reading) for column in columns], axis=1
    )


def _table(sheet: Sheet, names: Sequence[str], decimal: Decimal | None) -> Table:
    """Columns of which numbers are wanted. Raises ConfigError for one that has none."""
    read = {name: numbers.read(sheet.cells[name], decimal) for name in names}
    for name, found in read.items():
        if found is None:
            raise ConfigError(
                f"{sheet.where}: column {shown(name)} holds text or nothing; expected numbers"
            )
    return Table(sheet=sheet, numbers=_clear(sheet, read, needed=True))


def _encode(table: Table, name: str, column: FeatureColumn, reading: Reading) -> np.ndarray:
    if column.values:
        cells = np.array(table.sheet.cells[name])
        return np.stack([cells == value for value in column.values], axis=1).astype(np.float64)
    unit = table.numbers[name].unit
    if unit and column.unit and unit != column.unit:
        raise ConfigError(
            f"{table.sheet.where}: column {shown(name)} is in {unit}; expected {column.unit}"
        )
    return table.finite(name, missing=reading.missing != "refuse")[:, np.newaxis]


# --- which columns are inputs ---------------------------------------------------------------------


def _numbers(sheet: Sheet, names: Sequence[str], decimal: Decimal | None) -> dict[str, Numbers]:
    """The numbers of the columns that are numbers. Raises ConfigError for one that can be read in
    two ways."""
    read = {
        name: None if _is_time(sheet, name) else numbers.read(sheet.cells[name], decimal)
        for name in names
    }
    found = _clear(sheet, read)
    _check_points(sheet, found, decimal)
    return found


def _features(
    table: Table, names: Sequence[str]
) -> tuple[tuple[FeatureColumn, ...], tuple[str, ...]]:
    sheet = table.sheet
    decided = [_decide(sheet, name, table.numbers.get(name)) for name in names]
    columns = tuple(column for column in decided if isinstance(column, FeatureColumn))
    dropped = [column for column in decided if isinstance(column, Dropped)]
    if not columns:
        why = "; ".join(f"{shown(column.name)}: {column.reason}" for column in dropped)
        raise ConfigError(
            f"{sheet.where}: no column can be a feature ({why or 'no other column'}); expected "
            "columns of numbers"
        )
    facts = [(column.name, f"dropped: {column.reason}") for column in dropped]
    for column in columns:
        fact = _described(sheet, column, table.numbers.get(column.name))
        facts.append((column.name, fact))
    return columns, _notes(facts)


def _notes(facts: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """A note for each thing that was decided, with all columns of which it was."""
    of: dict[str, list[str]] = {}
    for name, fact in facts:
        of.setdefault(fact, []).append(shown(name))
    return tuple(
        f"column{'s' if len(names) > 1 else ''} {shorten(names, MOST_NAMES)} {fact}"
        for fact, names in of.items()
        if fact
    )


def _described(sheet: Sheet, column: FeatureColumn, read: Numbers | None) -> str:
    """What was decided about a column, if anything was."""
    if read is not None:
        facts = ", ".join(filter(None, (read.form, _course(column.name, read.values))))
        return f"read as numbers: {facts}" if facts else ""
    blank = sum(map(is_missing, sheet.cells[column.name]))
    rest = f"; {blank} rows have none of them" if blank else ""
    return (
        f"became {len(column.values)} inputs, one per value: {shorten(list(column.values))}{rest}"
    )


def _course(name: str, values: np.ndarray) -> str:
    """What the numbers of a column do from row to row, where that makes an input doubtful."""
    known = values[np.isfinite(values)]
    if len(np.unique(known)) == 1:
        return "every row has the same number"
    standing = [
        mark for mark in STAND_INS if mark in known and (known[known != mark] > 0.1 * mark).all()
    ]
    if standing:
        count = np.count_nonzero(known == standing[0])
        return (
            f"{count} are {standing[0]:g}, which may stand for a missing one and is taken as it is "
            "(leave such cells blank and give --missing drop, or --leave-out does without)"
        )
    if len(known) >= LONG and (known[1:] > known[:-1]).all():
        return "they rise from row to row, as times and row numbers do (--leave-out does without)"
    return (
        "its name is one of row numbers (--leave-out does without)"
        if ROW_NUMBERS.fullmatch(name)
        else ""
    )


def _perhaps_owners(columns: Sequence[FeatureColumn]) -> tuple[str, ...]:
    """A note on inputs that are called as owners are."""
    found = [shown(column.name) for column in columns if OWNERS.fullmatch(column.name)]
    if not found:
        return ()
    return (
        f"column {shorten(found)} is an input; if it says whose a row is, --group makes a device "
        "of each",
    )


def _decide(sheet: Sheet, name: str, read: Numbers | None) -> FeatureColumn | Dropped:
    cells = sheet.cells[name]
    if ROW_NUMBERS.fullmatch(name) and len(set(cells)) == len(cells):
        return Dropped(name=name, reason="it numbers the rows")
    if read is not None:
        return FeatureColumn(name=name, unit=read.unit)
    if _is_time(sheet, name):
        return Dropped(name=name, reason="dates and times are no features")
    values = sorted({cell for cell in cells if not is_missing(cell)})
    reason = _no_categories(values, cells)
    return (
        FeatureColumn(name=name, values=tuple(values))
        if reason is None
        else Dropped(name=name, reason=reason)
    )


def _no_categories(values: Sequence[str], cells: Sequence[str]) -> str | None:
    """Why the values of a column of text are no categories, or None."""
    if not values:
        return "every row is blank"
    if len(values) > MOST_VALUES or 2 * len(values) > len(cells):
        return (
            f"text with {len(values)} values in {len(cells)} rows (--text learns from it instead)"
        )
    if len(set(cells)) == 1:
        return f"every row has {shown(values[0])}"
    return None


def _clear(
    sheet: Sheet, read: dict[str, Numbers | Unclear | None], needed: bool = False
) -> dict[str, Numbers]:
    """Those that are numbers. Raises ConfigError for one that looks like numbers and cannot be
    read."""
    for name, found in read.items():
        if isinstance(found, Unclear):
            raise _no_number(sheet, name, found.row, found.expected, needed)
    return {name: found for name, found in read.items() if isinstance(found, Numbers)}


def _check_points(sheet: Sheet, found: dict[str, Numbers], decimal: Decimal | None) -> None:
    """Points between three digits are decimal marks, unless another column proves that commas
    are."""
    comma = next((name for name, read in found.items() if read.proves == "comma"), None)
    either = next((name for name, read in found.items() if read.either), None)
    if decimal is None and comma is not None and either is not None:
        row = next(row for row, cell in enumerate(sheet.cells[either]) if "." in cell)
        raise _no_number(
            sheet,
            either,
            row,
            f"a number that reads one way, but {shown(comma)} has decimal commas: settle it with "
            "--decimal comma or point",
        )


def _no_number(
    sheet: Sheet, name: str, row: int, expected: str = "", needed: bool = False
) -> ConfigError:
    """`needed`: whether there is no doing without the column."""
    cell = sheet.cells[name][row]
    remedy = "correct the cell or remove the row"
    if is_missing(cell):
        remedy += ", or --missing drop leaves such rows out"
    elif expected and not needed:
        remedy += f", or --leave-out {shown(name)} does without the column"
    return ConfigError(
        f"{sheet.place(row)}, column {shown(name)} holds {shown(cell)}; "
        f"expected {expected or 'a finite number'}: {remedy}"
    )


def _is_time(sheet: Sheet, name: str) -> bool:
    cells = sheet.cells[name]
    return _mostly(cells[:GLANCE], DATE.fullmatch) and _mostly(cells, DATE.fullmatch)


def _mostly(cells: Collection[str], test: Callable[[str], object]) -> bool:
    filled = [cell for cell in cells if not is_missing(cell)]
    return 2 * sum(test(cell) is not None for cell in filled) > len(filled)


# --- label and owner ------------------------------------------------------------------------------


def _labelled(
    sheet: Sheet, name: str, reading: Reading
) -> tuple[Sheet, list[int], tuple[str, ...]]:
    """Rows with a label, their numbers, and what was decided about it. Raises ConfigError with the
    line."""
    cells = sheet.cells[name]
    kept = labelled(cells, reading.missing, sheet.place, name)
    left_out = len(cells) - len(kept)
    notes = (f"{left_out} of {len(cells)} rows left out: no label",) if left_out else ()
    if not kept:
        raise ConfigError(
            f"{sheet.where}: no row has a label in column {shown(name)}; expected one in every row"
        )
    if name in sheet.padded:
        notes = (*notes, f"spaces around labels in column {shown(name)} left out")
    present = sheet.rows(kept) if left_out else sheet
    _check_classes(present, name)
    return present, kept, notes


def _check_classes(sheet: Sheet, name: str) -> None:
    read = numbers.read(sheet.cells[name])
    if not isinstance(read, Numbers) or read.unit:
        return
    odd = np.flatnonzero(read.values != np.floor(read.values))
    odd = odd[np.isfinite(read.values[odd])]
    if len(odd):
        raise ConfigError(
            f"{sheet.place(odd[0])}, label column {shown(name)} holds "
            f"{shown(sheet.cells[name][odd[0]])}; expected whole numbers or text, one per class: "
            "bin a continuous target first"
        )


def _check_below(sheet: Sheet, label: str) -> None:
    """A label column that is called like one of its own labels has its first row taken for
    names."""
    if label in sheet.cells[label] and any(map(numbers.is_number, sheet.cells)):
        raise ConfigError(
            f"{sheet.where}: line 1 looks like data, not like names "
            f"({shorten(list(sheet.cells))}); expected a row of column names: write one above it"
        )


def _need(sheet: Sheet, name: str, what: str, flag: str) -> str:
    found = _find(sheet, name)
    if found is None:
        advice = f": name it with {flag}" if flag else ""
        if len(sheet.cells) == 1:
            advice += "; fields are parted by , ; tab or |, and line 1 has one field"
        if any(map(numbers.is_number, sheet.cells)):
            advice += "; if line 1 is data, write a row of names above it"
        raise ConfigError(
            f"{sheet.where}: no {what} column {shown(name)}; columns: "
            f"{shorten(list(sheet.cells))}{advice}"
        )
    return found


def _find(sheet: Sheet, name: str) -> str | None:
    found = list(named(sheet.cells, name))
    if len(found) > 1:
        raise ConfigError(
            f"{sheet.where}: columns {' and '.join(map(shown, found))} differ only in case; "
            "expected one: name it as it is spelled"
        )
    return found[0] if found else None
