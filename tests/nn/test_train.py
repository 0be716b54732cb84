import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.core.chance import shuffles, stream
from distilfleet.core.types import Dataset
from distilfleet.nn import zoo
from distilfleet.nn.train import LocalTraining, can_cohort, schedule, task, train, train_cohort
from distilfleet.nn.weights import to_arrays

SHAPES = {"mlp": (8,), "wave": (2, 40), "sound": (1, 400), "conv": (1, 8, 8), "dsconv": (1, 8, 8)}
CLOSE = 1e-5


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def data(samples, shape=(8,), classes=3, seed=0):
    rng = stream(seed, "data", samples)
    labels = rng.integers(0, classes, samples)
    means = labels.reshape(-1, *[1] * len(shape))
    return Dataset((rng.normal(size=(samples, *shape)) + means).astype(np.float32), labels)


def tasks(model, counts, local):
    """Devices that start from the same weights, each with its own amount of data."""
    start = to_arrays(model.build(0))
    return [
        task(start, data(n, model.shape), model.classes, local, (0, "order", n)) for n in counts
    ]


def alone_and_together(name, counts, local):
    model = zoo.model(name, SHAPES[name.split("-")[0]], 3)
    own = tasks(model, counts, local)
    module = model.build(1)
    return [train(module, one, local) for one in own], side_by_side(model.build(2), own, local)


def side_by_side(module, own, local):
    trained = {
        d: {name: array[at] for name, array in weights.items()}
        for chunk, weights in train_cohort(module, own, local)
        for at, d in enumerate(chunk)
    }
    return [trained[d] for d in range(len(own))]


def close(alone, together):
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            assert array.dtype == other[name].dtype
            assert array.shape == other[name].shape
            np.testing.assert_allclose(other[name], array, rtol=CLOSE, atol=CLOSE, err_msg=name)


# --- cohorts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["mlp-xs", "mlp-m", "wave-xs", "wave-s", "sound-xs", "conv-xs", "dsconv-s", "conv-bn"]
)
def test_devices_side_by_side_end_where_each_would_alone(name):
    local = LocalTraining(passes=2, batch=8, calibrate=True)
    close(*alone_and_together(name, (9, 40, 8, 23), local))


@pytest.mark.parametrize(
    "local",
    [
        LocalTraining(passes=2, batch=4, momentum=0.0, weight_decay=0.0),
        LocalTraining(passes=2, batch=4, momentum=0.9, weight_decay=0.0),
        LocalTraining(passes=2, batch=4, momentum=0.0, weight_decay=0.1),
        LocalTraining(passes=1, batch=4, lr=0.5, momentum=0.5, weight_decay=0.1),
    ],
)
@pytest.mark.parametrize("name", ["mlp-xs", "wave-xs"])
def test_side_by_side_descends_as_torch_does(name, local):
    close(*alone_and_together(name, (12, 7), local))


def test_devices_may_start_from_different_models():
    model, local = zoo.model("mlp-xs", (8,), 3), LocalTraining(passes=1, batch=8)
    own = [task(to_arrays(model.build(s)), data(16 + s), 3, local, (s, "o")) for s in range(3)]
    close(
        [train(model.build(9), one, local) for one in own], side_by_side(model.build(9), own, local)
    )


def test_a_cohort_of_one_and_its_order():
    local = LocalTraining(passes=1, batch=8)
    close(*alone_and_together("mlp-xs", (20,), local))
    _, few_first = alone_and_together("mlp-xs", (8, 60), local)
    _, many_first = alone_and_together("mlp-xs", (60, 8), local)
    close(few_first, many_first[::-1])


def test_dropout_and_recurrence_keep_devices_apart():
    assert can_cohort(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))).startswith(
        "1 draws"
    )
    assert "recurrent" in can_cohort(torch.nn.Sequential(torch.nn.LSTM(2, 2)))
    assert can_cohort(torch.nn.Sequential(torch.nn.Dropout(0.0), torch.nn.BatchNorm1d(2))) is None


# --- one device -----------------------------------------------------------------------------------


def test_training_is_plain_stochastic_gradient_descent():
    model, local = zoo.model("mlp-xs", (8,), 3), LocalTraining(passes=2, batch=8)
    own = tasks(model, (20,), local)[0]
    net = model.build(0)
    descent = torch.optim.SGD(
        net.parameters(), lr=local.lr, momentum=local.momentum, weight_decay=local.weight_decay
    )
    x, y = torch.from_numpy(own.data.inputs), torch.from_numpy(own.data.labels)
    for rows in own.rows_SB:
        descent.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        descent.step()
    close([to_arrays(net)], [train(model.build(5), own, local)])


