"""Shares of a cell, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.cost.cells import crowd, equal_shares, solo_bps


def test_a_cell_alone_carries_three_quarters_less_what_is_sent_again():
    assert solo_bps(20e6, np.array([0.0, 2.0])) == pytest.approx([0, 0.75 / 1.111 * 40e6])


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40))
def test_shares_of_a_cell_add_up_to_one_among_those_that_are_there(devices):
    cell, active = (np.array(column) for column in zip(*devices, strict=True))
    shares = equal_shares(cell, active, 4)
    there = crowd(cell, active, 4)
    assert there.sum() == active.sum()
    np.testing.assert_allclose(
        np.bincount(cell, shares, minlength=4), (there > 0).astype(float), rtol=1e-5
    )
    assert (shares[~active] == 0).all()
