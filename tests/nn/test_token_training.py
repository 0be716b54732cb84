"""Steps of a whole language model: equal to the plain training, in passes over all windows, with
moments that go on."""

import numpy as np
import pytest
import torch

from distilfleet.core.types import Dataset
from distilfleet.nn import split
from distilfleet.nn.fused import SampledTeacher
from distilfleet.nn.language import LanguageModel
from distilfleet.nn.pretrain import Pretraining, nats_per_token, reader
from distilfleet.nn.token_training import (
    TokenTraining,
    dense,
    draw_ids,
    forward_flops,
    predicted,
    pretrained,
    quality,
    rows_of,
    scratch,
    train_steps,
    training_load,
)
from distilfleet.nn.trace import trace
from distilfleet.nn.weights import put, to_arrays

SMALL = LanguageModel(name="llama:32x1", vocabulary=20, context=6)
LARGE = LanguageModel(name="llama:64x1", vocabulary=20, context=6)
HOW = TokenTraining(steps=3, batch=4, lr=1e-2)


@pytest.fixture
def windows():
    """Ids that count up; the last two windows are short."""
    inputs = (np.arange(10)[:, None] + np.arange(6)) % 20
    inputs[-2:, 3:] = -1
    return Dataset(inputs.astype(np.int32))


def plain_step(module, adam, windows):
    hidden_ND, labels_N = reader(module)(windows)
    adam.zero_grad()
    torch.nn.functional.cross_entropy(hidden_ND @ split.output_table(module).T, labels_N).backward()
    adam.step()


def test_a_lesson_is_plain_training(windows):
    rows_SB = rows_of(len(windows), HOW, 1, (0, "test"))
    one, other = SMALL.build(3), SMALL.build(3)
    train_steps(one, windows, rows_SB, HOW, {})
    adam = torch.optim.Adam(other.parameters(), lr=HOW.lr)
    for rows_B in rows_SB:
        plain_step(other, adam, windows.take(rows_B))
    for name, array in to_arrays(one).items():
        np.testing.assert_allclose(array, to_arrays(other)[name], atol=1e-4)


def test_two_rounds_with_moments_are_one_of_twice_the_steps(windows):
    twice = TokenTraining(steps=6, batch=4, lr=1e-2)
    whole, parts = SMALL.build(3), SMALL.build(3)
    train_steps(whole, windows, rows_of(len(windows), twice, 1, (0, "test")), twice, {})
    moments = train_steps(parts, windows, rows_of(len(windows), HOW, 1, (0, "test")), HOW, {})
    train_steps(parts, windows, rows_of(len(windows), HOW, 2, (0, "test")), HOW, moments)
    for name, array in to_arrays(whole).items():
        assert np.array_equal(array, to_arrays(parts)[name]), name


def test_passes_take_every_window_once():
    rounds = [
        rows_of(10, TokenTraining(steps=5, batch=2), number, (0, "test")).ravel()
        for number in (1, 2)
    ]
    assert [sorted(rows) for rows in rounds] == [list(range(10))] * 2
    assert rounds[0].tolist() != rounds[1].tolist()
    across = np.concatenate(
        [rows_of(10, HOW, number, (0, "test")).ravel() for number in range(1, 6)]
    )
    assert sorted(across[:10]) == sorted(across[50:]) == list(range(10))


def test_a_teacher_at_hand_and_one_by_ids_pull_the_same_way(windows):
    """With cross-entropy off, many drawn ids teach what the whole distribution does."""
    teacher = put(
        scratch(LARGE), pretrained(LARGE, windows, Pretraining(steps=60, batch=8, lr=1e-2), 0)
    )
    how = TokenTraining(steps=60, batch=8, lr=1e-2, kd_weight=1.0)
    ids_NK = draw_ids(teacher, windows, 64, 1.0, np.random.default_rng(0))
    first = np.cumsum(predicted(windows)) - predicted(windows)

    def by_ids(some, rows_B):
        at = np.concatenate(
            [np.arange(first[row], first[row] + predicted(windows)[row]) for row in rows_B]
        )
        return SampledTeacher(ids_NK=torch.from_numpy(ids_NK[at].astype(np.int64)))

    before = nats_per_token(SMALL.build(1), windows)[0]
    rows_SB = rows_of(len(windows), how, 1, (0, "test"))
    for teacher_of in (dense(teacher), by_ids):
        student = SMALL.build(1)
        train_steps(student, windows, rows_SB, how, {}, teacher_of)
        assert nats_per_token(student, windows)[0] < before / 2


def test_ids_are_drawn_for_every_position_that_counts(windows):
    ids_NK = draw_ids(SMALL.build(0), windows, 7, 1.0, np.random.default_rng(0))
    assert predicted(windows).tolist() == [5] * 8 + [2] * 2
    assert ids_NK.shape == (44, 7)
    assert ids_NK.dtype == np.uint16
    assert ids_NK.max() < 20


def test_quality_is_nats_or_of_a_classifier_accuracy(windows):
    assert set(quality("small", SMALL.build(0), windows)) == {"small_loss"}
    model = LanguageModel(name="llama:32x1", vocabulary=20, context=6, classes=3)
    labelled = Dataset(windows.inputs, np.zeros(len(windows), np.int64))
    assert set(quality("large", model.build(0), labelled)) == {"large_accuracy"}


def test_a_load_is_three_forward_passes_of_every_step():
    profile = trace("llama:32x1", steps=6, vocabulary=20)
    load = training_load(profile, HOW, 6)
    assert load.flops == pytest.approx(3 * forward_flops(profile) * 6 * 4 * 3)
    assert load.memory_bytes > 16 * profile.parameters
