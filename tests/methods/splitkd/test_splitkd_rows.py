"""Embedding rows in NumPy: Adam is torch's, a mapped table gives its pages back."""

import numpy as np
import pytest
import torch

from distilfleet.methods.splitkd.rows import Adam, EmbeddingRows, MappedTable

IDS = np.array([2, 3, 5, 11], np.int32)


def test_adam_on_rows_is_torchs():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(300, 6)).astype(np.float16)
    rows = EmbeddingRows.begin(np.arange(300, dtype=np.int32), start, None)
    weight = torch.nn.Parameter(torch.from_numpy(start.astype(np.float32)))
    adam = torch.optim.Adam([weight], lr=3e-3)
    for _ in range(5):
        gradient = rng.normal(size=weight.shape).astype(np.float32)
        rows.add(gradient, 1)
        rows.step(Adam(lr=3e-3))
        weight.grad = torch.from_numpy(gradient)
        adam.step()
    np.testing.assert_allclose(rows.values, weight.detach().numpy(), atol=1e-6)


def test_moments_go_on_from_round_to_round_and_values_do_not():
    first = EmbeddingRows.begin(IDS, np.ones((4, 2)), None)
    first.add(np.ones((4, 2), np.float32), 1)
    first.step(Adam(lr=0.1))
    second = EmbeddingRows.begin(IDS, np.full((4, 2), 5.0), first)
    np.testing.assert_array_equal(second.values, 5.0)
    np.testing.assert_allclose(second.first, 0.1)
    assert int(second.steps) == 1
    assert not second.seen.any()


def test_what_was_learnt_is_the_difference_to_what_was_sent():
    rows = EmbeddingRows.begin(IDS, np.full((4, 2), 0.1), None)
    assert not rows.learnt().any()
    rows.values += 0.25
    np.testing.assert_allclose(rows.learnt(), 0.25, rtol=1e-3)


def test_a_step_adds_up_micro_batches_and_starts_anew():
    rows = EmbeddingRows.begin(IDS, np.zeros((4, 1)), None)
    rows.add(np.ones((1, 1), np.float32), 3, at=np.array([2]), seen=np.array([3]))
    rows.add(np.ones((1, 1), np.float32), 2, at=np.array([2]), seen=np.array([2]))
    assert rows.gradient[2, 0] == 2
    assert rows.seen.tolist() == [0, 0, 5, 0]
    rows.step(Adam(lr=0.5))
    assert rows.values[2, 0] == pytest.approx(-0.5)
    assert not rows.gradient.any()


def test_rows_are_found_by_id():
    rows = EmbeddingRows.frozen(IDS, IDS[:, None] * np.ones((1, 3)))
    assert rows.rows(np.array([11, 3]))[:, 0].tolist() == [11, 3]
    assert not rows.is_trained


def test_a_mapped_table_gives_rows_of_the_file(tmp_path):
    table = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float16)
    (tmp_path / "table.f16").write_bytes(table.tobytes())
    mapped = MappedTable(tmp_path / "table.f16", 4)
    assert len(mapped) == 50
    np.testing.assert_array_equal(
        mapped.rows(np.array([49, 0, 7])), table[[49, 0, 7]].astype(np.float32)
    )
    np.testing.assert_array_equal(mapped.rows(np.array([3])), table[[3]].astype(np.float32))
