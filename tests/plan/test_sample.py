import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.core.types import Conditions
from distilfleet.cost import catalogue
from distilfleet.plan.sample import Sample

BOARD = catalogue.device("rpi-5", "one")


def conditions(size, number=1):
    ids = tuple(f"{i:03d}" for i in range(size))
    return Conditions(round=number, devices=dict.fromkeys(ids, BOARD), ids=ids)


@given(
    st.integers(1, 60),
    st.integers(1, 70),
    st.integers(0, 20),
    st.integers(1, 70),
    st.integers(1, 9),
)
def test_a_sample_is_of_enrolled_devices_each_at_most_once(size, per_round, spare, minimum, number):
    there = conditions(size, number)
    plan = Sample(per_round=per_round, seed=0, spare=spare, minimum=minimum, deadline_s=2.0).plan(
        there
    )
    (cluster,) = plan.clusters
    assert set(cluster) <= set(there.ids)
    assert len(set(cluster)) == len(cluster) == min(per_round + spare, size)
    assert plan.goal is None if not spare else plan.goal == min(per_round, len(cluster))
    assert 1 <= plan.minimum <= len(cluster)
    assert plan.deadline_s == 2.0
    assert list(plan.devices) == list(cluster)


def test_a_plan_is_a_pure_function_of_seed_and_round():
    there = conditions(50)
    chosen = [Sample(per_round=5, seed=seed).plan(there).devices for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert Sample(per_round=5, seed=0).plan(conditions(50, 2)).devices != chosen[0]


def test_all_take_part_in_order_where_there_are_no_more():
    assert Sample(per_round=9, seed=0).plan(conditions(4)).devices == ["000", "001", "002", "003"]


def test_every_device_is_drawn_about_equally_often():
    counts = dict.fromkeys(conditions(20).ids, 0)
    for number in range(400):
        for device in Sample(per_round=5, seed=0).plan(conditions(20, number)).devices:
            counts[device] += 1
    assert min(counts.values()) > 70
    assert max(counts.values()) < 130


@pytest.mark.parametrize("size", [1, 10_000])
def test_ids_are_looked_up_only_for_who_is_drawn(size):
    class Counting(tuple):
        looked_up = 0

        def __getitem__(self, row):
            type(self).looked_up += 1
            return super().__getitem__(row)

        def __iter__(self):
            type(self).looked_up += len(self)
            return super().__iter__()

    ids = Counting(str(i) for i in range(size))
    Counting.looked_up = 0
    Sample(per_round=3, seed=0).plan(Conditions(round=1, devices={}, ids=ids))
    assert Counting.looked_up <= 3
