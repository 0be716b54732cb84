import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from distilfleet.core.errors import ConfigError
from distilfleet.core.types import Dataset
from distilfleet.data import proxy, sources


def numbered(n):
    return Dataset(np.arange(n, dtype=np.float32).reshape(n, 1), np.arange(n) % 2)


@given(st.integers(2, 200), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_hold_out_divides_and_unlabels(n, share, seed):
    if not 0 < round(share * n) < n:
        return
    groups = np.array([f"p{row % 3}" for row in range(n)])
    private, owners, held = proxy.hold_out(numbered(n), groups, share, np.random.default_rng(seed))
    assert held.labels is None
    assert len(held) == round(share * n)
    rows = private.inputs[:, 0].astype(int)
    assert sorted([*rows, *held.inputs[:, 0].astype(int)]) == list(range(n))
    assert np.array_equal(private.labels, rows % 2)
    assert np.array_equal(owners, groups[rows])
    again = proxy.hold_out(numbered(n), None, share, np.random.default_rng(seed))
    assert np.array_equal(again[2].inputs, held.inputs)
    assert again[1] is None


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 0.01, 0.99, float("nan")])
def test_hold_out_leaves_samples_on_both_sides(share):
    with pytest.raises(ConfigError, match=re.escape(f"proxy share of {share} of 10 samples")):
        proxy.hold_out(numbered(10), None, share, np.random.default_rng(0))


@pytest.fixture
def series(tmp_path):
    inputs = np.random.default_rng(0).normal(5, 3, (20, 9, 2))
    np.savez(tmp_path / "train.npz", x=inputs, y=np.array([0, 1] * 10))
    return sources.load(str(tmp_path / "train.npz"))


@pytest.fixture
def digits():
    return sources.load("digits")


@pytest.fixture
def table(tmp_path):
    rows = [f"{row},{'red' if row % 3 else 'blue'},2024-01-01,{row % 2}" for row in range(20)]
    (tmp_path / "train.csv").write_text("\n".join(["size,colour,day,label", *rows]))
    return sources.load(str(tmp_path / "train.csv"))


def save(tmp_path, array, key="x"):
    np.savez(tmp_path / "proxy.npz", **{key: array})
    return str(tmp_path / "proxy.npz")


@pytest.mark.parametrize("key", ["x", "X", "inputs", "x_train", "whatever"])
def test_a_users_series_are_scaled_as_the_training_data_were(tmp_path, series, key):
    raw = np.random.default_rng(1).normal(5, 3, (6, 9, 2))
    held = proxy.from_path(save(tmp_path, raw, key), series)
    assert held.labels is None
    assert held.inputs.dtype == np.float32 and held.inputs.flags.c_contiguous
    expected = (raw.transpose(0, 2, 1) - series.scaling.offset) * series.scaling.factor
    assert np.allclose(held.inputs, expected, atol=1e-5)


def test_images_may_be_stored_as_the_training_data_were_or_as_bytes(tmp_path, digits):
    grey = np.random.default_rng(1).integers(0, 17, (6, 8, 8))
    floats = proxy.from_path(save(tmp_path, grey.astype(np.float64)), digits)
    counts = proxy.from_path(save(tmp_path, grey), digits)
    octets = proxy.from_path(save(tmp_path, np.round(grey * 255 / 16).astype(np.uint8)), digits)
    assert np.array_equal(floats.inputs, counts.inputs)
    assert np.allclose(floats.inputs, octets.inputs, atol=0.01)


def test_a_folder_of_pictures(tmp_path, digits):
    (tmp_path / "p" / "deep").mkdir(parents=True)
    for number in range(3):
        Image.new("L", (8, 8), 51).save(tmp_path / "p" / "deep" / f"{number}.png")
    held = proxy.from_path(str(tmp_path / "p"), digits)
    assert held.shape == (1, 8, 8)
    assert np.allclose(held.inputs, 0.2)


def test_a_table_is_matched_by_column_name_and_unknown_text_is_zeros(tmp_path, table):
    (tmp_path / "proxy.csv").write_text("extra,colour,size\n1,red,3\n1,green,4\n")
    held = proxy.from_path(str(tmp_path / "proxy.csv"), table)
    raw = np.array([[3, 0, 1], [4, 0, 0]])
    assert np.allclose(held.inputs, (raw - table.scaling.offset) * table.scaling.factor, atol=1e-6)


def refused(path, source, *parts):
    with pytest.raises(ConfigError) as caught:
        proxy.from_path(str(path), source)
    for part in parts:
        assert part in str(caught.value)


def test_another_shape_is_refused_and_both_are_named(tmp_path, digits, series):
    refused(save(tmp_path, np.zeros((4, 9, 9))), digits, "proxy.npz", "(1, 9, 9)", "(1, 8, 8)")
    refused(save(tmp_path, np.zeros((4, 8, 8, 3))), digits, "(3, 8, 8)", "(1, 8, 8)")
    refused(save(tmp_path, np.zeros((4, 64))), digits, "(4, 64)", "(1, 8, 8)")
    refused(save(tmp_path, np.zeros((4, 2, 9))), series, "(9, 2)", "(2, 9)")


def test_other_mistakes_are_named(tmp_path, digits, table):
    refused(tmp_path / "none.npz", digits, "none.npz: no such file")
    refused(save(tmp_path, np.zeros((0, 8, 8))), digits, "proxy.npz", "no samples")
    refused(save(tmp_path, np.full((2, 8, 8), np.nan)), digits, "row 0, position [0, 0]", "nan")
    refused(save(tmp_path, np.full((2, 8, 8), 255.0)), digits, "pixels span 15.9", "uint8")
    refused(save(tmp_path, np.full((2, 8, 8), "a")), digits, "expected numbers")
    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.zeros(2))
    refused(tmp_path / "two.npz", digits, "no key 'x'", "a [2], b [2]")
    (tmp_path / "a.csv").write_text("size\n1\n")
    refused(tmp_path / "a.csv", table, "a.csv", "no feature column 'colour'", "columns: size")
    refused(tmp_path / "a.csv", digits, "a table, but digits is none")
    (tmp_path / "a.xyz").write_text("")
    refused(tmp_path / "a.xyz", digits, "'.xyz'")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", digits, "no pictures")
