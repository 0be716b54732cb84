"""Numbers, rows and labels as people and loggers write them are read, said and settled, or refused
with the line."""

import numpy as np
import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.data import sources, tables
from distilfleet.data.reading import Reading

NBSP, NARROW, MINUS = "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}", "\N{MINUS SIGN}"


def sheet(tmp_path, columns, labels=("a", "b"), mark=";", rows=24, **written):
    """A table whose columns repeat the given cells."""
    names = [*columns, "label"]
    cells = [
        [values[row % len(values)] for values in (*columns.values(), labels)] for row in range(rows)
    ]
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join(mark.join(row) for row in [names, *cells]).encode(**written))
    return path


def read(path, **settled):
    return tables.read(path, None, None, Reading(**settled))


def refused(path, *parts, **settled):
    with pytest.raises(ConfigError) as caught:
        sources.load(str(path), reading=Reading(**settled))
    for part in (str(path), *parts):
        assert part in str(caught.value), str(caught.value)


# --- numbers --------------------------------------------------------------------------------------

WRITTEN = {
    "plain": (["1.5", "-2", "+3.25", "4e2", ".5", "6."], [1.5, -2, 3.25, 400, 0.5, 6], ""),
    "decimal comma": (
        ["21,5", "-2,25", "+3", "1,5e2", ",5"],
        [21.5, -2.25, 3, 150, 0.5],
        "decimal comma",
    ),
    "three digits after a comma that leads": (["0,123", "1,234"], [0.123, 1.234], "decimal comma"),
    "unit": (["21.5 °C", "-3 °C", "19°C"], [21.5, -3, 19], "unit °C"),
    "comma and unit": (["21,5 °C", "-3,5 °C"], [21.5, -3.5], "decimal comma, unit °C"),
    "percent": (["60%", "61.5 %"], [60, 61.5], "unit %"),
    "currency": (["$5", "-$6.50", "$-7"], [5, -6.5, -7], "unit $"),
    "currency behind": (["5 €", "6,50 €"], [5, 6.5], "decimal comma, unit €"),
    "milliseconds": (["12 ms", "7ms"], [12, 7], "unit ms"),
    "unknown unit": (["12 a/min", "7 a/min"], [12, 7], "unit a/min"),
    "units that look alike": (["5 \u00b5s", "3 \u03bcs"], [5, 3], "unit \u00b5s"),
    "one sign for a unit": (["21.5 \u2103", "-3 \u00b0C"], [21.5, -3], "unit \u00b0C"),
    "points that may be either": (
        ["1.234", "5.678"],
        [1.234, 5.678],
        "points taken as decimal marks",
    ),
    "thousands, point": (
        ["1,234.5", "12,345,678.0", "7"],
        [1234.5, 12345678, 7],
        "',' between thousands",
    ),
    "thousands, twice": (["1,234,567", "2,345,678"], [1234567, 2345678], "',' between thousands"),
    "thousands in India": (["12,34,567", "1,23,456"], [1234567, 123456], "',' between thousands"),
    "thousands, comma": (
        ["1.234,5", "12.345.678,0"],
        [1234.5, 12345678],
        "decimal comma, '.' between thousands",
    ),
    "thousands, points twice": (
        ["+1.234.567", "2.345.678"],
        [1234567, 2345678],
        "'.' between thousands",
    ),
    "thousands, blank": (
        ["1 234,5", "7 000,0"],
        [1234.5, 7000],
        "decimal comma, ' ' between thousands",
    ),
    "thousands, hard blank": (
        [f"1{NBSP}234.5", f"7{NBSP}000"],
        [1234.5, 7000],
        "between thousands",
    ),
    "thousands, narrow blank": (
        [f"1{NARROW}234,5", f"7{NARROW}000"],
        [1234.5, 7000],
        "between thousands",
    ),
    "thousands, apostrophe": (["1'234", "5'678.9"], [1234, 5678.9], "between thousands"),
    "thousands, curly": (
        ["1\N{RIGHT SINGLE QUOTATION MARK}234", "5"],
        [1234, 5],
        "between thousands",
    ),
    "minus sign": ([f"{MINUS}1.5", "2", f"1e{MINUS}1"], [-1.5, 2, 0.1], ""),
    "hexadecimal": (["0x1f", "0X0a"], [31, 10], "hexadecimal"),
}


