"""Aggregation rules against slow, plain readings of their papers, and what every rule must keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilfleet.trust.robust import (
    CHOICES,
    LINEAR,
    MOST_NORM,
    Rows,
    bad,
    capped,
    combine,
    counted,
    judge,
    products,
    stays,
)

ROBUST = [rule for rule in CHOICES if rule != "mean"]
FEW = 4
"""Liars among twenty."""


def aggregate(rule, rows_DW, shares_D=None):
    """The aggregate and how much each device counted."""
    shares_D = np.full(len(rows_DW), 1 / len(rows_DW)) if shares_D is None else shares_D
    verdict = judge(rule, products([rows_DW]), shares_D)
    value_W, inside_D = combine(verdict, rows_DW, shares_D)
    return value_W, counted(verdict, inside_D)


def spread(devices, numbers, seed=0):
    return np.random.default_rng(seed).normal(1.0, 1.0, (devices, numbers))


# --- against plain readings -----------------------------------------------------------------------


def slow_trimmed_mean(rows, lying):
    return [np.mean(sorted(column)[lying : len(column) - lying]) for column in np.transpose(rows)]


def slow_krum(rows, lying):
    scores = []
    for one in rows:
        away = sorted(float(np.sum((one - other) ** 2)) for other in rows)
        scores.append(sum(away[1 : len(rows) - lying - 1]))
    best = sorted(range(len(rows)), key=scores.__getitem__)[: len(rows) - lying]
    return np.mean([rows[i] for i in best], axis=0)


def slow_mixing(rows, lying):
    mixed = []
    for one in rows:
        order = sorted(range(len(rows)), key=lambda i: float(np.sum((one - rows[i]) ** 2)))
        mixed.append(np.mean([rows[i] for i in order[: len(rows) - lying]], axis=0))
    return slow_trimmed_mean(mixed, lying)


def slow_clipped(rows, lying):
    norms = [float(np.linalg.norm(row)) for row in rows]
    return np.mean(
        [row * min(1, np.median(norms) / norm) for row, norm in zip(rows, norms, strict=True)],
        axis=0,
    )


SLOW = {
    "mean": lambda rows, lying: np.mean(rows, axis=0),
    "clipped-mean": slow_clipped,
    "trimmed-mean": slow_trimmed_mean,
    "multi-krum": slow_krum,
    "neighbour-mixing": slow_mixing,
}


@pytest.mark.parametrize("rule", SLOW)
@given(devices=st.integers(5, 23), numbers=st.integers(1, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_rule_is_what_its_paper_says(rule, devices, numbers, seed):
    rows = spread(devices, numbers, seed)
    np.testing.assert_allclose(
        aggregate(rule, rows)[0], SLOW[rule](rows, bad(devices)), rtol=1e-9, atol=1e-12
    )


@given(devices=st.integers(3, 23), numbers=st.integers(2, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_no_step_from_the_geometric_median_comes_nearer_to_all_rows(devices, numbers, seed):
    rows, shares_D = (
        spread(devices, numbers, seed),
        capped(np.random.default_rng(seed).uniform(1, 9, devices)),
    )
    value_W, _ = aggregate("geometric-median", rows, shares_D)

    def far(point_W):
        return float(shares_D @ np.linalg.norm(rows - point_W, axis=1))

    for step_W in 1e-3 * np.random.default_rng(seed + 1).normal(size=(20, numbers)):
        assert far(value_W) <= (1 + 1e-5) * far(value_W + step_W)


def test_the_geometric_median_of_points_on_a_line_is_their_median():
    rows = np.array([[0.0], [1.0], [2.0], [30.0], [400.0]])
    assert aggregate("geometric-median", rows)[0] == pytest.approx([2.0], abs=1e-3)


@given(devices=st.integers(3, 23), numbers=st.integers(1, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_centred_clipping_is_the_mean_of_rows_of_which_a_fifth_are_drawn_in(devices, numbers, seed):
    """As its paper has it: no row pulls, once those beyond the radius are cut to its length."""
    rows, shares_D = (
        spread(devices, numbers, seed),
        capped(np.random.default_rng(seed).uniform(1, 9, devices)),
    )
    value_W, _ = aggregate("centred-clipping", rows, shares_D)
    away_D = np.linalg.norm(rows - value_W, axis=1)
    radius = np.sort(away_D)[devices - bad(devices) - 1]
    pulls_DW = (rows - value_W) * np.minimum(1.0, radius / np.maximum(away_D, 1e-300))[:, None]
    assert np.linalg.norm(shares_D @ pulls_DW) < 1e-4 * radius + 1e-12


@pytest.mark.parametrize(("one", "other"), [(4, 4), (5, 3), (10, 10), (15, 5)])
def test_camps_of_the_honest_that_are_more_than_may_lie_count_in_full(one, other):
    """As devices with one class each are: a geometric median takes the side of the larger camp, or
    of any."""
    rng = np.random.default_rng(one)
    rows = np.concatenate([rng.normal(3.0, 0.3, (one, 30)), rng.normal(-3.0, 0.3, (other, 30))])
    value_W, counted_D = aggregate("centred-clipping", rows)
    np.testing.assert_allclose(value_W, rows.mean(axis=0), atol=0.05)
    assert counted_D.min() > 0.9
    if one > other:
        assert aggregate("geometric-median", rows)[0].mean() > 2.5 > value_W.mean()
        np.testing.assert_array_equal(aggregate("guarded-median", rows)[0], value_W)


@pytest.mark.parametrize("rule", ["centred-clipping", "guarded-median"])
def test_a_camp_that_is_as_large_as_may_lie_is_drawn_in(rule):
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(3.0, 0.3, (16, 30)), rng.normal(-3.0, 0.3, (FEW, 30))])
    value_W, counted_D = aggregate(rule, rows)
    assert value_W.mean() > 2.8
    assert counted_D[16:].max() < 0.2 < 0.7 < counted_D[:16].min()


@pytest.mark.parametrize("far", [0.0, 4.0, 1e3])
def test_the_guarded_median_is_the_geometric_one_while_no_more_are_discounted_than_may_lie(far):
    rows = spread(20, 30)
    rows[:FEW] -= far
    value_W, counted_D = aggregate("guarded-median", rows)
    median_W, same_D = aggregate("geometric-median", rows)
    np.testing.assert_array_equal(value_W, median_W)
    np.testing.assert_array_equal(counted_D, same_D)


# --- what every rule must keep --------------------------------------------------------------------


@pytest.mark.parametrize("rule", CHOICES)
@pytest.mark.parametrize("devices", [1, 2, 3, 4, 20])
def test_equal_answers_come_back_as_they_are(rule, devices):
    row_W = np.random.default_rng(1).normal(size=50).astype(np.float32)
    shares_D = capped(np.random.default_rng(2).uniform(1, 9, devices))
    value_W, counted_D = aggregate(rule, np.stack([row_W] * devices), shares_D)
    np.testing.assert_array_equal(value_W.astype(np.float32), row_W)
    if rule not in ("multi-krum", "neighbour-mixing"):  # which leave some out, whoever they are
        assert counted_D == pytest.approx(np.ones(devices), abs=0.05)


@pytest.mark.parametrize("rule", CHOICES)
def test_the_order_of_devices_does_not_matter(rule):
    rows, shares_D = spread(20, 30), capped(np.random.default_rng(3).uniform(1, 9, 20))
    turned = np.random.default_rng(4).permutation(20)
    one_W, counted_D = aggregate(rule, rows, shares_D)
    other_W, turned_D = aggregate(rule, rows[turned], shares_D[turned])
    np.testing.assert_allclose(other_W, one_W, atol=1e-9)
    np.testing.assert_allclose(turned_D, counted_D[turned], atol=1e-9)


@pytest.mark.parametrize("far", [10.0, 1e3, 1e6])
@pytest.mark.parametrize("rule", ROBUST)
def test_a_fifth_of_liars_cannot_carry_the_aggregate_away(rule, far):
    rows = spread(20, 30)
    honest_W = rows[FEW:].mean(axis=0)
    rows[:FEW] = -far
    value_W, counted_D = aggregate(rule, rows)
    reach = np.linalg.norm(rows[FEW:] - honest_W, axis=1).max()
    assert np.linalg.norm(value_W - honest_W) < reach
    assert counted_D[:FEW].max() < 0.7 * counted_D[FEW:].mean()


def test_the_mean_is_carried_away():
    rows = spread(20, 30)
    rows[:FEW] = -1e6
    assert aggregate("mean", rows)[0].max() < -1e5


@pytest.mark.parametrize("rule", CHOICES)
def test_blocks_give_what_the_whole_gives(rule):
    rows, shares_D = spread(20, 30), np.full(20, 0.05)
    verdict = judge(rule, products([rows[:, :7], rows[:, 7:]]), shares_D)
    parts = [combine(verdict, part, shares_D)[0] for part in (rows[:, :11], rows[:, 11:])]
    np.testing.assert_allclose(np.concatenate(parts), aggregate(rule, rows)[0], atol=1e-9)


@pytest.mark.parametrize("rule", sorted(LINEAR))
def test_a_linear_rule_needs_no_table_of_products(rule):
    rows, shares_D = spread(300, 40), capped(np.random.default_rng(3).uniform(1, 9, 300))
    rows[:50] *= -4
    whole, lazy = judge(rule, products([rows]), shares_D), judge(rule, Rows(rows), shares_D)
    np.testing.assert_allclose(lazy.keep_D, whole.keep_D, rtol=1e-6)
    np.testing.assert_allclose(lazy.shrink_D, whole.shrink_D, rtol=1e-6)


# --- what devices say about themselves ------------------------------------------------------------


def test_no_device_weighs_more_than_twice_the_median():
    shares_D = capped(np.array([1.0, 1.0, 1.0, 1e12]))
    assert shares_D.sum() == pytest.approx(1)
    assert shares_D.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.4])


def test_updates_out_of_proportion_are_found():
    norm_D = np.array([1.0, 1.1, 0.9, MOST_NORM * 0.99, MOST_NORM * 1.2])
    assert stays(norm_D).tolist() == [True, True, True, True, False]
    assert stays(np.array([1.0, 1e9])).all()
    assert stays(np.zeros(3)).all()
    assert stays(np.array([0.0, 0.0, 0.0, 1.0])).all()


def test_a_fifth_of_the_devices_may_lie():
    assert [bad(devices) for devices in (1, 2, 3, 5, 6, 20, 21)] == [0, 0, 1, 1, 2, 4, 5]


def test_who_is_out_of_proportion_is_judged_by_a_median_of_five_at_least():
    assert stays(np.array([1.0, 1.0, 20.0])).all()
    assert stays(np.array([1.0, 2.0, 1.0, 20.0, 1.5])).tolist() == [True, True, True, False, True]
    assert stays(np.array([0.0, 0.0, 0.0, 0.0, 1.0])).all()
