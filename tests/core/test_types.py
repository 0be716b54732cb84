from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.core.types import ArraySpec, Dataset, Load, Plan, Usage
from distilfleet.core.wire import DTYPES

counts = st.integers(0, 10**15)
whole = counts.map(float)
loads = st.builds(
    Load, flops=whole, moved_bytes=whole, down_bytes=counts, up_bytes=counts, memory_bytes=counts
)
usages = st.builds(
    Usage, busy_s=whole, energy_j=whole, down_bytes=counts, up_bytes=counts, measured=st.booleans()
)


@given(loads, loads, loads)
def test_loads_add_up_in_any_order(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Load() == a


def test_of_two_loads_the_larger_memory_counts():
    assert (Load(flops=1.0, memory_bytes=7) + Load(flops=2.0, memory_bytes=5)) == Load(
        flops=3.0, memory_bytes=7
    )


@given(usages, usages, usages)
def test_usages_add_up_in_any_order(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Usage(measured=True) == a


def test_a_sum_is_measured_only_if_every_part_is():
    assert (Usage(measured=True) + Usage(measured=True)).measured
    assert not (Usage(measured=True) + Usage()).measured


def test_a_plan_lists_devices_cluster_by_cluster():
    assert Plan(clusters=[["b", "a"], [], ["c"]]).devices == ["b", "a", "c"]


def test_facts_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Load().flops = 1.0


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (4, 5)], ids=str)
def test_a_spec_knows_its_size(dtype, shape):
    assert ArraySpec(dtype, shape).size_bytes == np.zeros(shape, dtype).nbytes


def ten_samples() -> Dataset:
    return Dataset(np.arange(30, dtype="f4").reshape(10, 3), np.arange(10))


def test_a_dataset_has_a_length_and_the_shape_of_a_sample():
    assert len(ten_samples()) == 10
    assert ten_samples().shape == (3,)


def test_taking_rows_takes_their_labels():
    taken = ten_samples().take(np.array([7, 2]))
    np.testing.assert_array_equal(taken.labels, [7, 2])
    np.testing.assert_array_equal(taken.inputs[:, 0], [21, 6])
    assert Dataset(np.zeros((4, 2))).take(np.array([1])).labels is None


def test_batches_come_in_order_with_a_short_last_one():
    batches = list(ten_samples().batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    np.testing.assert_array_equal(
        np.concatenate([batch.labels for batch in batches]), np.arange(10)
    )


def test_batches_are_views():
    data = ten_samples()
    assert all(np.shares_memory(batch.inputs, data.inputs) for batch in data.batches(3))


def test_a_dataset_without_samples_has_no_batches():
    assert list(Dataset(np.zeros((0, 2), "f4")).batches(4)) == []


def test_a_proxy_dataset_stays_unlabelled_in_batches():
    assert all(batch.labels is None for batch in Dataset(np.zeros((5, 2), "f4")).batches(2))
