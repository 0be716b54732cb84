import numpy as np
import pytest

from distilfleet.core.chance import FEW, shuffles


@pytest.mark.parametrize("samples", [15, FEW])
def test_shuffles_differ_by_key_and_by_count_and_repeat(samples):
    one, same, other = shuffles([(seed, "rows") for seed in (0, 0, 1)], samples, 2)
    assert (np.sort(one, axis=1) == np.arange(samples)).all()
    assert (one == same).all()
    assert (one[0] != one[1]).any()
    assert (one != other).any()


@pytest.mark.parametrize("samples", [4, FEW])
def test_every_row_is_as_likely_everywhere(samples):
    firsts = [one[0, 0] for one in shuffles([(seed, "rows") for seed in range(2000)], samples, 2)]
    quarters = np.bincount(np.array(firsts) * 4 // samples, minlength=4)
    assert (abs(quarters - 500) < 100).all()
