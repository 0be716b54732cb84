import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distilfleet.nn import soft_labels as soft
from distilfleet.nn.refine import CHOICES, consensus, ensemble, refine
from distilfleet.trust import robust

logits = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 5)),
    elements=st.floats(-8, 8, width=32),
)


def labels_of(devices, classes, seed=0):
    return np.random.default_rng(seed).integers(1, 30, (devices, classes))


def entropy(soft_PC):
    return -(soft_PC * np.log(soft_PC + 1e-12)).sum(axis=-1)


@pytest.mark.parametrize("choice", CHOICES)
@given(logits_NPC=logits)
def test_every_row_is_a_distribution(choice, logits_NPC):
    soft_NPC = soft.soften(logits_NPC, 1.0)
    out = refine(soft_NPC, labels_of(len(soft_NPC), soft_NPC.shape[2]), choice)
    assert out.shape == soft_NPC.shape[1:]
    assert out.dtype == np.float32
    assert (out >= 0).all()
    np.testing.assert_allclose(out.sum(axis=-1), 1, rtol=1e-4)


@pytest.mark.parametrize("choice", ["mean", "prior", "entropy", "variance"])
def test_equal_teachers_are_their_own_consensus(choice):
    one_PC = soft.soften(np.random.default_rng(0).normal(size=(6, 4)), 1.0)
    out = refine(np.stack([one_PC] * 3), labels_of(3, 4), choice)
    np.testing.assert_allclose(out, one_PC, rtol=1e-5)


@pytest.mark.parametrize("choice", CHOICES)
@given(logits_NPC=logits)
def test_the_order_of_devices_does_not_matter(choice, logits_NPC):
    soft_NPC, labels_NC = (
        soft.soften(logits_NPC, 1.0),
        labels_of(len(logits_NPC), logits_NPC.shape[2]),
    )
    out, turned = (
        refine(soft_NPC, labels_NC, choice),
        refine(soft_NPC[::-1], labels_NC[::-1], choice),
    )
    np.testing.assert_allclose(out, turned, atol=1e-5)


@pytest.mark.parametrize("choice", CHOICES)
def test_devices_that_have_no_data_are_no_division_by_zero(choice):
    soft_NPC = soft.soften(np.random.default_rng(0).normal(size=(2, 5, 3)), 1.0)
    none = refine(soft_NPC, np.zeros((2, 3), np.int64), choice)
    np.testing.assert_allclose(none.sum(axis=-1), 1, rtol=1e-4)
    one = refine(soft_NPC, np.array([[0, 0, 0], [4, 4, 4]]), choice)
    np.testing.assert_allclose(one, refine(soft_NPC[1:], np.array([[4, 4, 4]]), choice), atol=1e-5)


def test_the_mean_counts_devices_by_their_data():
    soft_NPC = np.array([[[0.9, 0.1]], [[0.3, 0.7]]], np.float32)
    out = refine(soft_NPC, np.array([[10, 20], [5, 5]]), "mean")
    np.testing.assert_allclose(out, [[(3 * 0.9 + 0.3) / 4, (3 * 0.1 + 0.7) / 4]], rtol=1e-6)
    np.testing.assert_allclose(out, refine(soft_NPC, np.array([[30], [10]]), "mean"))


def test_a_class_is_left_to_the_devices_that_have_it():
    soft_NPC = np.array([[[0.9, 0.1]], [[0.3, 0.7]]], np.float32)
    own = np.array([[10, 0], [0, 10]])
    out = refine(soft_NPC, own, "prior")
    np.testing.assert_allclose(out, [[0.9 / 1.6, 0.7 / 1.6]], rtol=1e-6)
    otherwise = np.array([[[0.9, 0.5]], [[0.1, 0.7]]], np.float32)
    np.testing.assert_allclose(refine(otherwise, own, "prior"), out)


@pytest.mark.parametrize("choice", ["entropy", "variance"])
def test_the_sure_device_counts_more(choice):
    sure, unsure = [0.98, 0.01, 0.01], [0.3, 0.3, 0.4]
    soft_NPC = np.array([[sure, unsure], [unsure, sure]], np.float32)
    labels_NC = np.full((2, 3), 5)
    out, mean = refine(soft_NPC, labels_NC, choice), refine(soft_NPC, labels_NC, "mean")
    assert (out[:, 0] > mean[:, 0] + 0.1).all()


@given(logits_NPC=logits)
def test_a_power_never_raises_the_entropy(logits_NPC):
    soft_NPC, labels_NC = (
        soft.soften(logits_NPC, 1.0),
        labels_of(len(logits_NPC), logits_NPC.shape[2]),
    )
    for weigh in ("mean", "prior", "entropy"):
        plain, sharp = (refine(soft_NPC, labels_NC, choice) for choice in (weigh, f"{weigh}+sharp"))
        assert (entropy(sharp) <= entropy(plain) + 1e-4).all()
        rows = np.arange(len(plain))
        np.testing.assert_allclose(plain[rows, sharp.argmax(axis=1)], plain.max(axis=1), rtol=1e-4)


@pytest.mark.parametrize("weigh", ["mean", "prior"])
def test_a_cold_softmax_sharpens_what_is_unsure(weigh):
    soft_NPC = np.array([[[0.5, 0.3, 0.2], [0.4, 0.35, 0.25]]], np.float32)
    plain, era = (
        refine(soft_NPC, np.array([[4, 4, 4]]), choice) for choice in (weigh, f"{weigh}+era")
    )
    assert (entropy(era) < entropy(plain)).all()
    np.testing.assert_allclose(era[0], np.exp([5, 3, 2]) / np.exp([5, 3, 2]).sum(), rtol=1e-4)