@pytest.mark.parametrize(("cells", "values", "told"), WRITTEN.values(), ids=WRITTEN)
def test_a_column_is_read_by_its_convention_and_that_is_said(tmp_path, cells, values, told):
    raw = read(sheet(tmp_path, {"load": cells}))
    assert raw.train.inputs[: len(values), 0] == pytest.approx(values)
    assert (
        any(told in note and "'load'" in note for note in raw.notes)
        if told
        else "load" not in " ".join(raw.notes)
    )


UNCLEAR = {
    "either": (["1,234", "5,678"], "line 2", "--decimal comma or point"),
    "either, below plain ones": (["7", "1,234"], "line 3", "--decimal comma or point"),
    "two conventions": (["1,5", "2,5", "1.5"], "line 4", "one convention"),
    "two units": (["12 ms", "13 ms", "1.2 s"], "line 4", "one unit"),
    "some without unit": (["12 ms", "13 ms", "14"], "line 4", "one unit"),
    "some with unit": (["12", "13", "14 ms"], "line 4", "one unit"),
    "bound": (["<5", "6.5", "7"], "line 2", "'<5'"),
    "bounds": (["<5", "<6", "7"], "line 2", "one plain number"),
    "tolerance": (["5±1", "6 ± 1"], "line 2", "one plain number"),
    "of bookkeepers": (["(5)", "(6.5)"], "line 2", "one plain number"),
    "minus behind": (["5-", "6.5-"], "line 2", "one plain number"),
    "of programs": (["1_000", "2_500.5"], "line 2", "one plain number"),
    "of Fortran": (["1.5D+03", "2.D-1"], "line 2", "one plain number"),
    "powers": (["1.5x10^3", "2 · 10⁻¹"], "line 2", "one plain number"),
    "quoted": (["'1.5'", "'-2'"], "line 2", "one plain number"),
    "lists": ([f"[{row}, {row}.5]" for row in range(24)], "line 2", "one plain number"),
    "several": ([f"0.{row} -1.{row} .5" for row in range(24)], "line 2", "one plain number"),
    "error": (["1,5", "2,5", "ERR"], "line 4", "'ERR'"),
    "beyond": (["1e400", "2"], "line 2", "'1e400'"),
    "beyond, comma": (["1,5e400", "2,5"], "line 2", "'1,5e400'"),
    "infinite": (["inf", "2", "3"], "line 2", "'inf'"),
    "mixed hexadecimal": (["0x1f", "0x2f", "12"], "line 4", "hexadecimal"),
}


@pytest.mark.parametrize(("cells", "line", "part"), UNCLEAR.values(), ids=UNCLEAR)
def test_a_column_that_can_be_read_in_two_ways_or_none_is_refused_with_its_line(
    tmp_path, cells, line, part
):
    refused(sheet(tmp_path, {"load": cells, "x": ["1", "2"]}), f"{line}, column 'load'", part)


@pytest.mark.parametrize(("decimal", "value"), [("comma", 1.234), ("point", 1234)])
def test_the_decimal_mark_is_settled_by_its_flag(tmp_path, decimal, value):
    path = sheet(tmp_path, {"load": ["1,234", "5,678"]})
    assert read(path, decimal=decimal).train.inputs[0, 0] == value
    dotted = sheet(tmp_path, {"load": ["1.234", "5.678"]})
    assert read(dotted, decimal=decimal).train.inputs[0, 0] == (
        1234 if decimal == "comma" else 1.234
    )


def test_points_are_in_doubt_beside_decimal_commas(tmp_path):
    path = sheet(tmp_path, {"t": ["21,5", "22,5"], "load": ["1.234", "5.678"]})
    refused(path, "column 'load'", "'t' has decimal commas", "--decimal")
    assert read(path, decimal="comma").train.inputs[0].tolist() == [21.5, 1234]
    refused(path, "column 't'", "--decimal says", decimal="point")


def test_a_column_can_be_left_out(tmp_path):
    path = sheet(tmp_path, {"t": ["<5", "6"], "load": ["1", "2"]})
    assert [column.name for column in read(path, leave_out=("T",)).columns] == ["load"]
    refused(path, "'u'", "--leave-out", leave_out=("u",))


