"""Noise has the shape that its proof needs, is the same for the same sample, and is accounted
for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.trust import audit, noise
from distilfleet.trust.noise import Noise

SECRET = bytes(range(32))


def device(eta_nats=4.0, **changes):
    return Noise(**{"eta_nats": eta_nats, "secret": SECRET, **changes})


def table(rows=2000, width=16):
    return np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)


def on(made, vectors, digest=b"one", tensor="student", visit=0):
    return made.on(vectors, digest=digest, tensor=tensor, visit=visit)


# --- distribution ---------------------------------------------------------------------------------


def test_lengths_are_gamma_and_directions_uniform():
    drawn = noise.draw(b"key", 20_000, 8, 4.0)
    lengths = np.linalg.norm(drawn, axis=1)
    assert lengths.mean() == pytest.approx(8 / 4, rel=0.02)
    assert lengths.var() == pytest.approx(8 / 16, rel=0.04)
    directions = drawn / lengths[:, np.newaxis]
    assert np.abs(directions.mean(axis=0)).max() < 0.01
    assert np.cov(directions.T) == pytest.approx(np.eye(8) / 8, abs=0.005)
    assert np.abs(np.corrcoef(lengths, directions[:, 0])[0, 1]) < 0.03


def test_in_one_dimension_it_is_laplace_noise():
    drawn = noise.draw(b"key", 50_000, 1, 2.0)[:, 0]
    assert np.abs(drawn).mean() == pytest.approx(1 / 2, rel=0.02)
    assert (drawn > 0).mean() == pytest.approx(0.5, abs=0.01)
    assert np.exp(-2.0) == pytest.approx((np.abs(drawn) > 1).mean(), abs=0.01)


@given(st.integers(1, 512), st.floats(1e-3, 1e3))
def test_eta_gives_the_wanted_length(width, norm):
    assert width / noise.eta_for(width, norm) == pytest.approx(norm)


# --- memoised draws -------------------------------------------------------------------------------


def test_a_sample_has_one_memoised_copy():
    made, rows = device(), table(5)
    assert np.array_equal(on(made, rows, visit=0), on(made, rows, visit=9))
    assert on(made, rows).dtype == np.float32


@pytest.mark.parametrize(
    "changes", [{"digest": b"two"}, {"tensor": "teacher"}, {"digest": b"onestud", "tensor": "ent"}]
)
def test_other_samples_and_tensors_have_other_noise(changes):
    assert not np.isclose(on(device(), table(5)), on(device(), table(5), **changes)).any()


def test_another_secret_has_other_noise():
    other = device(secret=bytes(32))
    assert not np.isclose(on(device(), table(5)), on(other, table(5))).any()


def test_fresh_noise_differs_between_visits():
    made = device(memoised=False)
    assert not np.isclose(on(made, table(5), visit=0), on(made, table(5), visit=1)).any()


def test_averaging_finds_what_fresh_noise_hid_and_a_memoised_copy_keeps():
    rows, ids = table(), np.arange(300)
    eta_nats = noise.eta_for(16, 3 * noise.typical_norm(rows))

    def recovered(memoised, copies):
        made = device(eta_nats, memoised=memoised)
        sent = np.mean([on(made, rows[ids], visit=visit) for visit in range(copies)], axis=0)
        return audit.by_nearest_row(sent, rows, ids).share

    once = recovered(True, 1)
    assert once < 0.3
    assert recovered(False, 60) > once + 0.5
    assert recovered(True, 60) == pytest.approx(once, abs=0.01)


# --- accounts -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 2))
def test_fresh_draws_add_up_and_memoised_ones_are_paid_once(visits, tensors):
    visits_S = np.array(visits, np.int64)
    assert device(2.0, memoised=False).spent_nats(visits_S, tensors) == pytest.approx(
        2.0 * tensors * visits_S
    )
    assert device(2.0).spent_nats(visits_S, tensors) == pytest.approx(
        2.0 * tensors * (visits_S > 0)
    )


def test_the_record_says_what_was_spent():
    said = device(2.0, memoised=False).disclosure(np.array([0, 3, 1]), tensors=2)
    assert "fresh each time: eta 2 nats" in said and "at most 12 for any sample" in said
    assert "at most 4 for any sample" in device(2.0).disclosure(np.array([0, 3, 1]), tensors=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: device(0.0), "eta is 0.0; expected a number above 0"),
        (lambda: device(float("nan")), "eta is nan"),
        (lambda: device(secret=b"short"), "a secret of 5 bytes; expected at least 16"),
        (lambda: noise.eta_for(8, 0.0), "noise of length 0.0"),
    ],
)
def test_what_makes_no_noise_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
