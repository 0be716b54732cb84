import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.core.chance import stream
from distilfleet.core.errors import RecordError
from distilfleet.core.types import Dataset
from distilfleet.nn import soft_labels as soft
from distilfleet.nn import zoo
from distilfleet.nn.distil import (
    PREDICT_BATCH,
    Distillation,
    accuracy,
    augment,
    distil,
    predict,
    teach,
    teacher_outputs,
)
from distilfleet.nn.losses import EQUAL_SHARES, feature_distance, prior_shift, soft_kl
from distilfleet.nn.weights import to_arrays

MLP = zoo.model("mlp-xs", (8,), 3)
LARGE = zoo.model("mlp-l", (8,), 3)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def inputs(count=40, shape=(8,), seed=0):
    return stream(seed, "inputs").normal(size=(count, *shape)).astype(np.float32)


def soft_labels(x, temperature=3.0, seed=7):
    return soft.soften(4 * predict(LARGE.build(seed), x), temperature)


def kl_nats(net, x, soft_PC, temperature=3.0):
    net.eval()
    with torch.no_grad():
        return float(
            soft_kl(net(torch.from_numpy(x)), torch.from_numpy(soft_PC), temperature=temperature)
        )


def bits(arrays):
    return {name: array.tobytes() for name, array in arrays.items()}


# --- small teaches large --------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_brings_the_student_to_the_soft_labels(temperature):
    x, net = inputs(), MLP.build(0)
    soft_PC = soft_labels(x, temperature)
    before = kl_nats(net, x, soft_PC, temperature)
    done = distil(
        net,
        x,
        soft_PC,
        Distillation(passes=60, batch=8, lr=1e-2, temperature=temperature),
        stream(0, "d"),
    )
    after = kl_nats(net, x, soft_PC, temperature)
    assert after < before / 10
    assert done.loss_nats < before / 5
    assert bits(done.weights) == bits(to_arrays(net))


def once(net, x, soft_PC, passes, moments=None, seed=0):
    return distil(
        net,
        x,
        soft_PC,
        Distillation(passes=passes, batch=len(x), lr=1e-2),
        stream(seed, "d"),
        moments,
    )


def test_moments_carry_over_from_call_to_call():
    x = inputs()
    soft_PC = soft_labels(x)
    whole = once(MLP.build(0), x, soft_PC, 2)
    with_net, without_net = MLP.build(0), MLP.build(0)
    first = once(with_net, x, soft_PC, 1)
    kept = once(with_net, x, soft_PC, 1, first.moments)
    once(without_net, x, soft_PC, 1)
    lost = once(without_net, x, soft_PC, 1)
    for name, array in whole.weights.items():
        np.testing.assert_allclose(kept.weights[name], array, atol=1e-5)
    assert (
        max(np.abs(lost.weights[name] - whole.weights[name]).max() for name in whole.weights) > 1e-4
    )


def test_moments_survive_storage_to_the_bit():
    x = inputs()
    soft_PC = soft_labels(x)
    one, other = MLP.build(0), MLP.build(0)
    first, second = once(one, x, soft_PC, 1), once(other, x, soft_PC, 1)
    stored = {name: np.array(array) for name, array in first.moments.items()}
    assert bits(once(one, x, soft_PC, 1, stored).weights) == bits(
        once(other, x, soft_PC, 1, second.moments).weights
    )


def training_passes(how, x, soft_PC):
    """Rows that a net sees in training mode, as passes over all of them."""
    net, seen = MLP.build(0), []
    net.register_forward_hook(
        lambda module, given, _: seen.append(len(given[0])) if module.training else None
    )
    distil(net, x, soft_PC, how, stream(0, "d"))
    return sum(seen) / len(x)


def test_early_stopping_ends_when_the_loss_no_longer_falls():
    x = inputs(50)
    soft_PC = soft_labels(x)
    still = {"batch": 9, "lr": 0.0}
    assert (
        training_passes(Distillation(passes=20, early_stop=True, **still), x, soft_PC)
        == 2 * 45 / 50
    )
    assert training_passes(Distillation(passes=20, **still), x, soft_PC) == 20 * 54 / 50
    assert (
        training_passes(Distillation(passes=3, early_stop=True, batch=9, lr=1e-4), x, soft_PC)
        == 3 * 45 / 50
    )


