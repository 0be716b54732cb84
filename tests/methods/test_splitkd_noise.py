"""Noise on smashed data: which draws repeat, what they cost, and that rows learn through them."""

from dataclasses import replace

import numpy as np
import pytest

from distilfleet.core.prefix import prefixed, under
from distilfleet.core.types import PADDING, Dataset, Device, Expected, Job, Link
from distilfleet.methods.splitkd import codec
from distilfleet.methods.splitkd.device import SplitWorker
from distilfleet.methods.splitkd.server import tiny
from distilfleet.methods.splitkd.settings import SplitSettings, is_frozen, spent_nats

NOISY = replace(tiny().split, noise=1.0, bits=16, steps=2, batch=2, micro_batches=1)
BOARD = Device(
    id="d",
    kind="board",
    speed_flops_per_s=1e9,
    memory_bytes=10**9,
    memory_bytes_per_s=1e9,
    idle_w=1.0,
    busy_w=2.0,
    link=Link(up_bps=1e6, down_bps=1e6, latency_s=0.0, transmit_w=1.0),
)
IDS = np.array([[3, 5, 3, 7, 3, 9, 3, PADDING], [4, 3, 4, 3, 5, 5, 5, 5]], np.int32)


def begun(split=NOISY, first_step=0, worker=None):
    worker = worker or SplitWorker(
        device=BOARD,
        data=Dataset(IDS),
        split=split,
        seed=1,
        front_of=lambda *_: pytest.fail("no front at cut 0"),
    )
    rng = np.random.default_rng(0)
    rows = {
        f"{whose}_rows": rng.normal(size=(len(worker.ids), width)).astype(np.float16)
        for whose, width in (("student", split.student.width), ("teacher", split.teacher.width))
    }
    plan = {"cut": 0, "teacher_cut": 0, "bits": 16, "first_step": first_step}
    worker.handle(job("begin", {**{name: np.array(value) for name, value in plan.items()}, **rows}))
    return worker


def job(op, arrays):
    return Job(id=op, device="d", op=op, arrays=arrays, expected=Expected(arrays={}))


def smashed(worker, slot):
    """Of each model the vectors of a step by sample, in the order of `IDS`."""
    came = worker.handle(
        job(
            "step",
            {"slot": np.array(slot), "need": np.array([True, True]), "apply": np.array(False)},
        )
    )
    order = np.lexsort(worker.tokens(slot).T[:1])
    return {
        whose: codec.decode(under(whose, came)).reshape(2, IDS.shape[1], -1)[order]
        for whose in ("student", "teacher")
    }


def test_positions_have_draws_of_their_own_and_no_index_travels():
    came = begun().handle(
        job("step", {"slot": np.array(0), "need": np.array([True, True]), "apply": np.array(False)})
    )
    assert not any(name.endswith("index") for name in came)
    vectors = smashed(begun(), 0)["student"][0]
    assert len(np.unique(vectors[[0, 2, 4, 6]], axis=0)) == 4  # the same token four times


def test_noise_is_as_long_as_asked():
    quiet, loud = smashed(begun(replace(NOISY, noise=1e-6)), 0), smashed(begun(), 0)
    for whose in ("student", "teacher"):
        lengths = np.linalg.norm(loud[whose] - quiet[whose], axis=-1)
        typical = np.linalg.norm(quiet[whose], axis=-1).mean()
        assert lengths.mean() == pytest.approx(typical, rel=0.2)


def test_a_draw_repeats_only_where_the_vectors_do():
    worker = begun()
    one, two = smashed(worker, 0), smashed(worker, 1)
    np.testing.assert_array_equal(one["teacher"], two["teacher"])
    assert not np.isclose(one["student"], two["student"]).any(axis=-1).all()
    frozen = begun(replace(NOISY, train_rows=False))
    np.testing.assert_array_equal(smashed(frozen, 0)["student"], smashed(frozen, 1)["student"])


def test_a_later_round_does_not_repeat_a_draw_on_trained_rows():
    one = smashed(begun(first_step=0), 0)["student"]
    two = smashed(begun(first_step=1), 0)["student"]
    assert not np.isclose(one, two).any(axis=-1).all()


def test_the_account_adds_up_where_vectors_change():
    split = tiny().split
    noisy, frozen = replace(split, noise=2.0), replace(split, noise=2.0, train_rows=False)
    visits = np.array([0, 1, 3])
    assert spent_nats(noisy, 0, visits).tolist() == [0, (64 + 32) / 2, (64 + 3 * 32) / 2]
    assert spent_nats(frozen, 0, visits).tolist() == [0, 48, 48]
    assert spent_nats(replace(noisy, with_teacher=False), 0, visits).tolist() == [0, 16, 48]
    assert [is_frozen(frozen, "student", cut) for cut in (0, 1)] == [True, False]


def test_visits_and_lengths_survive_a_snapshot():
    worker = begun()
    smashed(worker, 0)
    again = SplitWorker(
        device=BOARD, data=Dataset(IDS), split=NOISY, seed=1, front_of=worker.front_of
    )
    again.restore(worker.snapshot())
    np.testing.assert_array_equal(smashed(again, 1)["student"], smashed(worker, 1)["student"])
    assert again.snapshot()["visits"].tolist() == [2, 2]


def test_a_gradient_of_every_position_reaches_its_row():
    worker = begun()
    width = NOISY.student.width
    smashed(worker, 0)
    before = worker.snapshot()["student/gradient"].copy()
    back = prefixed("back", codec.encode(np.ones((IDS.size, width), np.float32), 16))
    arrays = {
        "slot": np.array(-1),
        "apply": np.array(False),
        "back_slot": np.array(0),
        "share": np.float32(1.0),
    }
    worker.handle(job("step", {**arrays, **back}))
    added = worker.snapshot()["student/gradient"] - before
    counts = [int((token == IDS).sum()) for token in worker.ids]
    assert added.shape == (len(worker.ids), width)
    assert added[1:, 0].tolist() == counts[1:]


def test_what_noise_promises_is_disclosed():
    method = tiny()
    said = replace(method, split=replace(method.split, noise=2.0)).facts.disclosure
    assert said.startswith("noisy") and "48 nats" in said and "16 more" in said
    assert isinstance(method.split, SplitSettings) and method.facts.disclosure.startswith(
        "recoverable"
    )
