"""Everything that can be wrong with a file is one `ConfigError` that names the file and the
place."""

import gzip
import os
import re
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from distilfleet.core.errors import ConfigError
from distilfleet.data import images, sources
from distilfleet.data.reading import Reading

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.array([0, 1] * 10)
HUGE = np.where(np.arange(60).reshape(20, 3) == 40, 1e300, X)


def with_value(value):
    inputs = X.copy()
    inputs[4, 2] = value
    return inputs


def refused(path, *parts, **flags):
    with pytest.raises(ConfigError) as caught:
        sources.load(str(path), **flags)
    message = str(caught.value)
    for part in parts:
        assert part in message, message
    return message


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("mnits", ["'mnits'", "digits", "hub:NAME", ".npz"]),
        ("nowhere/data.npz", ["nowhere/data.npz: no such file", ".csv"]),
        ("data.csv", ["data.csv: no such file"]),
    ],
)
def test_names_and_paths_that_do_not_exist(data, parts):
    refused(data, *parts)


def test_unsupported_ending(tmp_path):
    (tmp_path / "a.xlsx").write_text("x")
    refused(tmp_path / "a.xlsx", "a.xlsx", "'.xlsx'", ".csv", label="y")
    (tmp_path / "a.txt").write_text("x")
    refused(tmp_path / "a.txt", "a.txt", "--label")


@pytest.mark.parametrize("holdout", [0.0, 1.0, -0.1, 20, float("nan")])
def test_holdout_outside_0_to_1(holdout):
    refused("digits", f"holdout is {holdout}", "between 0 and 1", holdout=holdout)


def test_names_of_keys_where_there_are_none():
    refused("digits", "--label y", label="y")
    refused("digits", "--group who", group="who")


# --- npz ------------------------------------------------------------------------------------------

PIXELS = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
BYTES = {"x_train": PIXELS, "y_train": Y[:4], "x_test": PIXELS, "y_test": Y[:4]}
PARTS = {"x_train": X, "y_train": Y, "x_test": X[:4], "y_test": Y[:4]}


@pytest.mark.parametrize(
    ("arrays", "flags", "parts"),
    [
        ({"x": with_value(np.nan), "y": Y}, {}, ["row 4, column 2", "nan", "--missing drop"]),
        ({"x": with_value(np.inf).astype(np.float16), "y": Y}, {}, ["row 4, column 2", "inf"]),
        ({"x": HUGE, "y": Y}, {}, ["row 13, column 1", "1e+300"]),
        ({"x": with_value(np.nan).reshape(20, 3, 1), "y": Y}, {}, ["row 4, position [2, 0]"]),
        (
            {**PARTS, "x_test": with_value(np.nan)[:5], "y_test": Y[:5]},
            {},
            ["test part", "row 4, column 2"],
        ),
        ({"x": X.astype(str), "y": Y}, {}, ["expected numbers"]),
        ({"x": X.astype(complex), "y": Y}, {}, ["complex128", "expected numbers"]),
        ({"x": X, "y": Y[:19]}, {}, ["20 inputs", "19 labels"]),
        ({**PARTS, "y_test": Y[:3]}, {}, ["test part", "4 inputs", "3 labels"]),
        ({"x": X, "y": Y, "group": Y[:5]}, {}, ["20 inputs", "5 groups"]),
        ({"x": X[:0], "y": Y[:0]}, {}, ["no samples"]),
        ({"x": np.float64(1), "y": np.float64(1)}, {}, ["no samples"]),
        ({"x": X, "y": np.zeros(20, dtype=int)}, {}, ["every label is '0'", "two classes"]),
        (
            {"x": X, "y": np.where(np.arange(20) == 3, 7, Y)},
            {},
            ["class '7'", "a single training sample"],
        ),
        ({"x": X, "y": Y + 0.5}, {}, ["label of row 0", "0.5", "bin"]),
        ({"x": X, "y": np.where(Y, np.nan, 0)}, {}, ["label of row 1", "nan", "--missing drop"]),
        (
            {"x": X, "y": Y, "classes": np.array(["cat", "cat"])},
            {},
            ["names of classes has 'cat'", "of its own"],
        ),
        ({"x": X, "y": Y, "classes": np.array(["", "cat"])}, {}, ["names of classes has ''"]),
        ({"x": X, "y": np.eye(2)[Y]}, {}, ["labels have shape (20, 2)", "argmax"]),
        ({"x": X, "y": Y.astype(complex)}, {}, ["labels are of type complex128"]),
        ({**PARTS, "x_test": X[:4, :2]}, {}, ["(3,) in the train part", "(2,) in the test part"]),
        ({**PARTS, "y_test": Y[:4] + 1}, {}, ["test part has class '2'", "training classes: 0, 1"]),
        (
            {**PARTS, "y_test": np.array(list("abab"))},
            {},
            ["int64 in the train part", "<U1 in the test part"],
        ),
        ({"x_train": X, "y_train": Y, "x_test": X}, {}, ["'x_test'", "'y_test' too"]),
        ({"x_train": X, "y_train": Y, "y_test": Y}, {}, ["'y_test'", "'x_test' too"]),
        ({"x_train": X, "z": Y}, {}, ["no key for the labels", "y_train", "z [20]", "--label"]),
        ({"x": X, "z": Y}, {}, ["no key for the labels", "x [20, 3], z [20]"]),
        ({"x": X, "y": Y}, {"label": "sick"}, ["--label sick", "x [20, 3], y [20]"]),
        ({"x": X, "y": Y}, {"group": "who"}, ["groups (--group who)", "x [20, 3], y [20]"]),
        (PARTS, {"group": "who"}, ["groups (--group who)", "x_train [20, 3]"]),
        ({"y": Y, "who": Y}, {}, ["no array could be the inputs of 20 labels", "who [20]"]),
        ({"y": Y, "a": X, "b": X}, {}, ["more than one array", "a [20, 3], b [20, 3]"]),
        ({"x": X.reshape(20, 1, 1, 1, 3), "y": Y}, {}, ["(1, 1, 1, 3)", "[features]"]),
        ({}, {}, ["holds no array"]),
        (
            {**BYTES, "x_test": PIXELS.astype(float)},
            {},
            ["pixels of the test part come to 0 to 255", "one range"],
        ),
        (
            {**BYTES, "x_test": PIXELS / 127.5 - 1},
            {},
            ["pixels of the test part come to -1 to 1", "one range"],
        ),
        ({"x": X, "y": Y, "extra": np.array([{"a": 1}])}, {}, ["Python objects", "never loaded"]),
    ],
)
def test_npz(tmp_path, arrays, flags, parts):
    np.savez(tmp_path / "a.npz", **arrays)
    refused(tmp_path / "a.npz", "a.npz", *parts, **flags)