# --- soft labels on the link ----------------------------------------------------------------------

probabilities = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(2, 12)),
    elements=st.floats(0, 10, width=32),
).map(lambda logits_PC: soft.soften(logits_PC, 1.0))


@given(probabilities)
def test_a_byte_keeps_a_probability_within_its_bound(soft_PC):
    packed = soft.pack(soft_PC)
    assert packed.dtype == np.uint8
    assert packed.shape == soft_PC.shape
    back = np.square(packed / 255)
    assert (
        np.abs(back - soft_PC) <= (2 * np.sqrt(soft_PC.astype(float)) + 1 / 510) / 510 + 1e-6
    ).all()


@given(probabilities)
def test_what_is_unpacked_is_a_distribution_and_packs_the_same(soft_PC):
    packed = soft.pack(soft_PC)
    back = soft.unpack(packed)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back.sum(axis=-1), 1, rtol=1e-5)
    assert (soft.unpack(packed) == back).all()
    rows = np.arange(len(back))
    assert (back.max(axis=1) == back[rows, soft_PC.argmax(axis=1)]).all()


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(2, 12))))
def test_any_bytes_unpack_to_a_distribution(packed):
    back = soft.unpack(packed)
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back.sum(axis=-1), 1, rtol=1e-5)


def test_zeros_unpack_to_uniform():
    assert soft.unpack(np.zeros((2, 4), np.uint8)).tolist() == [[0.25] * 4] * 2


def test_certainty_survives():
    assert soft.unpack(soft.pack(np.eye(3, dtype=np.float32))).tolist() == np.eye(3).tolist()


@given(st.floats(0.5, 20))
def test_softening_flattens_and_stands_large_logits(temperature):
    sharp = soft.soften(np.array([[1e4, 0.0, -1e4]]), temperature)
    assert np.isfinite(sharp).all()
    assert sharp[0, 0] == pytest.approx(1)
    mild = soft.soften(np.array([[2.0, 1.0, 0.0]]), temperature)
    assert entropy(mild) >= entropy(soft.soften(np.array([[2.0, 1.0, 0.0]]), temperature / 2))


# --- with a rule ----------------------------------------------------------------------------------

ROBUST = [rule for rule in robust.CHOICES if rule != "mean"]


def told(liars, seed=0):
    """Twenty devices that nearly agree; the first ones are certain of something else."""
    rng = np.random.default_rng(seed)
    truth_PC = rng.normal(scale=2, size=(40, 4))
    soft_NPC = soft.soften(truth_PC + rng.normal(scale=0.3, size=(20, 40, 4)), 3.0)
    soft_NPC[:liars] = np.eye(4, dtype=np.float32)[(truth_PC.argmax(axis=1) + 1) % 4]
    return soft_NPC, soft.soften(truth_PC, 3.0)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_mean_of_a_consensus_is_refine_to_the_bit(choice):
    soft_NPC, labels_NC = told(0)[0], labels_of(20, 4)
    agreed_PC, counted_N = consensus(soft_NPC, labels_NC, choice, "mean")
    assert agreed_PC.tobytes() == refine(soft_NPC, labels_NC, choice).tobytes()
    assert (counted_N == 1).all()


@pytest.mark.parametrize("rule", robust.CHOICES)
@pytest.mark.parametrize("choice", CHOICES)
def test_a_consensus_is_a_distribution_under_every_rule(choice, rule):
    agreed_PC, _ = consensus(told(4)[0], labels_of(20, 4), choice, rule)
    assert agreed_PC.dtype == np.float32
    assert (agreed_PC >= 0).all()
    np.testing.assert_allclose(agreed_PC.sum(axis=-1), 1, rtol=1e-4)


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
@pytest.mark.parametrize("choice", ["mean", "prior", "entropy", "variance"])
def test_certain_liars_do_not_win_the_consensus(choice, rule):
    soft_NPC, truth_PC = told(4)
    agreed_PC, counted_N = consensus(soft_NPC, labels_of(20, 4), choice, rule)
    assert (agreed_PC.argmax(axis=1) == truth_PC.argmax(axis=1)).mean() > 0.9
    assert counted_N[:4].max() < counted_N[4:].mean()


def test_certain_liars_win_the_plain_consensus_by_entropy():
    soft_NPC, truth_PC = told(4)
    agreed_PC, _ = consensus(soft_NPC, labels_of(20, 4), "entropy", "mean")
    assert (agreed_PC.argmax(axis=1) == truth_PC.argmax(axis=1)).mean() < 0.5


def test_an_ensemble_is_the_mean_to_the_bit_or_what_a_rule_leaves_of_it():
    scores_NPC = np.random.default_rng(0).normal(size=(20, 5, 4)).astype(np.float32)
    assert ensemble(scores_NPC, "mean")[0].tobytes() == np.mean(list(scores_NPC), axis=0).tobytes()
    scores_NPC[:4] = 1e6
    for rule in ROBUST:
        agreed_PC, counted_N = ensemble(scores_NPC, rule)
        assert (agreed_PC.dtype, agreed_PC.shape) == (np.float32, (5, 4))
        # of which liars so far move the centre, or the radius
        if rule not in ("clipped-mean", "centred-clipping"):
            assert np.abs(agreed_PC).max() < 3
            assert counted_N[:4].max() < 0.5
