"""Classifiers of `transformers` go in as they are: their inputs, their heads by the names of
classes, their weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hf_folders import (
    picture_model,
    series_model,
    sound_model,
    spectra_model,
    text_model,
    without_a_base,
)
from safetensors.numpy import load_file

import distilfleet
from distilfleet.core.types import Dataset
from distilfleet.nn import pretrained, trainable, zoo
from distilfleet.nn.distil import Distillation, distil, predict
from distilfleet.nn.features import taps
from distilfleet.nn.profile import profile

MODELS = {
    "picture": (picture_model, (3, 8, 8), 3),
    "text": (text_model, (6,), 2),
    "sound": (sound_model, (1, 320), 3),
    "spectra": (spectra_model, (1, 4000), 3),
    "series": (series_model, (2, 24), 2),
    "no base": (without_a_base, (3, 8, 8), 3),
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("kind", MODELS)
def test_each_kind_is_built_priced_and_distilled(kind, tmp_path):
    make, shape, classes = MODELS[kind]
    model = zoo.model(make(tmp_path), shape, classes)
    assert model.is_pretrained
    assert not model.is_own
    facts = profile(model)
    assert facts.train_flops > facts.forward_flops > 0
    module = model.build(0)
    inputs = model.example(6).numpy()
    before = predict(module, inputs)
    soft = np.full((6, classes), 1 / classes, np.float32)
    done = distil(module, inputs, soft, Distillation(passes=2, batch=4), np.random.default_rng(0))
    again = distil(
        model.build(0), inputs, soft, Distillation(passes=2, batch=4), np.random.default_rng(0)
    )
    assert not np.array_equal(predict(module, inputs), before)
    assert all(np.array_equal(done.weights[name], array) for name, array in again.weights.items())


def test_pictures_are_what_its_own_processor_makes_of_them(tmp_path):
    model = zoo.model(picture_model(tmp_path, side=8), (3, 20, 12), 3)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 12, 3), dtype=np.uint8)
    own = transformers.AutoImageProcessor.from_pretrained(tmp_path)(
        list(pixels), return_tensors="pt"
    )
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    ours = model.build(0).reads(x)["pixel_values"]
    assert (ours - own["pixel_values"]).abs().max() < 0.03, "but for the rounding of resized pixels"


def test_texts_are_what_its_own_tokenizer_makes_of_them(tmp_path):
    name = text_model(tmp_path)
    texts = ["turn the light on", "music", "turn the light off please now " * 5]
    ids = pretrained.tokenised(name, texts)
    assert ids.dtype == np.int32
    assert ids.shape == (3, 10)
    assert ids[1].tolist() == [2, 12, 3, *[-1] * 7]
    module = zoo.model(name, ids.shape[1:], 2).build(0).eval()
    net = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    rows = transformers.AutoTokenizer.from_pretrained(tmp_path)(
        texts[:2], padding=True, return_tensors="pt"
    )
    assert torch.allclose(module(torch.from_numpy(ids[:2])), net(**rows).logits, atol=1e-6)


def test_tokens_are_taps_with_their_channels_in_front(tmp_path):
    module = zoo.model(picture_model(tmp_path), (3, 8, 8), 3).build(0)
    found = taps(module, torch.zeros(2, 3, 8, 8))
    assert [tap.shape for tap in found] == [(16, 2, 2), (24, 5), (16, 5)] or found[-1].shape == (
        16,
        5,
    )
    assert found[-1].features(torch.zeros(4, 5, 16)).shape == (4, 16, 5)


@pytest.mark.parametrize("order", [("cat", "dog", "eel"), ("Eel", "cat", "dog")])
def test_a_head_for_the_same_classes_is_kept_in_their_order(order, tmp_path):
    name = picture_model(tmp_path)
    x = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    plain = predict(zoo.model(name, (3, 8, 8), 3).build(0), x)
    module = zoo.model(name, (3, 8, 8), 3, class_names=order).build(0)
    assert not module.has_new_head
    rows = [("cat", "dog", "eel").index(label.lower()) for label in order]
    assert np.allclose(predict(module, x), plain[:, rows], atol=1e-6)


@pytest.mark.parametrize("make", [picture_model, without_a_base])
@pytest.mark.parametrize("names", [("fish", "bird", "eel"), ("a", "b", "c", "d")])
def test_a_head_for_others_is_replaced_by_a_new_one_of_the_seed(make, names, tmp_path):
    model = zoo.model(make(tmp_path), (3, 8, 8), len(names), class_names=names)
    first, second, third = model.build(0), model.build(1), model.build(0)
    assert first.has_new_head
    weight = f"{trainable.head_of(first)}.weight"
    assert torch.equal(first.state_dict()[weight], third.state_dict()[weight])
    assert not torch.equal(first.state_dict()[weight], second.state_dict()[weight])
    same = [name for name in first.state_dict() if not name.startswith(trainable.head_of(first))]
    assert all(torch.equal(first.state_dict()[name], second.state_dict()[name]) for name in same)


def test_a_dataset_has_a_form_for_it():
    data = Dataset(np.zeros((2, 3), np.float32), None, np.zeros((2, 5), np.int32))
    assert data.for_large.shape == (5,)


@pytest.mark.parametrize("function", ["of_transformers", "read_from_a_folder", "partly_frozen"])
@pytest.mark.parametrize("flag", ["large", "small"])
def test_a_users_own_may_be_one_and_trains_round_after_round(function, flag, tmp_path, monkeypatch):
    picture_model(tmp_path / "hf", channels=1)
    monkeypatch.setenv("DISTILFLEET_TEST_PRETRAINED", str(tmp_path / "hf"))
    x = np.random.default_rng(0).random((60, 1, 8, 8), np.float32)
    labels = np.arange(60) % 3
    np.savez(tmp_path / "data.npz", x_train=x, y_train=labels, x_test=x[:12], y_test=labels[:12])
    own = f"{Path(__file__).with_name('own_pretrained.py')}:{function}"
    run = distilfleet.train(
        "koala",
        data=str(tmp_path / "data.npz"),
        out=tmp_path / "run",
        devices=2,
        rounds=2,
        mixtures=4,
        local_passes=1,
        cohorts="off",
        **{flag: own if flag == "large" else (own,)},
    )
    assert run.history[-1]["round"] == 2
    (file,) = (tmp_path / "run" / "models").glob(f"{flag}*/model.safetensors")
    weights = load_file(file)
    built = zoo.model(own, (1, 8, 8), 3).build(0)
    moved = {
        name
        for name, tensor in built.state_dict().items()
        if not np.array_equal(weights[name], tensor.numpy())
    }
    assert moved
    assert moved <= set(trainable.learnt(built))