def test_npz_that_is_something_else(tmp_path):
    path = tmp_path / "a.npz"
    for content, part in (
        (b"", "not a readable"),
        (b"PK\3\4 no more", "not a readable"),
        (b"\x80\x04K\1.", "never loaded"),
    ):
        path.write_bytes(content)
        refused(path, "a.npz", part)
    np.save(tmp_path / "b.npy", X)
    (tmp_path / "b.npy").rename(path)
    refused(path, "a.npz", "a single array")


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)
@given(cut=st.integers(0, 1500), place=st.integers(0, 1500), value=st.integers(0, 255))
def test_a_damaged_npz_is_refused_or_read_but_never_crashes(tmp_path, cut, place, value):
    path = tmp_path / "a.npz"
    np.savez(path, x=X, y=Y)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content[: len(content) - cut % len(content)] if cut % 2 else content)
    try:
        sources.load(str(path))
    except ConfigError as error:
        assert "a.npz" in str(error)


# --- tables ---------------------------------------------------------------------------------------

ROWS = [f"{row},{row / 2},{row % 2}" for row in range(20)]


def changed(line, text):
    return [
        "a,b,label",
        *(text if number == line else row for number, row in enumerate(ROWS, start=2)),
    ]


@pytest.mark.parametrize(
    ("lines", "flags", "parts"),
    [
        ([], {}, ["0 rows"]),
        (["a,b,label"], {}, ["1 rows", "column names"]),
        (["a,b,c", *ROWS], {}, ["no label column 'label'", "columns: a, b, c", "--label"]),
        (
            ["a,b,label", *ROWS],
            {"label": "sick"},
            ["no label column 'sick'", "columns: a, b, label"],
        ),
        (["a,b,label", *ROWS], {"group": "who"}, ["no group column 'who'", "--group"]),
        (changed(7, "1,nan,0"), {}, ["line 7, column 'b'", "'nan'"]),
        (changed(7, "inf,1,0"), {}, ["line 7, column 'a'", "'inf'"]),
        (changed(7, "1,1e300,0"), {}, ["line 7, column 'b'", "'1e300'"]),
        (changed(9, "x7,1,0"), {}, ["line 9, column 'a' holds 'x7'", "finite number"]),
        (changed(9, ",1,0"), {}, ["line 9, column 'a' holds ''"]),
        (changed(9, "NA,1,0"), {}, ["line 9, column 'a' holds 'NA'"]),
        (changed(5, "1,2"), {}, ["line 5 has 2 fields; expected 3"]),
        (changed(5, "1,2,3,4"), {}, ["line 5 has 4 fields; expected 3"]),
        (changed(5, "1,2,"), {}, ["line 5 has no label in column 'label'"]),
        (changed(5, "1,2,0.5"), {}, ["line 5, label column 'label' holds '0.5'", "bin"]),
        (changed(5, '1,"2,0'), {}, ["line 21", "unexpected end of data"]),
        (["a,a,label", *ROWS], {}, ["line 1 names column 'a' twice"]),
        (ROWS, {}, ["line 1 is all numbers", "column names"]),
        (["label", *("01" * 5)], {}, ["no column can be a feature", "no other column"]),
        (
            ["a b label", *(row.replace(",", " ") for row in ROWS)],
            {},
            ["columns: a b label", "line 1 has one field"],
        ),
        (
            [",b,label", *(f"{row % 3 / 7},{row},{row % 2}" for row in range(20))],
            {},
            ["no name for column 1", "'0.0'"],
        ),
        (
            [",b,label", *(f"{'xy'[row % 2]},{row},{row % 2}" for row in range(20))],
            {},
            ["no name for column 1", "'x'"],
        ),
        (
            ["a,b,label", *ROWS],
            {"reading": Reading(leave_out=("label",))},
            ["--leave-out label names the label"],
        ),
        (
            ["name,label", *(f"name{row},{row % 2}" for row in range(20))],
            {},
            ["'name': text with 20 values", "--text"],
        ),
        (["a,label", *(f"{row},0" for row in range(20))], {}, ["every label is '0'"]),
        (["a,label", *(f"{row},{row}" for row in range(20))], {}, ["a single training sample"]),
    ],
)
def test_tables(tmp_path, lines, flags, parts):
    (tmp_path / "a.csv").write_text("\n".join(lines))
    refused(tmp_path / "a.csv", "a.csv", *parts, **flags)


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,label\n\xff\xfe,1\n")
    refused(tmp_path / "a.csv", "a.csv", "UTF-8")


