from dataclasses import replace

import numpy as np
import pytest
import torch

from distilfleet.core import wire
from distilfleet.core.chance import stream
from distilfleet.core.types import Dataset, Expected, Job, Missed, Reply
from distilfleet.cost import catalogue
from distilfleet.nn import zoo
from distilfleet.nn.distil import Distillation
from distilfleet.nn.merge import merge
from distilfleet.nn.soft_label_worker import (
    SoftLabelWorker,
    from_link,
    kept_accuracy,
    learn_jobs,
    to_link,
)
from distilfleet.nn.train import LocalTraining
from distilfleet.nn.weight_worker import (
    LABELS,
    SAMPLES,
    WeightWorker,
    by_model,
    held_out_accuracy,
    label_counts,
    sizes,
    train_together,
    trained_reply,
)
from distilfleet.nn.weights import average, blend, norm, put, to_arrays

XS, S = zoo.model("mlp-xs", (8,), 3), zoo.model("mlp-s", (8,), 3)
LOCAL = LocalTraining(passes=1, batch=8)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def data(samples):
    rng = stream(0, "data", samples)
    labels = rng.integers(0, 3, samples)
    return Dataset((rng.normal(size=(samples, 8)) + labels[:, None]).astype(np.float32), labels)


def learner(name, samples, model=XS, local=LOCAL):
    device = replace(catalogue.device("rpi-5", name), shares_label_counts=True)
    return WeightWorker(device=device, data=data(samples), model=model, local=local, seed=0)


def job(name, model=XS, classes=None):
    weights = to_arrays(model.build(0))
    expected = trained_reply(model, norm(weights), classes)
    return Job(id=f"1:train:{name}", device=name, op="train", arrays=weights, expected=expected)


def reply(name, arrays):
    return Reply(job=f"1:{name}", device=name, arrays=arrays)


def close(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-5, err_msg=name)


# --- learners -------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [None, 3])
def test_an_honest_answer_is_let_in(classes):
    asked = job("a", classes=classes)
    answer = learner("a", 20).handle(asked)
    honest = Reply(job=asked.id, device="a", arrays=answer)
    assert wire.admit(honest, asked) == honest
    announced = {name: replace(spec, at_most=False) for name, spec in asked.expected.arrays.items()}
    assert wire.specs(answer) == announced
    count = answer[SAMPLES] if classes is None else answer[LABELS].sum()
    assert count == 20


def test_an_answer_far_too_large_is_refused():
    asked = job("a")
    answer = learner("a", 20).handle(asked)
    huge = {
        name: array * 1000 if array.dtype.kind == "f" else array for name, array in answer.items()
    }
    honest = Reply(job=asked.id, device="a", arrays=answer)
    assert wire.admit(honest, asked) == honest
    refused = wire.admit(replace(honest, arrays=huge), asked)
    assert isinstance(refused, Missed)
    assert "is over" in refused.reason


def test_learners_of_any_kind_learn_together_and_each_gets_its_own():
    workers = [
        learner("a", 20),
        learner("b", 9, model=S),
        learner("c", 40),
        learner("d", 5),
        learner("e", 33, model=S),
        learner("f", 20, local=replace(LOCAL, lr=0.2)),
    ]
    jobs = [job(worker.device.id, worker.model) for worker in workers]
    together = train_together(workers, jobs)
    for worker, asked, answer in zip(workers, jobs, together, strict=True):
        close(answer, worker.handle(asked))
        assert answer[SAMPLES] == len(worker.data)


def test_a_learner_learns():
    worker, asked = learner("a", 60, local=LocalTraining(passes=20, batch=16)), job("a")
    test = data(61)
    after = {name: array for name, array in worker.handle(asked).items() if name != SAMPLES}
    assert held_out_accuracy(XS, after, test) > held_out_accuracy(XS, asked.arrays, test) + 0.2


def test_labels_are_counted_by_class():
    own = Dataset(np.zeros((4, 8), np.float32), np.array([2, 0, 2, 2]))
    assert label_counts(learner("a", 4).device, own, 4).tolist() == [1, 0, 3, 0]
    # whose owner keeps them
    assert label_counts(catalogue.device("rpi-5", "b"), own, 4).tolist() == [4]


# --- what the server makes of answers -------------------------------------------------------------


def test_a_lie_about_its_data_cannot_buy_the_average():
    counts = [10, 12, 8, 10**15, -5]
    replies = [reply(str(i), {SAMPLES: np.array(count)}) for i, count in enumerate(counts)]
    assert sizes(replies) == [10, 12, 8, 100, 1]
    assert sizes([reply("a", {LABELS: np.array([3, 4])})]) == [7]


def test_a_variance_below_nothing_is_refused():
    normed = zoo.model("conv-bn", (1, 8, 8), 3)
    weights = to_arrays(normed.build(0))
    asked = replace(job("a"), id="1:a", expected=trained_reply(normed, norm(weights), None))
    told = {**weights, SAMPLES: np.array(9)}
    assert isinstance(wire.admit(reply("a", told), asked), Reply)
    name = next(name for name in weights if name.endswith("running_var"))
    missed = wire.admit(reply("a", {**told, name: -weights[name]}), asked)
    assert isinstance(missed, Missed)
    assert missed.reason == f"rejected: {name} holds -1, less than 0"


