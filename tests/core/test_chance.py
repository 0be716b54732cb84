import numpy as np
import pytest

from distilfleet.core.chance import FEW, shuffles


@pytest.mark.parametrize("samples", [15, FEW])
def test_shuffles_differ_by_key_and_by_count_and_repeat(samples):
    one, same, other = (shuffles((seed, "rows"), samples, 2) for seed in (0, 0, 1))
    assert (np.sort(one, axis=1) == np.arange(samples)).all()
    assert (one == same).all()
    assert (one[0] != one[1]).any()
    assert (one != other).any()


@pytest.mark.parametrize("samples", [4, FEW])
def test_every_row_is_as_likely_everywhere(samples):
    firsts = [shuffles((seed, "rows"), samples, 2)[0, 0] for seed in range(2000)]
    quarters = np.bincount(np.array(firsts) * 4 // samples, minlength=4)
    assert (abs(quarters - 500) < 100).all()