def test_early_stopping_takes_few_samples_too():
    x = inputs(4)
    done = distil(
        MLP.build(0), x, soft_labels(x), Distillation(passes=2, early_stop=True), stream(0, "d")
    )
    assert np.isfinite(done.loss_nats)


# --- large teaches small --------------------------------------------------------------------------


def taught(small, large, x, feature_weight, adapters, passes=3):
    how = Distillation(passes=passes, batch=8, lr=1e-2, feature_weight=feature_weight)
    return teach(small, teacher_outputs(large, Dataset(x), how), how, stream(0, "t"), adapters)


@pytest.mark.parametrize(
    ("small", "large", "shape"),
    [("mlp-xs", "mlp-l", (8,)), ("wave-xs", "wave-l", (2, 40)), ("conv-bn", "conv-s", (1, 8, 8))],
)
def test_features_are_taught_through_adapters_that_stay_behind(small, large, shape):
    x = inputs(24, shape)
    student, teacher = zoo.model(small, shape, 3).build(0), zoo.model(large, shape, 3).build(1)
    before, own = bits(to_arrays(teacher)), to_arrays(student).keys()
    done, adapters = taught(student, teacher, x, 0.5, {})
    assert bits(to_arrays(teacher)) == before
    assert done.weights.keys() == own
    assert adapters
    again, onward = taught(zoo.model(small, shape, 3).build(0), teacher, x, 0.5, adapters)
    assert onward.keys() == adapters.keys()
    assert bits(onward) != bits(adapters)
    assert bits(again.weights) != bits(done.weights)
    assert not any(module._forward_hooks for net in (student, teacher) for module in net.modules())


def test_without_a_weight_no_features_are_taught():
    x = inputs()
    done, adapters = taught(MLP.build(0), LARGE.build(1), x, 0.0, {})
    assert adapters == {}
    with_features, _ = taught(MLP.build(0), LARGE.build(1), x, 0.5, {})
    assert bits(done.weights) != bits(with_features.weights)


def test_teaching_brings_the_small_model_to_the_large_one():
    x, small, large = inputs(), MLP.build(0), LARGE.build(7)
    soft_PC = soft.soften(predict(large, x), 3.0)
    before = kl_nats(small, x, soft_PC)
    taught(small, large, x, 0.1, {}, passes=30)
    assert kl_nats(small, x, soft_PC) < before / 3


@pytest.mark.parametrize("small", ["conv-xs", "conv-s"])
def test_a_lesson_too_large_to_keep_teaches_the_same(small, monkeypatch):
    shape = (1, 8, 8)
    x, teacher = inputs(24, shape), zoo.model("conv-l", shape, 3).build(1)
    kept, _ = taught(zoo.model(small, shape, 3).build(0), teacher, x, 0.5, {})
    monkeypatch.setattr("distilfleet.nn.distil.KEPT_BYTES", 0)
    again, _ = taught(zoo.model(small, shape, 3).build(0), teacher, x, 0.5, {})
    for name, array in kept.weights.items():
        np.testing.assert_allclose(again.weights[name], array, atol=1e-4)


def test_a_lesson_is_read_from_the_large_model_once():
    x, teacher, seen = inputs(), LARGE.build(1), []
    how = Distillation(passes=3, batch=8, feature_weight=0.1)
    given = teacher_outputs(teacher, Dataset(x), how)
    handle = teacher.register_forward_hook(lambda *_: seen.append(1))
    for name in ("mlp-xs", "mlp-s"):
        teach(zoo.model(name, (8,), 3).build(0), given, how, stream(0, "t"), {})
    handle.remove()
    assert given.kept
    assert not seen


# --- augmentation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8,), (2, 40), (1, 8, 8)])
def test_mixtures_follow_the_proxy_inputs(shape):
    x = inputs(10, shape)
    more = augment(Dataset(x), 25, stream(0, "a"))
    assert more.data.inputs.shape == (35, *shape)
    assert more.data.inputs.dtype == np.float32
    assert (more.data.inputs[:10] == x).all()
    assert (more.share[:10] == 1).all()
    assert ((more.share >= 0.5) & (more.share <= 1)).all()


