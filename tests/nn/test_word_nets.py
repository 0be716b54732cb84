"""Nets of texts: of their sizes, blind to padding, and the same side by side as alone."""

import numpy as np
import pytest
import torch

from distilfleet.core.chance import stream
from distilfleet.core.errors import ConfigError
from distilfleet.core.types import Dataset
from distilfleet.nn import zoo
from distilfleet.nn.cohorts import CLOSE, why_apart
from distilfleet.nn.features import taps
from distilfleet.nn.profile import profile
from distilfleet.nn.train import LocalTraining, task, tasks, train, train_cohort
from distilfleet.nn.weights import to_arrays

LENGTH = 12


def texts(samples, seed):
    """Ids as large as they come, texts of every length."""
    rng = stream(seed, "texts")
    ids = rng.integers(0, 2**31 - 1, (samples, LENGTH), np.int32)
    ids[np.arange(LENGTH) >= rng.integers(0, LENGTH + 1, samples)[:, None]] = -1
    return Dataset(ids, rng.integers(0, 3, samples))


def built(name, classes=3):
    return zoo.model(name, (LENGTH,), classes, of_texts=True)


@pytest.mark.parametrize(
    ("name", "weights"), [("words-s", 52_950), ("words-m", 136_086), ("words-l", 534_166)]
)
def test_small_nets_have_the_sizes_that_their_page_says(name, weights):
    assert profile(built(name, 150)).parameters == weights


@pytest.mark.parametrize("name", zoo.WORDS)
def test_padding_changes_nothing_and_words_do(name):
    net = built(name).build(0).eval()
    ids = torch.tensor([[5, 6, -1, -1], [5, 6, 7, -1], [-1, -1, -1, -1]], dtype=torch.int32)
    with torch.no_grad():
        whole, short = net(ids), net(ids[:1, :2])
    assert torch.allclose(whole[0], short[0], atol=1e-6)
    assert not torch.allclose(whole[0], whole[1], atol=1e-6)
    assert whole.isfinite().all()


def test_ids_that_differ_by_the_size_of_the_table_share_a_row():
    net = built("words-s").build(0).eval()
    assert torch.equal(
        net(torch.tensor([[3]], dtype=torch.int32)),
        net(torch.tensor([[3 + 7 * 2048]], dtype=torch.int32)),
    )


def test_devices_trained_side_by_side_end_where_they_end_alone():
    model = built("words-s")
    local = LocalTraining(passes=2, batch=8)
    start = to_arrays(model.build(0))
    data = [texts(count, seed) for seed, count in enumerate((20, 11, 33))]
    keys = [(0, "words", d) for d in range(3)]
    alone = [
        train(model.build(0), task(start, own, 3, local, key), local)
        for own, key in zip(data, keys, strict=True)
    ]
    cohort = tasks([start] * 3, data, 3, local, keys)
    for chunk, together in train_cohort(model.build(0), cohort, local):
        for at, d in enumerate(chunk):
            for name, array in alone[d].items():
                assert np.abs(together[name][at] - array).max() <= CLOSE
                assert not np.array_equal(array, start[name])
    assert why_apart(model, local) is None


def test_flops_are_those_of_the_mean_and_the_head():
    assert profile(built("words-m")).forward_flops == 2 * LENGTH * 32 + 2 * 32 * 3


def test_stages_are_vectors_that_other_nets_of_texts_can_be_held_against():
    found = taps(built("words-xl").build(0), built("words-xl").example(3))
    assert [tap.shape for tap in found] == [(512,)]


@pytest.mark.parametrize(
    ("name", "of_texts", "part"),
    [("words-m", False, "hashed words of texts"), ("mlp-s", True, "it takes numbers")],
)
def test_nets_of_numbers_and_of_texts_are_not_mixed_up(name, of_texts, part):
    with pytest.raises(ConfigError, match=part):
        zoo.model(name, (LENGTH,), 3, of_texts=of_texts)


def embedded(shape, classes):
    """A net of a user's own."""
    return torch.nn.Sequential(Ids(), torch.nn.EmbeddingBag(64, 4), torch.nn.Linear(4, classes))


class Ids(torch.nn.Module):
    def forward(self, ids):
        return ids.long().clamp(min=0) % 64


def test_a_net_of_ones_own_takes_texts():
    model = zoo.model(f"{__name__}:embedded", (LENGTH,), 3, of_texts=True)
    assert profile(model).parameters == 64 * 4 + 4 * 3 + 3