DROPPED = {
    "text": [f"remark {row}" for row in range(24)],
    "hashes": [f"{row}f{row}a" for row in range(24)],
    "days": ["2024-01-15", "2024-01-16"],
    "times": ["10:30", "11:45:01"],
    "hours": ["10:30 AM", "1:05 pm"],
    "stamps": ["2024-01-15T10:30:00Z", "2024-01-16 11:00"],
    "written days": ["15 Jan 2024", "Jan 16, 2024"],
    "addresses": [f"192.168.0.{row}" for row in range(24)],
    "rooms": [f"{row}{'abcd'[row % 4]}" for row in range(24)],
    "names": [f"1_{row}" for row in range(24)],
    "constant": ["on"],
    "blank": ["", "NA"],
}


@pytest.mark.parametrize("cells", DROPPED.values(), ids=DROPPED)
def test_what_is_no_number_is_dropped_by_name(tmp_path, cells):
    raw = read(sheet(tmp_path, {"what": cells, "x": ["1", "2"]}))
    assert [column.name for column in raw.columns] == ["x"]
    assert any(note.startswith("column 'what' dropped: ") for note in raw.notes)


def test_true_and_false_become_inputs_and_blanks_are_neither(tmp_path):
    raw = read(sheet(tmp_path, {"on": ["TRUE", "FALSE", ""]}))
    assert raw.train.inputs[:3].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert (
        "column 'on' became 2 inputs, one per value: FALSE, TRUE; 8 rows have none of them"
        in raw.notes
    )


def test_missing_numbers_are_refused_or_dropped(tmp_path):
    for mark in ("", "NA", "nan", "-", "null", "#N/A"):
        path = sheet(tmp_path, {"load": ["1,5", "2,5", mark]})
        refused(path, "line 4, column 'load'", "--missing drop")
        source = sources.load(str(path), reading=Reading(missing="drop"))
        assert len(source.train) + len(source.test) == 16
        assert "8 of 24 samples left out: no number or no label" in source.notes


def test_a_device_that_measures_in_another_unit_is_refused(tmp_path):
    columns = read(sheet(tmp_path, {"t": ["21.5 °C", "22 °C"]})).columns
    path = sheet(tmp_path, {"t": ["70 °F", "71 °F"]})
    with pytest.raises(ConfigError, match="column 't' is in °F; expected °C"):
        tables.read_inputs(path, columns)


# --- rows -----------------------------------------------------------------------------------------


def lines(tmp_path, header, row, count=20, end="\n", coding="utf-8"):
    path = tmp_path / "a.csv"
    path.write_bytes(
        end.join([header, *(row.format(i=i, y="ab"[i % 2]) for i in range(count)), ""]).encode(
            coding
        )
    )
    return path


ROWS = {
    "rows end in a separator": ("t,label,x", "{i},{y},{i},"),
    "rows end in several": ("t,label,x", "{i},{y},{i},,, "),
    "all end in a separator": ("t,label,x,", "{i},{y},{i},"),
    "all end in several": ("t,label,x,,", "{i},{y},{i},,"),
    "the header ends in one": ("t,label,x,", "{i},{y},{i}"),
    "an index without a name": (",t,label,x", "{i},{i},{y},{i}"),
    "an index of pandas": ("Unnamed: 0,t,label,x", "{i},{i},{y},{i}"),
    "row names": ("t,label,x", '"r{i}",{i},{y},{i}'),
    "numbered rows": ("t,label,x", '"{i}",{i},{y},{i}'),
    "spaces around names": (" t , Label , x ", "{i}, {y} ,{i}"),
    "hard spaces around names": (f"t{NBSP},label,{NBSP}x", "{i},{y},{i}"),
    "another case": ("t,LABEL,x", "{i},{y},{i}"),
    "semicolons": ("t;label;x", "{i};{y};{i}"),
    "pipes": ("t|label|x", "{i}|{y}|{i}"),
    "tabs": ("t\tlabel\tx", "{i}\t{y}\t{i}"),
    "quotes": ('"t","label","x"', '"{i}","{y}","{i}"'),
    "commas in quotes": ('"t","label","x"', '"{i}","{y}",{i}'),
    "semicolons below commas": ("t;label;x", "{i};{y};{i},5"),
    "a comment above": ("# logger 1.2\n#\nt,label,x", "{i},{y},{i}"),
    "names in a comment": ("# t,label,x", "{i},{y},{i}"),
    "a mark of Excel": ("sep=;\nt;label;x", "{i};{y};{i}"),
    "blank lines": ("\n\nt,label,x\n", "{i},{y},{i}\n"),
    "blank rows": ("t,label,x\n,,", "{i},{y},{i}"),
    "comments between": ("t,label,x", "{i},{y},{i}\n# restarted"),
}