def test_training_learns_and_leaves_what_it_was_given():
    model, local = zoo.model("mlp-xs", (8,), 3), LocalTraining(passes=30, batch=16)
    start = to_arrays(model.build(0))
    before = {name: array.copy() for name, array in start.items()}
    own = data(60)
    net = model.build(1)
    train(net, task(start, own, 3, local, (0, "o")), local)
    assert all((start[name] == before[name]).all() for name in start)
    right = net(torch.from_numpy(own.inputs)).argmax(1).numpy() == own.labels
    assert right.mean() > 0.85


def test_the_same_seed_gives_the_same_bits():
    model, local = zoo.model("conv-bn", (1, 8, 8), 3), LocalTraining(passes=1, batch=8)

    def once(seed):
        own = task(to_arrays(model.build(0)), data(20, (1, 8, 8)), 3, local, (seed, "o"))
        return train(model.build(3), own, local)

    one, same, other = once(0), once(0), once(1)
    assert all(one[name].tobytes() == same[name].tobytes() for name in one)
    assert any(one[name].tobytes() != other[name].tobytes() for name in one)


def test_a_single_sample_can_be_trained_on_even_with_batch_normalisation():
    model, local = zoo.model("conv-bn", (1, 8, 8), 3), LocalTraining(passes=2)
    own = task(to_arrays(model.build(0)), data(1, (1, 8, 8)), 3, local, (0, "o"))
    assert own.rows_SB.tolist() == [[0, 0], [0, 0]]
    assert all(np.isfinite(array).all() for array in train(model.build(0), own, local).values())


# --- calibration ----------------------------------------------------------------------------------


def without_class(missing, **settings):
    own = data(30)
    own = own.take(np.flatnonzero(own.labels != missing))
    local = LocalTraining(passes=3, batch=8, weight_decay=0.0, **settings)
    model = zoo.model("mlp-xs", (8,), 3)
    start = to_arrays(model.build(0))
    given = task(start, own, 3, local, (0, "o"))
    return start, given, train(model.build(0), given, local)


def test_calibration_nearly_leaves_a_missing_class_alone():
    start, given, trained = without_class(1, calibrate=True)
    counts = np.bincount(given.data.labels, minlength=3)
    np.testing.assert_allclose(given.shift_C, np.log(0.7 * counts / counts.sum() + 0.1), rtol=1e-6)
    _, _, pushed = without_class(1)
    down, far_down = (start["head.bias"][1] - one["head.bias"][1] for one in (trained, pushed))
    assert 0 < down < 0.5 * far_down


@pytest.mark.parametrize("samples", [1, 2, 40])
def test_a_device_of_one_class_learns_it_calibrated_or_not(samples):
    own = Dataset(data(samples).inputs, np.full(samples, 1))
    model = zoo.model("mlp-xs", (8,), 3)
    start = to_arrays(model.build(0))
    for calibrate in (True, False):
        local = LocalTraining(passes=3, batch=8, weight_decay=0.0, calibrate=calibrate)
        trained = train(model.build(0), task(start, own, 3, local, (0, "o")), local)
        gained = trained["head.bias"] - start["head.bias"]
        assert gained.argmax() == 1
        assert gained[1] > 0.01


def test_without_calibration_a_missing_class_is_pushed_down():
    start, given, trained = without_class(1)
    assert (given.shift_C == 0).all()
    assert trained["head.bias"][1] < start["head.bias"][1]


# --- the order of rows ----------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 70), st.integers(0, 5))
def test_every_pass_has_every_row_and_full_batches(samples, passes, batch, seed):
    rows_SB = schedule(shuffles([(seed, "rows")], samples, passes), batch)[0]
    steps = -(-samples // batch)
    assert rows_SB.shape == (passes * steps, batch)
    for one in rows_SB.reshape(passes, steps * batch):
        assert sorted(one[:samples]) == list(range(samples))
        assert (one[samples:] == np.resize(one[:samples], len(one) - samples)).all()


@given(st.integers(1, 200), st.integers(2, 64))
def test_batches_are_no_larger_than_the_data(samples, batch):
    rows_SB = task({}, data(samples), 3, LocalTraining(passes=1, batch=batch), (0, "o")).rows_SB
    assert rows_SB.shape[1] <= max(2, min(batch, samples))
    assert set(rows_SB.ravel()) == set(range(samples))