def test_mixtures_are_near_what_they_are_mixed_from():
    x = inputs(10)
    more = augment(Dataset(x), 200, stream(0, "a"))
    pure = more.share[:, None] * x[more.own] + (1 - more.share[:, None]) * x[more.partner]
    assert 0.03 < (more.data.inputs - pure)[10:].std() / x.std() < 0.07


def test_the_same_seed_mixes_the_same():
    x = inputs(10)
    one, same, other = (augment(Dataset(x), 5, stream(seed, "a")).data.inputs for seed in (0, 0, 1))
    assert one.tobytes() == same.tobytes() != other.tobytes()


def test_no_mixtures_leave_the_inputs_as_they_are():
    x = inputs(10)
    assert (augment(Dataset(x), 0, stream(0, "a")).data.inputs == x).all()


def test_soft_labels_are_mixed_as_the_inputs_are():
    more = augment(Dataset(inputs(6)), 30, stream(0, "a"))
    soft_PC = soft.soften(stream(0, "s").normal(size=(6, 4)), 1.0)
    mixed = more.mix(soft_PC)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed[:6], soft_PC, rtol=1e-6)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=1e-5)
    row = 17
    expected = (
        more.share[row] * soft_PC[more.own[row]]
        + (1 - more.share[row]) * soft_PC[more.partner[row]]
    )
    np.testing.assert_allclose(mixed[row], expected, rtol=1e-5)


# --- prediction and losses ------------------------------------------------------------------------


def test_predictions_are_in_order_and_do_not_depend_on_the_batch():
    net, x = zoo.model("conv-bn", (1, 8, 8), 3).build(0), inputs(PREDICT_BATCH + 3, (1, 8, 8))
    before = bits(to_arrays(net))
    logits = predict(net, x)
    assert logits.shape == (PREDICT_BATCH + 3, 3)
    np.testing.assert_allclose(logits[-3:], predict(net, x[-3:]), atol=1e-5)
    assert bits(to_arrays(net)) == before


def test_accuracy_counts_the_largest_logit():
    assert accuracy(
        np.array([[1, 2, 0], [3, 2, 1], [0, 0, 1]]), np.array([1, 0, 0])
    ) == pytest.approx(2 / 3)


def test_the_distance_to_ones_own_soft_labels_is_zero_and_grows_with_temperature_squared():
    logits = torch.tensor([[1.0, -2.0, 0.5]])
    for temperature in (1.0, 4.0):
        own = torch.softmax(logits / temperature, -1)
        assert float(soft_kl(logits, own, temperature=temperature)) == pytest.approx(0, abs=1e-6)
    p, q = torch.tensor([[0.7, 0.2, 0.1]]), torch.softmax(logits / 2.0, -1)
    by_hand = 4.0 * float((p * (p / q).log()).sum())
    assert float(soft_kl(logits, p, temperature=2.0)) == pytest.approx(by_hand, rel=1e-5)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=6).filter(any))
def test_the_shift_is_the_log_of_shares_none_of_which_is_nothing(counts):
    shift = prior_shift(torch.tensor(counts, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(np.exp(shift).sum(), 1, rtol=1e-5)
    assert (np.exp(shift) > 0.99 * EQUAL_SHARES / len(counts)).all()
    assert (np.argsort(counts, kind="stable") == np.argsort(shift, kind="stable")).all()


def test_feature_distance_forgets_scale():
    features = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert float(feature_distance(features, 7 * features)) == pytest.approx(0, abs=1e-6)
    assert float(feature_distance(features, -features)) == pytest.approx(4, rel=1e-5)


def test_moments_kept_by_place_are_refused_rather_than_begun_anew():
    x, net = inputs(), MLP.build(0)
    moments = distil(net, x, soft_labels(x), Distillation(passes=1), stream(0, "a")).moments
    by_place = {
        f"{place:04d}.{name.partition('/')[0]}": array
        for place, (name, array) in enumerate(moments.items())
    }
    with pytest.raises(RecordError, match="older form"):
        distil(net, x, soft_labels(x), Distillation(passes=1), stream(0, "b"), by_place)