@pytest.mark.parametrize(("header", "row"), ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_every_column_keeps_its_name(tmp_path, header, row, end):
    raw = read(lines(tmp_path, header.replace("\n", end), row.replace("\n", end), end=end))
    assert [column.name for column in raw.columns] == ["t", "x"]
    assert raw.train.inputs[:, 0].tolist() == list(range(20))
    assert raw.train.labels.tolist() == list("ab" * 10)


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-8"])
def test_the_mark_of_an_encoding_is_no_part_of_a_name(tmp_path, coding):
    raw = read(lines(tmp_path, "Wärme [°C],label", "{i},{y}", coding=coding))
    assert [column.name for column in raw.columns] == ["Wärme [°C]"]


ODD = {
    "latin-1": ("Wärme,label", "{i},{y}", {"coding": "latin-1"}, ["line 1", "UTF-8", "iconv"]),
    "utf-16 without its mark": ("t,label", "{i},{y}", {"coding": "utf-16-le"}, ["NUL", "UTF-8"]),
    "longer": ("t,label", "{i},{y}\n{i},{y},7", {"count": 1}, ["line 3", "3 fields", "expected 2"]),
    "shorter": (
        "t,x,label",
        "{i},{i},{y}\n{i}",
        {"count": 1},
        ["line 3", "1 fields", "expected 3"],
    ),
    "twice": ("t, t,label", "{i},{i},{y}", {}, ["'t' twice"]),
    "decimal commas without quotes": (
        "t,label",
        "2{i},5,{y}",
        {},
        ["quote numbers with a decimal comma"],
    ),
    "no header": ("1.5,2,a", "{i},{i},{y}", {}, ["if line 1 is data"]),
    "two labels": ("Label,LABEL,x", "{y},{y},{i}", {}, ["'Label' and 'LABEL' differ only in case"]),
    "a column without a name": ("t,,label", "{i},{i},{y}", {}, ["no name for column 2", "line 2"]),
    "parted either way": ("t,a;label,b", "{i},{i};{y},{i}", {}, ["--separator"]),
    "only comments": ("# t,label", "# {i}", {}, ["0 rows"]),
    "only blanks": ("t,label", ",", {}, ["none left"]),
    "a zip archive": ("PK\x03\x04", "", {}, ["spreadsheet", ".csv"]),
}


@pytest.mark.parametrize(("header", "row", "written", "parts"), ODD.values(), ids=ODD)
def test_rows_that_cannot_be_read_are_refused_with_the_remedy(
    tmp_path, header, row, written, parts
):
    refused(lines(tmp_path, header, row, **written), *parts)


def test_a_first_row_of_data_is_not_taken_for_names(tmp_path):
    path = lines(tmp_path, "1.5,2,a", "{i},{i},{y}")
    with pytest.raises(ConfigError, match="line 1 looks like data"):
        tables.read(path, "a", None)


def test_the_separator_is_settled_by_its_flag(tmp_path):
    path = lines(tmp_path, "t,a;label,b", "{i},{i};{y},{i}")
    with pytest.raises(ConfigError, match="no label column"):
        tables.read(path, None, None, Reading(separator="comma"))
    raw = tables.read(path, "label,b", None, Reading(separator="semicolon"))
    assert len(raw.train.labels) == 20


# --- labels ---------------------------------------------------------------------------------------

MARKS = [
    "",
    " ",
    "NA",
    "nan",
    "NULL",
    "?",
    "n/a",
    "None",
    "-",
    "<NA>",
    "#N/A",
    ".",
    "NaT",
    "\\N",
    "---",
    "#DIV/0!",
    "\N{EM DASH}",
]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("labels", [("a", "b"), ("0", "1")], ids=["text", "numbers"])
def test_a_missing_label_is_no_class(tmp_path, mark, labels):
    path = sheet(tmp_path, {"x": ["1", "2"]}, labels=(*labels, mark))
    refused(path, "line 4 has no label in column 'label'", "--missing drop", "--missing class")
    assert sources.load(str(path), reading=Reading(missing="drop")).classes == labels
    kept = sources.load(str(path), reading=Reading(missing="class"))
    assert set(kept.classes) == {*labels, mark.strip()}


@pytest.mark.parametrize("mark", MARKS)
def test_a_missing_label_of_an_array_is_no_class(tmp_path, mark):
    path = tmp_path / "a.npz"
    np.savez(
        path, x=np.arange(60.0).reshape(30, 2), y=np.array(["a", "b", mark])[np.arange(30) % 3]
    )
    refused(path, "row 2", "no label", "--missing drop")
    assert sources.load(str(path), reading=Reading(missing="drop")).classes == ("a", "b")
    assert len(sources.load(str(path), reading=Reading(missing="class")).classes) == 3


def test_a_missing_number_of_an_array_is_refused_or_dropped(tmp_path):
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30) % 2.0
    x[4, 1], y[7] = np.nan, np.nan
    np.savez(tmp_path / "a.npz", x=x, y=y)
    refused(tmp_path / "a.npz", "row 4, column 1")
    source = sources.load(str(tmp_path / "a.npz"), reading=Reading(missing="drop"))
    assert source.classes == ("0", "1")
    assert "2 of 30 samples left out: no number or no label" in source.notes


