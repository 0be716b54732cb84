"""A user's own nets: each trains alone, side by side as alone, again from its weights, and is sent;
or is refused."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from distilfleet.core import wire
from distilfleet.core.chance import stream
from distilfleet.core.errors import ConfigError
from distilfleet.core.types import ArraySpec, Dataset, Expected, Job, Reply
from distilfleet.cost import catalogue
from distilfleet.nn import zoo
from distilfleet.nn.cohorts import why_apart
from distilfleet.nn.distil import Distillation, distil, predict, teach, teacher_outputs
from distilfleet.nn.features import Tap, pairs
from distilfleet.nn.merge import merge
from distilfleet.nn.profile import profile
from distilfleet.nn.soft_label_worker import SoftLabelWorker, kept_accuracy, kept_model
from distilfleet.nn.train import LocalTraining
from distilfleet.nn.weight_worker import (
    SAMPLES,
    WeightWorker,
    scratch,
    train_together,
    trained_reply,
)
from distilfleet.nn.weights import norm, put, to_arrays

NETS = Path(__file__).parent / "own_nets.py"
LOCAL = LocalTraining(passes=3, batch=4, lr=0.02)
TOGETHER = (
    *(
        "plain",
        "perceptron",
        "frozen",
        "frozen_perceptron",
        "unused",
        "tied",
        "shared_weight",
        "batch_normalised",
    ),
    *("instance_normalised", "not_persistent", "integer_buffer", "scalar_and_empty", "double"),
    *(
        "lazy",
        "embedding",
        "deep",
        "odd_names",
        "updates_a_buffer",
        "uses_weights_without_gradient",
        "stays_in_eval",
    ),
    *(
        "prints",
        "always_the_same",
        "reads_a_file",
        "hook_that_speaks_of_the_net",
        "slots",
        "compiled",
    ),
    *("sets_the_default_type", "turns_gradients_off", "drawn_by_python"),
)
APART = {
    "lstm": "recurrent",
    "svd": "linalg_svd carries the rounding",
    "eigh": "linalg_eigh carries the rounding",
    "qr": "linalg_qr carries the rounding",
    "gru": "recurrent",
    "dropout": "dropout",
    "functional_dropout": "batch",
    "branches_on_data": "batch",
    "branches_on_weights": "batch",
    "gradient_hook": "away from where it ends alone",
    "forward_hook": "away from where it ends alone",
    "counts_in_an_attribute": "seen",
    "freezes_as_it_goes": "seen",
    "replaces_a_buffer": "away from where it ends alone",
    "changes_weights_itself": "",
    "own_gradient": "batch",
    "remembers_between_calls": "last_mean",
    "old_weight_norm": "weight",
    "weight_normalised": "performance drop",
    "chance_of_python": "away from where it ends alone",
    "chance_of_numpy": "away from where it ends alone",
    "draws_when_asked_too": "batch",
    "experts": "batch",
    "skips_layers_by_chance": "batch",
    "differentiates_as_it_runs": "batch",
}
EITHER = (
    "spectral",
    "bfloat",
    "half",
    "attention",
    "scripted",
    "scripted_part",
    "inference_inside",
)
"""Whichever way is right here: rounding, and what torch can batch, decide."""
REFUSED = {
    "no_weights": "no weights",
    "all_frozen": "requires_grad is False everywhere",
    "complex_weights": "wave is torch.complex64",
    "gives_a_tuple": "is tuple, not a tensor",
    "gives_a_dict": "is dict, not a tensor",
    "wrong_classes": r"two samples give \(2, 4\), not \(2, 3\)",
    "forgets_the_batch": "has shape",
    "batch_of_two_alone": "fails on 1 samples",
    "integers": "expected logits",
    "without_gradient": "does not depend on weights",
    "not_a_module": "returns a torch.nn.Module",
    "raises": "OSError: weights.bin is not there",
    "divides_by_zero": "ZeroDivisionError",
    "ids_alone": "fails on 2 samples",
    "infinite_buffer": "mask holds NaN or infinity.*persistent=False",
    "extra_state": "_extra_state is a dict",
    "called_samples": "a weight is called samples",
    "copies_its_state": "does not keep what is copied",
    "quantised": "float8",
    "leaves": "SystemExit: 3",
    "leaves_as_it_runs": "fails on 2 samples .* SystemExit: 3",
    "sparse_gradient": "gradient of table.weight is sparse",
    "makes_weights_as_it_runs": "makes the weight late.bias as it runs",
    "not_a_number": "NaN or infinity of ordinary samples",
    "trains_in_silence": "does not return the net",
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def own(name):
    return zoo.model(f"{NETS}:{name}", (4,), 3)


def data(samples, seed=0):
    rng = stream(seed, "data", samples)
    labels = rng.integers(0, 3, samples)
    return Dataset((rng.normal(size=(samples, 4)) + labels[:, None]).astype(np.float32), labels)


def fleet(model, counts=(9, 14, 5, 14)):
    """Learners, and their jobs from weights of their own."""
    workers = [
        WeightWorker(
            device=catalogue.device("rpi-5", str(d)),
            data=data(n, d),
            model=model,
            local=LOCAL,
            seed=0,
        )
        for d, n in enumerate(counts)
    ]
    rng, start = stream(0, "weights"), to_arrays(model.build(0))
    net = model.build(0)
    trained = {name for name, _ in net.named_parameters()}
    jobs = []
    for worker in workers:
        weights = to_arrays(
            put(net, {n: _noisy(a, rng) if n in trained else a for n, a in start.items()})
        )
        expected = trained_reply(model, norm(weights), None)
        jobs.append(
            Job(
                id=f"1:train:{worker.device.id}",
                device=worker.device.id,
                op="train",
                arrays=weights,
                expected=expected,
            )
        )
    return workers, jobs


def _noisy(array, rng):
    return np.asarray(array + 0.1 * rng.normal(size=array.shape), array.dtype)


def same_bits(one, other):
    return one.keys() == other.keys() and all(
        np.asarray(one[n]).tobytes() == np.asarray(other[n]).tobytes() for n in one
    )


@pytest.mark.parametrize("name", [*TOGETHER, *APART, *EITHER])
def test_devices_of_any_net_end_where_each_would_alone(name):
    workers, jobs = fleet(own(name))
    alone = [worker.handle(job) for worker, job in zip(workers, jobs, strict=True)]
    for one, other in zip(alone, train_together(workers, jobs), strict=True):
        assert one.keys() == other.keys()
        for array in one:
            np.testing.assert_allclose(
                other[array], one[array], rtol=1e-5, atol=1e-5, err_msg=array
            )
            assert other[array].dtype == one[array].dtype


@pytest.mark.parametrize("name", TOGETHER)
def test_what_a_batched_computation_knows_trains_side_by_side(name):
    assert why_apart(own(name), LOCAL) is None


@pytest.mark.parametrize(("name", "reason"), APART.items())
def test_what_its_own_python_decides_trains_alone_and_says_why(name, reason):
    assert reason in (why_apart(own(name), LOCAL) or "nothing")


@pytest.mark.parametrize("name", [*TOGETHER, *APART, *EITHER])
def test_any_net_is_sent_averaged_kept_and_taught(name):
    model = own(name)
    workers, jobs = fleet(model, (9, 14))
    sent = [
        wire.receive_job(
            wire.job_head(j, wire.encode_body(j.arrays)),
            wire.decode_body(wire.encode_body(j.arrays)),
            j.expected,
        )
        for j in jobs
    ]
    answers = [worker.handle(job) for worker, job in zip(workers, sent, strict=True)]
    assert all(same_bits(answer, workers[d].handle(jobs[d])) for d, answer in enumerate(answers))
    replies = [
        Reply(job=job.id, device=job.device, arrays=answer)
        for job, answer in zip(jobs, answers, strict=True)
    ]
    assert all(wire.admit(reply, job) == reply for reply, job in zip(replies, jobs, strict=True))
    for rule in ("mean", "geometric-median"):
        merged = merge(model, jobs[0].arrays, replies, rule).weights
        assert {n: (a.dtype, a.shape) for n, a in merged.items()} == {
            n: (a.dtype, a.shape) for n, a in jobs[0].arrays.items()
        }
        assert same_bits(load(save(merged)), merged)
    large, how = put(scratch(model), merged), Distillation(passes=1, batch=8, feature_weight=0.1)
    soft_PC = np.full((12, 3), 1 / 3, np.float32)
    once = distil(large, data(12).inputs, soft_PC, how, stream(0, "a"))
    weights = load(save(dict(once.weights)))
    moments = load(save(dict(once.moments)))  # what goes on is trained in place
    twice = distil(
        put(scratch(model), once.weights),
        data(12).inputs,
        soft_PC,
        how,
        stream(0, "b"),
        once.moments,
    )
    again = distil(
        put(scratch(model), weights),
        data(12).inputs,
        soft_PC,
        how,
        stream(0, "b"),
        moments,
    )
    assert same_bits(twice.weights, again.weights)
    taught, _ = teach(
        put(scratch(model), merged), teacher_outputs(large, data(12), how), how, stream(0, "c"), {}
    )
    assert np.isfinite(predict(put(scratch(model), taught.weights), data(7).inputs)).all()


@pytest.mark.parametrize("name", [*TOGETHER, *APART, *EITHER])
def test_any_net_is_priced(name):
    facts = profile(own(name))
    assert facts.parameters > 0
    assert (
        facts.train_flops
        > facts.forward_flops
        >= 2 * (4 * 8 if name not in ("lstm", "gru") else 8 * 24)
    )


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_what_cannot_be_a_model_of_the_fleet_is_refused_in_one_sentence(name, reason):
    with pytest.raises(ConfigError, match=reason) as told:
        own(name)
    assert name in str(told.value) or "returns" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["odd_names", "bfloat", "frozen"])
def test_a_device_that_keeps_its_model_is_restored_with_it(name):
    model = own(name)
    device = catalogue.device("rpi-5", "a")
    first, again = (
        SoftLabelWorker(
            device=device, data=data(9), model=model, local=LOCAL, digest=Distillation(), seed=0
        )
        for _ in range(2)
    )
    job = Job(
        id="1:learn:a",
        device="a",
        op="learn",
        arrays={},
        expected=Expected(arrays={SAMPLES: ArraySpec("<i8", ())}),
    )
    first.handle(job)
    kept = load(save(dict(first.snapshot())))
    again.restore(kept)
    assert kept_model(kept) == model.name
    assert same_bits(first.weights, again.weights)
    assert kept_accuracy({"a": kept}, {model.name: model}, data(30))["small_accuracy"] > 0


def test_a_net_that_remembers_outside_of_itself_is_said_to():
    assert "cannot" not in (why_apart(own("plain"), LOCAL) or "")
    assert "outside of itself" in (why_apart(own("remembers_outside"), LOCAL) or "")


@pytest.mark.parametrize("name", ["draws_when_asked_too", "chance_of_python"])
def test_a_net_that_draws_answers_alike_each_time_and_leaves_chance_as_it_was(name):
    model, inputs = own(name), data(9).inputs
    net, before = (
        model.build(0),
        (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
    )
    assert (predict(net, inputs) == predict(net, inputs)).all()
    assert before == (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("name", ["sets_the_default_type", "turns_gradients_off"])
def test_a_factory_changes_no_setting_for_others(name):
    own(name).build(0)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_layers_too_wide_for_an_adapter_are_not_compared():
    wide, narrow = Tap("wide", (1 << 13,)), Tap("narrow", (8,))
    assert pairs([narrow, wide], [narrow, wide]) == ((narrow, narrow),)


def test_a_net_that_ends_in_nan_is_not_said_to_remember():
    assert "becomes NaN or infinity" in (why_apart(own("logarithm"), LOCAL) or "")