def test_answers_are_averaged_by_their_data():
    one, other = to_arrays(XS.build(0)), to_arrays(XS.build(1))
    replies = [
        reply("a", {**one, SAMPLES: np.array(10)}),
        reply("b", {**other, SAMPLES: np.array(30)}),
    ]
    close(
        merge(XS, one, replies, "mean").weights,
        {name: 0.25 * one[name] + 0.75 * other[name] for name in one},
    )


def test_counters_take_the_largest_and_types_stay():
    one = {"w": np.ones(2, np.float32), "n": np.array(3)}
    other = {"w": np.zeros(2, np.float32), "n": np.array(7)}
    mean = average([one, other], [1, 3])
    assert (mean["w"].tolist(), int(mean["n"])) == ([0.25, 0.25], 7)
    assert (mean["w"].dtype, mean["n"].dtype) == (np.float32, np.int64)
    assert one["w"].tolist() == [1, 1]


def test_a_moving_average_keeps_its_share():
    assert blend({"w": np.ones(1, np.float32)}, {"w": np.zeros(1, np.float32)}, 0.75)[
        "w"
    ].tolist() == [0.75]


def test_answers_are_grouped_by_model_in_order():
    replies = [reply(name, {}) for name in "abcd"]
    groups = by_model(replies, {"a": "s", "b": "xs", "c": "s", "d": "xs"})
    assert {name: [one.device for one in own] for name, own in groups.items()} == {
        "s": ["a", "c"],
        "xs": ["b", "d"],
    }


def test_weights_of_another_model_are_refused():
    with pytest.raises((KeyError, RuntimeError)):
        put(XS.build(0), to_arrays(S.build(0)))


# --- pupils ---------------------------------------------------------------------------------------

PROXY = Dataset(stream(0, "proxy").normal(size=(12, 8)).astype(np.float32))


def pupil(name="a", **more):
    device = catalogue.device("rpi-5", name)
    return SoftLabelWorker(
        device=device,
        data=data(20),
        model=XS,
        local=LOCAL,
        digest=Distillation(passes=1, batch=8),
        seed=0,
        **more,
    )


def lessons(number, holders, soft_PC, dtype="|u1"):
    answer = {"soft": wire.ArraySpec(dtype, (12, 3)), SAMPLES: wire.ArraySpec("<i8", ())}
    return learn_jobs(number, ["a"], holders, PROXY, soft_PC, answer)[0]


@pytest.mark.parametrize("dtype", ["|u1", "<f4"])
def test_the_proxy_inputs_travel_once(dtype):
    first = lessons(1, [], np.zeros((0, 0), np.float32), dtype)
    worker = pupil()
    answer = worker.handle(first)
    assert set(first.arrays) == {"proxy"}
    assert wire.specs(answer) == dict(first.expected.arrays)
    consensus = np.full((12, 3), 1 / 3, np.float32)
    second = lessons(2, ["a"], consensus, dtype)
    assert set(second.arrays) == {"soft"}
    assert wire.specs(worker.handle(second)) == dict(second.expected.arrays)
    assert (worker.proxy == from_link(to_link(PROXY.inputs))).all()


def test_a_pupil_learns_from_soft_labels():
    sure = np.eye(3, dtype=np.float32)[np.zeros(12, np.int64)]
    keen = {
        "digest": Distillation(passes=80, batch=8, lr=1e-2),
        "local": LocalTraining(passes=1, lr=1e-6),
    }
    plain, taught = (replace(pupil(), **keen) for _ in range(2))
    alone = plain.handle(lessons(1, [], np.zeros((0, 0), np.float32), "<f4"))["soft"]
    led = taught.handle(lessons(1, [], sure, "<f4"))["soft"]
    assert led[:, 0].mean() > alone[:, 0].mean() + 0.3


def test_a_pupil_goes_on_from_its_snapshot():
    first, second = (
        lessons(1, [], np.zeros((0, 0), np.float32)),
        lessons(2, ["a"], np.full((12, 3), 1 / 3)),
    )
    one, other = pupil(), pupil()
    assert one.snapshot() == {}
    one.handle(first)
    other.restore({name: array.copy() for name, array in one.snapshot().items()})
    assert one.handle(second)["soft"].tobytes() == other.handle(second)["soft"].tobytes()
    assert kept_accuracy({"a": one.snapshot()}, {"mlp-xs": XS}, data(30))["small_accuracy"] >= 0
    assert kept_accuracy({}, {}, data(30)) == {}


def test_declared_bytes_are_those_of_the_frames():
    worker = pupil()
    for asked in (
        lessons(1, [], np.zeros((0, 0), np.float32)),
        lessons(2, ["a"], np.full((12, 3), 1 / 3)),
    ):
        declared, answer = worker.load(asked), worker.handle(asked)
        assert declared.down_bytes == len(wire.encode_job(asked))
        assert declared.up_bytes == len(wire.encode_reply(asked.id, "a", answer))


def test_an_empty_announcement_takes_no_soft_labels():
    asked = Job(id="1", device="a", op="learn", arrays={}, expected=Expected(arrays={}))
    assert pupil().handle(asked) == {}