@pytest.mark.parametrize(
    ("begin", "part"),
    [(b"\x1f\x8b", "gunzip"), (b"\xd0\xcf\x11\xe0", ".csv"), (b"PAR1", "Parquet")],
)
def test_a_table_that_is_packed_or_of_another_kind_is_said_to_be(begin, part, tmp_path):
    (tmp_path / "a.csv").write_bytes(begin + bytes(20))
    refused(tmp_path / "a.csv", "a.csv", part)


# --- idx and pictures -----------------------------------------------------------------------------


def idx_bytes(array):
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


IMAGES = idx_bytes(np.zeros((20, 4, 4)))


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["not an IDX file"]),
        (b"\x89PNG....", ["not an IDX file", "89504e47"]),
        (IMAGES[:9], ["truncated"]),
        (IMAGES[:-1], ["335 bytes", "[20, 4, 4]", "announces 336"]),
        (IMAGES + b"0", ["337 bytes", "announces 336"]),
    ],
)
def test_idx(tmp_path, content, parts):
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(Y))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    refused(tmp_path, "train-images-idx3-ubyte", *parts)


def test_idx_that_is_incomplete(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(IMAGES)[:-9])
    refused(tmp_path, "train-images-idx3-ubyte.gz has no counterpart", "images and labels")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(Y))
    refused(tmp_path, "train-images-idx3-ubyte.gz: cannot be read", "truncated")
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    (tmp_path / "train-labels-idx1-ubyte").rename(tmp_path / "t10k-labels-idx1-ubyte")
    refused(tmp_path, "no train-images", "t10k-labels")


def test_folders_without_pictures(tmp_path):
    refused(tmp_path, str(tmp_path), "no pictures in class folders", "CLASS")
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    refused(tmp_path, "one folder per class")