SPELLED = {
    "leading zeros": (("01", "02", "10"), ("01", "02", "10"), None),
    "decimals": (("0.0", "1.0", "10.0", "2.0"), ("0.0", "1.0", "2.0", "10.0"), None),
    "signs": (("+1", "-1"), ("-1", "+1"), None),
    "by value": (("10", "9", "-3"), ("-3", "9", "10"), None),
    "words": (("True", "False"), ("False", "True"), None),
    "beyond 64 bits": (("99999999999999999999", "1"), ("1", "99999999999999999999"), None),
    "leading zeros beside none": (("01", "1"), ("01", "1"), "'01' and '1' differ only"),
    "case": (("Run", "run"), ("Run", "run"), "'Run' and 'run' differ only"),
    "spaces inside": (("a b", "a  b"), ("a  b", "a b"), "differ only"),
    "accents": (("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9"), "differ only"),
    "spaces around": (
        (" yes", "no"),
        ("no", "yes"),
        "spaces around labels in column 'label' left out",
    ),
    "minus one": (("-1", "0", "1"), ("-1", "0", "1"), "label -1 is a class like the others"),
    "unknown": (
        ("a", "b", "unknown"),
        ("a", "b", "unknown"),
        "label unknown is a class like the others",
    ),
    "signs that are not seen": (("a", "a\u200b"), ("a", "a\u200b"), "differ only"),
}


@pytest.mark.parametrize(("labels", "classes", "told"), SPELLED.values(), ids=SPELLED)
def test_labels_keep_their_spelling(tmp_path, labels, classes, told):
    source = sources.load(
        str(sheet(tmp_path, {"x": ["1", "2", "3", "4", "5"]}, labels=labels, rows=60))
    )
    assert source.classes == classes
    assert told is None or any(told in note for note in source.notes)


def test_one_number_in_two_spellings_is_refused(tmp_path):
    refused(
        sheet(tmp_path, {"x": ["1", "2"]}, labels=("1", "1.0", "2")), "'1' and '1.0' are one number"
    )


def test_owners_without_a_name_are_one(tmp_path):
    path = sheet(tmp_path, {"x": ["1", "2"], "group": ["ann", "?", "NA", ""]})
    assert set(sources.load(str(path)).groups) == {"ann", "unknown"}


def test_owners_that_are_written_alike_are_noted(tmp_path):
    path = sheet(tmp_path, {"x": ["1", "2", "4"], "group": ["ann", "Ann", "bob"]})
    assert (
        "owners 'Ann' and 'ann' differ only in how they are written"
        in sources.load(str(path)).notes
    )


