import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.core.errors import ConfigError
from distilfleet.data import partition

sizes = st.tuples(st.integers(1, 25), st.integers(0, 150), st.integers(0, 4)).map(
    lambda drawn: (drawn[0], drawn[0] * drawn[2] + drawn[1] + 1, drawn[2])
)
"""(devices, samples, least), always possible."""
seeds = st.integers(0, 2**32 - 1)
alphas = st.sampled_from([0.001, 0.05, 0.5, 1.0, 100.0])


def assert_divides(rows, n, least):
    assert all(own.dtype == np.int64 for own in rows)
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(n))
    assert min(map(len, rows)) >= least


def assert_same(one, other):
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(sizes, seeds)
def test_iid_gives_equal_shares_of_everything(size, seed):
    devices, n, least = size
    rows = partition.iid(n, devices, np.random.default_rng(seed), least)
    assert len(rows) == devices
    assert_divides(rows, n, least)
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    assert_same(rows, partition.iid(n, devices, np.random.default_rng(seed), least))


@given(sizes, seeds, alphas, st.integers(1, 6))
def test_dirichlet_gives_each_row_once_and_nobody_too_few(size, seed, alpha, classes):
    devices, n, least = size
    labels = np.random.default_rng(seed + 1).integers(0, classes, n)
    rows = partition.dirichlet(labels, devices, alpha, np.random.default_rng(seed), least=least)
    assert len(rows) == devices
    assert_divides(rows, n, least)
    assert_same(
        rows, partition.dirichlet(labels, devices, alpha, np.random.default_rng(seed), least=least)
    )


@given(sizes, seeds, alphas)
def test_by_quantity_gives_each_row_once_and_nobody_too_few(size, seed, alpha):
    devices, n, least = size
    rows = partition.by_quantity(n, devices, alpha, np.random.default_rng(seed), least)
    assert len(rows) == devices
    assert_divides(rows, n, least)
    assert_same(rows, partition.by_quantity(n, devices, alpha, np.random.default_rng(seed), least))


@given(st.lists(st.sampled_from(["ann", "bob", "eve", "zoë"]), min_size=1, max_size=60))
def test_by_group_gives_each_owner_their_rows(owners):
    groups = np.array(owners)
    names, rows = partition.by_group(groups)
    assert names == tuple(sorted(set(owners)))
    assert_divides(rows, len(owners), 1)
    assert all((groups[own] == name).all() for name, own in zip(names, rows, strict=True))


@given(st.integers(1, 60), st.integers(1, 80), seeds, st.data())
def test_overlapping_never_repeats_a_sample_on_a_device(n, devices, seed, data):
    per_device = data.draw(st.integers(1, n))
    rows = partition.overlapping(n, devices, per_device, np.random.default_rng(seed))
    assert rows.shape == (devices, per_device)
    assert rows.min() >= 0 and rows.max() < n
    assert all(len(set(own)) == per_device for own in rows.tolist())
    assert np.array_equal(
        rows, partition.overlapping(n, devices, per_device, np.random.default_rng(seed))
    )


def test_overlapping_uses_samples_about_equally():
    rows = partition.overlapping(1000, 10_000, 20, np.random.default_rng(0))
    assert set(np.bincount(rows.ravel(), minlength=1000)) == {200}


def test_overlapping_serves_a_hundred_thousand_devices():
    rows = partition.overlapping(1797, 100_000, 20, np.random.default_rng(0))
    assert rows.shape == (100_000, 20)
    assert rows.nbytes == 8_000_000


def test_a_small_alpha_is_more_skew():
    labels = np.repeat(np.arange(10), 200)

    def top_share(alpha):
        rows = partition.dirichlet(labels, 20, alpha, np.random.default_rng(0))
        histogram = partition.describe(rows, labels, 10)
        return (histogram.max(axis=1) / histogram.sum(axis=1)).mean()

    assert top_share(0.05) > 0.6 > 0.25 > top_share(100.0)


def test_dirichlet_gives_different_seeds_different_rows():
    labels = np.repeat(np.arange(4), 50)
    one, other = (
        partition.dirichlet(labels, 5, 0.5, np.random.default_rng(seed)) for seed in (0, 1)
    )
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_describe_counts_labels():
    labels = np.array([0, 0, 1, 2, 2, 2])
    histogram = partition.describe((np.array([0, 2]), np.array([1, 3, 4, 5])), labels, 4)
    assert histogram.tolist() == [[1, 1, 0, 0], [1, 0, 3, 0]]


@pytest.mark.parametrize(
    "divide",
    [
        lambda rng: partition.iid(21, 11, rng),
        lambda rng: partition.dirichlet(np.zeros(21, dtype=np.int64), 11, 1.0, rng),
        lambda rng: partition.by_quantity(21, 11, 1.0, rng),
    ],
)
def test_too_many_devices_is_refused_with_what_is_possible(divide):
    with pytest.raises(
        ConfigError, match=r"21 samples cannot give 11 devices 2 samples each; at most 10 devices"
    ):
        divide(np.random.default_rng(0))


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(ConfigError, match="alpha is"):
        partition.dirichlet(np.zeros(9, dtype=np.int64), 2, alpha, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="alpha is"):
        partition.by_quantity(9, 2, alpha, np.random.default_rng(0))


def test_no_devices_is_refused():
    with pytest.raises(ConfigError, match="0 devices"):
        partition.iid(5, 0, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="0 devices"):
        partition.overlapping(5, 0, 1, np.random.default_rng(0))


@pytest.mark.parametrize("per_device", [0, 6])
def test_overlapping_refuses_more_than_there_is(per_device):
    with pytest.raises(ConfigError, match="expected 1 to 5"):
        partition.overlapping(5, 3, per_device, np.random.default_rng(0))
