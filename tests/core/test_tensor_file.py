"""A file of arrays is written piece by piece, as the format's own library writes it whole."""

import weakref
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import load, save

from distilfleet.core.disk import write_atomically
from distilfleet.core.lazy import Fetched
from distilfleet.core.tensor_file import DTYPES, pieces

RNG = np.random.default_rng(0)
MIXED = {
    **{f"of {name}": RNG.integers(0, 2, (3, 2)).astype(np.dtype(name)) for name in DTYPES},
    "alone": np.array(2.5, np.float32),
    "none": np.zeros((0, 4), np.float32),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "größe": np.ones(3, np.uint8),
}


def written(arrays, metadata):
    return b"".join(bytes(piece) for piece in pieces(arrays, metadata))


@pytest.mark.parametrize("metadata", [{}, {"sealed": 'a "note"'}], ids=["bare", "noted"])
def test_the_bytes_are_those_of_the_library(metadata):
    plain = {name: np.array(array, order="C") for name, array in MIXED.items()}
    assert written(MIXED, metadata) == save(plain, metadata or None)


def test_what_is_written_reads_back():
    back = load(written(MIXED, {}))
    assert back.keys() == MIXED.keys()
    for name, array in MIXED.items():
        np.testing.assert_array_equal(back[name], array)


def test_lazy_arrays_are_not_in_memory_together(tmp_path):
    alive = set()
    most = []

    def fetch(number):
        array = np.full(1000, number, np.float32)
        alive.add(number)
        weakref.finalize(array, alive.discard, number)
        most.append(len(alive))
        return array

    write_atomically(
        tmp_path / "a", pieces(Fetched({f"{n}": partial(fetch, n) for n in range(9)}), {})
    )
    assert len(load((tmp_path / "a").read_bytes())) == 9
    assert max(most) <= 2
