import numpy as np
import pytest

from distilfleet.core.table import DeviceRow, column

TABLE = {"w": np.arange(24.0).reshape(4, 2, 3), "n": np.arange(4)}
ROWS = [DeviceRow(TABLE, d) for d in range(4)]
PLAIN = [{"w": TABLE["w"][d], "n": np.array(d)} for d in range(4)]


def test_a_row_is_a_mapping_of_one_devices_arrays():
    row = ROWS[2]
    assert (list(row), len(row), "n" in row, "x" in row) == (["w", "n"], 2, True, False)
    assert row["w"].tolist() == TABLE["w"][2].tolist()
    assert (row["n"].shape, int(row["n"])) == ((), 2)
    assert row.keys() == PLAIN[2].keys()
    with pytest.raises(KeyError):
        row["x"]


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [1, 2], [3], [2, 0, 3], [1, 1]])
@pytest.mark.parametrize("rows", [ROWS, PLAIN, [*PLAIN[:2], *ROWS[2:]], [*ROWS[:2], *PLAIN[2:]]])
def test_a_column_has_the_array_of_each_row_in_order(rows, chosen):
    some = [rows[d] for d in chosen]
    for name, whole in TABLE.items():
        came = column(some, name)
        assert (came.tolist(), came.dtype) == (whole[chosen].tolist(), whole.dtype)


def test_rows_of_two_tables_are_told_apart():
    other = DeviceRow({"w": -TABLE["w"], "n": -TABLE["n"]}, 1)
    assert column([ROWS[0], other], "n").tolist() == [0, -1]


def test_neighbours_are_not_copied():
    assert np.shares_memory(column(ROWS[1:3], "w"), TABLE["w"])
    assert not np.shares_memory(column([ROWS[1], ROWS[3]], "w"), TABLE["w"])