def test_a_damaged_picture_is_named(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.effect_noise((32, 32), 9).save(tmp_path / name / f"{number}.png")
    damaged = tmp_path / "dog" / "1.png"
    whole = damaged.read_bytes()
    for content in (whole[:200], b"", b"not a picture"):
        damaged.write_bytes(content)
        refused(tmp_path, re.sub(r"^.*dog", "dog", str(damaged)), "not a readable picture")


# --- what is no file, or unfolds to too much ------------------------------------------------------


def header(shape, kind="<f8"):
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def member(head, body=b""):
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + body


MEMBERS = {
    "no array": ("readme.txt", b"hello", ["'readme.txt'", "expected arrays alone"]),
    "no header": ("x.npy", b"hello", ["not a readable"]),
    "more than there is": (
        "x.npy",
        member(header("(1000000000000,)")),
        ["announces 8000000000000 bytes and holds 0"],
    ),
    "less than there is": (
        "x.npy",
        member(header("(1,)"), bytes(80)),
        ["announces 8 bytes and holds 80"],
    ),
    "below nothing": ("x.npy", member(header("(-1,)")), ["announces -8 bytes"]),
    "beyond 64 bits": ("x.npy", member(header(f"({10**30},)")), ["announces 8"]),
    "too many axes": ("x.npy", member(header("(" + "1," * 70 + ")"), bytes(8)), ["not a readable"]),
    "nested": ("x.npy", member(b"(" * 5000 + b"\n"), ["not a readable"]),
    "no type": ("x.npy", member(header("(1,)", "<q9"), bytes(8)), ["not a readable"]),
}


@pytest.mark.parametrize(("name", "content", "parts"), MEMBERS.values(), ids=MEMBERS)
def test_members_of_an_npz_that_are_no_arrays(tmp_path, name, content, parts):
    path = tmp_path / "a.npz"
    np.savez(path, y=Y)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content)
    refused(path, "a.npz", *parts)


def test_an_npz_that_unfolds_to_more_than_the_machine_has(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((10**6, 3)), y=Y)
    monkeypatch.setattr("distilfleet.data.files.LARGEST_SHARE", 1e-4)
    refused(tmp_path / "a.npz", "24 MB", "of memory", "give a part of it")


def test_a_packed_idx_file_is_unfolded_no_further_than_it_announces(tmp_path):
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(Y))
    packed = gzip.compress(IMAGES + bytes(1 << 28), 1)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(packed)
    tracemalloc.start()
    refused(tmp_path, "337 bytes or more", "announces 336")
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("axes", "part"), [(b"\xff" + b"\xff" * 1020, "255 axes"), (b"\3" + b"\xff" * 12, "of memory")]
)
def test_an_idx_file_that_announces_what_nobody_has(tmp_path, axes, part):
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(Y))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08" + axes)
    refused(tmp_path, "train-images-idx3-ubyte", part)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "train-images-idx3-ubyte"])
def test_pipes_devices_and_circles_are_not_waited_for(tmp_path, name):
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(Y))
    path = tmp_path / name
    os.mkfifo(path)
    refused(path, name, "a pipe, socket or device")
    path.unlink()
    path.symlink_to("/dev/zero")
    refused(path, name, "a pipe, socket or device")
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(ConfigError, match=name):
        sources.load(str(path))


def test_a_home_of_nobody():
    refused("~nobody-of-this-name/a.csv", "Write the path in full")


def test_reading_a_table_takes_time_in_proportion_to_its_size(tmp_path):
    def took(rows, columns):
        names = ",".join(f"c{column}" for column in range(columns))
        cells = ";".join(["1,5 ms"] * (columns - 1))
        body = "".join(f"{cells};{row},25;{row % 2}\n" for row in range(rows))
        (tmp_path / "a.csv").write_text(f"{names.replace(',', ';')};label\n{body}")
        before_s = time.process_time()
        sources.load(str(tmp_path / "a.csv"))
        return time.process_time() - before_s

    (tmp_path / "a.csv").write_text(" " * 200_000 + "a,b\n1,2\n")
    before_s = time.process_time()
    refused(tmp_path / "a.csv", "a.csv")
    assert time.process_time() - before_s < 2
    assert took(10_000, 4) < 20 * took(1000, 4) + 0.2
    assert took(20, 3000) < 20 * took(20, 300) + 0.2


def test_a_folder_above_the_parts_names_the_one_to_take(tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "images" / part / name / "0.png")
    with pytest.raises(
        ConfigError, match=r"its one folder, images, has .*test.*train.*: name .*images instead"
    ):
        images.read(tmp_path)
    assert set(images.read(tmp_path / "images").train.labels) == {"cat", "dog"}


@pytest.mark.parametrize("mark", [-999, -9999])
def test_numbers_that_stand_in_for_missing_ones_are_said(mark, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(20, 5, 60)
    values[:7] = mark
    lines = [f"{value:.2f},{rng.normal():.3f},{'ab'[row % 2]}" for row, value in enumerate(values)]
    (tmp_path / "a.csv").write_text("\n".join(["temperature,other,label", *lines]))
    notes = sources.load(str(tmp_path / "a.csv")).notes
    (said,) = [note for note in notes if "stand for a missing one" in note]
    assert f"7 are {mark}" in said
    assert "temperature" in said
    assert "--leave-out" in said
    assert "other" not in said
