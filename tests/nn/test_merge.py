"""Merging weights: the plain mean to the bit, rules beside it, statistics and counters, and who is
named."""

import numpy as np
import pytest

from distilfleet.nn import merge
from distilfleet.nn.merge import Merged, away, combine, lowest
from distilfleet.nn.weights import average
from distilfleet.trust.robust import CHOICES

RNG = np.random.default_rng(0)
SENT = {
    "layer.weight": RNG.normal(size=(5, 4)).astype(np.float32),
    "norm.running_mean": np.zeros(4, np.float32),
    "norm.running_var": np.ones(4, np.float32),
    "norm.num_batches_tracked": np.array(7),
}
DEVICES = [f"device-{i:02d}" for i in range(20)]
SHARES = RNG.integers(10, 40, len(DEVICES)).astype(float).tolist()


def answers(seed=1):
    rng = np.random.default_rng(seed)
    return [
        {
            "layer.weight": SENT["layer.weight"] + rng.normal(0.3, 0.1, (5, 4)).astype(np.float32),
            "norm.running_mean": rng.normal(1.0, 0.1, 4).astype(np.float32),
            "norm.running_var": rng.uniform(0.9, 1.1, 4).astype(np.float32),
            "norm.num_batches_tracked": np.array(7 + i % 3),
        }
        for i in range(len(DEVICES))
    ]


def test_the_mean_is_the_average_to_the_bit():
    told = answers()
    merged = combine(told, SENT, SHARES, DEVICES, "mean")
    assert merged.discounts == []
    for name, array in average(told, SHARES).items():
        assert merged.weights[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("rule", CHOICES)
def test_types_and_shapes_stay(rule):
    merged = combine(answers(), SENT, SHARES, DEVICES, rule).weights
    assert {name: (a.dtype, a.shape) for name, a in merged.items()} == {
        n: (a.dtype, a.shape) for n, a in SENT.items()
    }
    assert np.abs(merged["layer.weight"] - SENT["layer.weight"] - 0.3).max() < 0.15


@pytest.mark.parametrize("rule", CHOICES)
def test_equal_answers_come_back_as_they_are(rule):
    told = [answers()[0]] * 20
    for name, array in combine(told, SENT, SHARES, DEVICES, rule).weights.items():
        np.testing.assert_allclose(array, told[0][name], rtol=3e-7 if rule == "mean" else 0)


@pytest.mark.parametrize("rule", CHOICES)
def test_an_update_out_of_all_proportion_is_left_out_under_every_rule(rule):
    told = answers()
    told[3]["layer.weight"] += 50
    merged = combine(told, SENT, SHARES, DEVICES, rule)
    assert away([merged]) == {DEVICES[3]}
    rest = [i for i in range(20) if i != 3]
    without = combine(
        [told[i] for i in rest], SENT, [SHARES[i] for i in rest], [DEVICES[i] for i in rest], rule
    )
    for name, array in without.weights.items():
        assert merged.weights[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "rule",
    [
        "trimmed-mean",
        "geometric-median",
        "centred-clipping",
        "guarded-median",
        "multi-krum",
        "neighbour-mixing",
    ],
)
def test_statistics_cannot_be_poisoned_behind_honest_weights(rule):
    told = answers()
    for i in range(4):
        told[i] = {
            **told[i],
            "norm.running_mean": np.full(4, 1e6, np.float32),
            "norm.num_batches_tracked": np.array(9**15),
        }
    merged = combine(told, SENT, SHARES, DEVICES, rule).weights
    assert merged["norm.running_mean"].max() < 1.5
    assert merged["norm.num_batches_tracked"] <= 9


@pytest.mark.parametrize(
    "rule", ["geometric-median", "centred-clipping", "guarded-median", "multi-krum", "clipped-mean"]
)
def test_devices_that_counted_little_are_named(rule):
    told = answers()
    for i in (2, 5):
        told[i] = {
            **told[i],
            "layer.weight": SENT["layer.weight"]
            - 4 * (told[i]["layer.weight"] - SENT["layer.weight"]),
        }
    named = {one.device: one for one in combine(told, SENT, SHARES, DEVICES, rule).discounts}
    assert {DEVICES[2], DEVICES[5]} <= set(named)
    assert all(one.by == rule and one.kept < 0.5 for one in named.values())
    assert len(named) <= 4  # as many as may lie


@pytest.mark.parametrize("rule", CHOICES)
def test_loud_data_do_not_make_a_liar(rule):
    told = answers()
    for i in (2, 5):
        told[i]["norm.running_var"] *= 1e4
    assert (
        combine(told, SENT, SHARES, DEVICES, rule).discounts
        == combine(answers(), SENT, SHARES, DEVICES, rule).discounts
    )


def test_a_device_is_named_once_with_the_least_that_it_counted():
    told = answers()
    told[3]["layer.weight"] += 50
    (norm,) = combine(told, SENT, SHARES, DEVICES, "mean").discounts
    mild = type(norm)(device=norm.device, kept=0.4, by="multi-krum")
    assert lowest([mild, norm, mild]) == [norm]
    assert away([Merged(weights={}, discounts=[mild])]) == set()


@pytest.mark.parametrize(
    "rule", ["clipped-mean", "geometric-median", "centred-clipping", "guarded-median"]
)
def test_many_devices_are_merged_as_few_are(rule, monkeypatch):
    few = combine(answers(), SENT, SHARES, DEVICES, rule)
    monkeypatch.setattr(merge, "MANY", 10)
    many = combine(answers(), SENT, SHARES, DEVICES, rule)
    for name, array in few.weights.items():
        np.testing.assert_allclose(many.weights[name], array, atol=1e-6)
