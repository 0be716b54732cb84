"""The device half: which samples, what travels, and what a restore brings back."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_split import BOARD, begun, job, settings, windows, worker

from distilfleet.core.prefix import prefixed, under
from distilfleet.core.types import PADDING
from distilfleet.methods.splitkd import codec
from distilfleet.methods.splitkd.rows import distinct, rows_present
from distilfleet.methods.splitkd.settings import NOTHING

WIDTH = 32


def rows_of(one):
    return np.random.default_rng(1).normal(size=(len(one.ids), WIDTH)) / 8


def test_samples_pass_through_all_data_before_one_comes_again():
    one = worker(settings(batch=2, steps=3), windows(6))
    first = begun(one, rows_of(one))["digests"]
    second = begun(one, rows_of(one), first_step=3)["digests"]
    assert len({digest.tobytes() for digest in first}) == 6
    assert {digest.tobytes() for digest in first} == {digest.tobytes() for digest in second}
    assert first.tobytes() != second.tobytes()


def test_a_digest_tells_equality_on_one_device_and_nothing_across():
    data = windows(1)
    one, other = worker(settings(), data), worker(settings(), data, replace(BOARD, id="device-1"))
    mine, its = (begun(w, rows_of(w))["digests"] for w in (one, other))
    assert len({digest.tobytes() for digest in mine}) == 1
    assert not {digest.tobytes() for digest in mine} & {digest.tobytes() for digest in its}


def test_the_rows_that_occur_are_said_as_bits():
    one = worker(settings(), windows(1))
    packed = one.handle(job("open"))["present"]
    assert rows_present(packed, 40).tolist() == one.ids.tolist() == list(range(8))


def test_rows_travel_once_however_often_they_occur():
    data = windows(4)
    data.inputs[:] = 7
    one = worker(settings(micro_batches=1), data)
    rows = rows_of(one)
    begun(one, rows)
    sent = one.handle(job("step", slot=0, need=np.zeros(2, bool), apply=False))
    np.testing.assert_allclose(codec.decode(under("student", sent)), rows, atol=1e-3)
    assert sent["student/index"].tolist() == [[0] * 8] * 2
    assert sent["labels"].tolist() == [[7] * 8] * 2


def test_declared_bytes_are_those_of_the_frame():
    one = worker(settings(micro_batches=1), windows(3))
    begun(one, rows_of(one), teacher_rows=np.ones((len(one.ids), 64), np.float16))
    asked = job("step", slot=0, need=np.array([True, False]), apply=False)
    announced = one._announced(asked)
    assert announced.keys() <= one.handle(asked).keys()


def test_a_gradient_reaches_the_rows_of_its_micro_batch_alone():
    one = worker(settings(micro_batches=2, labels="kept"), windows(4))
    rows = rows_of(one)
    begun(one, rows, head=np.zeros((40, WIDTH), np.float16))
    sent = one.handle(job("step", slot=0, need=np.zeros(1, bool), apply=False))
    touched, _ = distinct(one.tokens(0))
    back = prefixed("back", codec.encode(np.ones((len(touched), WIDTH), np.float32), 16))
    assert "labels" not in sent
    one.handle(
        job(
            "step", slot=NOTHING, need=np.zeros(1, bool), apply=True, back_slot=0, share=0.5, **back
        )
    )
    moved = np.abs(one._student.values - one._student.began).max(axis=1) > 0
    assert set(one.ids[moved]) == set(touched)


def test_padding_is_never_a_token():
    data = windows(2)
    data.inputs[:, 3:] = PADDING
    one = worker(settings(), data)
    assert begun(one, rows_of(one))["lengths"].tolist() == [3] * 4
    assert PADDING not in one.ids
    kinds, index = distinct(data.inputs)
    assert index.shape == data.inputs.shape
    assert kinds[index][:, :3].tolist() == data.inputs[:, :3].tolist()


@given(
    hnp.arrays(
        np.int64, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.integers(PADDING, 9)
    )
)
def test_distinct_ids_and_their_places_give_every_token_again(ids_BT):
    kinds, index_BT = distinct(ids_BT)
    real_BT = ids_BT != PADDING
    assert len(set(kinds.tolist())) == len(kinds)
    assert PADDING not in kinds
    assert index_BT.dtype == codec.index_dtype(ids_BT.size)
    if real_BT.any():
        assert (kinds[index_BT][real_BT] == ids_BT[real_BT]).all()


def test_cross_entropy_on_the_device_is_that_of_its_labels():
    one = worker(settings(labels="kept", gradient_bits=16), windows(4))
    rng = np.random.default_rng(0)
    head = rng.normal(size=(40, WIDTH)).astype(np.float16)
    begun(one, rows_of(one), head=head)
    hidden = rng.normal(size=(7, WIDTH)).astype(np.float16).astype(np.float32)
    answer = one.handle(
        job("loss", slot=0, share=1.0, **prefixed("hidden", codec.encode(hidden, 16)))
    )
    logits = hidden @ head.astype(np.float32).T
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    wanted = one.tokens(0)[0, 1:]
    assert np.isclose(answer["nats"], -np.log(shares[range(7), wanted]).sum(), rtol=1e-3)
    shares[range(7), wanted] -= 1
    got = codec.decode(under("gradient", answer))
    np.testing.assert_allclose(got, shares @ head.astype(np.float32), atol=5e-3)