DOUBTFUL = {
    "seconds": (
        "when",
        [f"{1_700_000_000.5 + row}" for row in range(24)],
        "they rise from row to row",
    ),
    "days": ("day", [f"202401{row + 1:02}" for row in range(24)], "they rise from row to row"),
    "row numbers of several files": ("ID", ["1", "2", "3"], "its name is one of row numbers"),
    "an index twice": ("Unnamed: 0.1", ["1", "2", "3"], "its name is one of row numbers"),
    "owners": ("Subject ID", ["1", "2", "3"], "--group makes a device of each"),
    "measurements": ("load", ["1", "2", "3"], None),
}


@pytest.mark.parametrize(("name", "cells", "told"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_inputs_that_may_be_none_are_said(name, cells, told, tmp_path):
    notes = sources.load(str(sheet(tmp_path, {name: cells, "x": ["4", "5", "7"]}))).notes
    assert [note for note in notes if f"'{name}'" in note and (told or "") in note] or not told
    assert told or not any(name in note for note in notes)


# --- axes -----------------------------------------------------------------------------------------

SHAPES = {
    "two channels last": ((20, 50, 2), np.float32, {}, (2, 50), "2 channels on the last axis"),
    "six channels first": ((20, 6, 50), np.float32, {}, (6, 50), "6 channels on the first axis"),
    "bands last": ((20, 16, 16, 13), np.float32, {}, (13, 16, 16), "13 channels on the last axis"),
    "bands first": (
        (20, 13, 16, 16),
        np.float32,
        {},
        (13, 16, 16),
        "13 channels on the first axis",
    ),
    "narrow bands": ((20, 8, 8, 10), np.float32, {}, (10, 8, 8), "10 channels on the last axis"),
    "two planes": ((20, 2, 9, 7), np.float32, {}, (2, 9, 7), "2 channels on the first axis"),
    "colour": ((20, 9, 8, 3), np.uint8, {}, (3, 9, 8), "3 channels on the last axis"),
    "bytes": ((20, 50, 3), np.uint8, {}, (1, 50, 3), "read as image, one channel"),
    "series of bytes": (
        (20, 50, 3),
        np.uint8,
        {"sample_kind": "series"},
        (3, 50),
        "3 channels on the last axis",
    ),
    "square series": (
        (20, 9, 9),
        np.float32,
        {"sample_kind": "series", "channels_axis": "first"},
        (9, 9),
        None,
    ),
    "one series": ((20, 50), np.float32, {"sample_kind": "series"}, (1, 50), None),
    "flat": ((20, 5, 4), np.float32, {"sample_kind": "table"}, (20,), None),
    "wide series": (
        (20, 4, 50),
        np.float32,
        {"channels_axis": "last"},
        (50, 4),
        "50 channels on the last axis",
    ),
}


@pytest.mark.parametrize(
    ("shape", "kind", "settled", "sample", "told"), SHAPES.values(), ids=SHAPES
)
def test_what_an_array_holds_is_said_and_settled(tmp_path, shape, kind, settled, sample, told):
    x = np.random.default_rng(0).normal(9, 2, shape).astype(kind)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(20) % 2)
    source = sources.load(str(tmp_path / "a.npz"), reading=Reading(**settled))
    assert source.train.shape == sample
    said = [note for note in source.notes if note.startswith("samples of shape")]
    assert [told in note for note in said] == ([True] if told else [])


@pytest.mark.parametrize(
    ("shape", "settled", "part"),
    [
        ((20, 8, 8, 8), {}, "--channels-axis"),
        ((20, 3, 8, 3), {}, "--channels-axis"),
        ((20, 9, 9), {"sample_kind": "series"}, "--channels-axis"),
        ((20, 9), {"channels_axis": "last"}, "leave out --channels-axis"),
        ((20, 9), {"sample_kind": "image"}, "--sample-kind"),
        ((20, 9), {"decimal": "comma"}, "--decimal settles how another kind"),
    ],
)
def test_arrays_that_can_be_read_in_two_ways_are_refused_with_the_flag(
    tmp_path, shape, settled, part
):
    np.savez(tmp_path / "a.npz", x=np.zeros(shape), y=np.arange(20) % 2)
    refused(tmp_path / "a.npz", part, **settled)
