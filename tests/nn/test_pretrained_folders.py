"""A classifier of `transformers` that a run has taught is such a classifier again, for us and for
`transformers`."""

import numpy as np
import pytest
import torch
import transformers
from hf_folders import picture_model, series_model, text_model

import distilfleet
from distilfleet.core.disk import write_folder
from distilfleet.core.types import TrainedModel
from distilfleet.data.spec import DataSpec
from distilfleet.deploy.card import CardFacts
from distilfleet.deploy.contents import contents
from distilfleet.nn import trainable, zoo
from distilfleet.nn.weights import to_arrays


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def stored(name, shape, spec, folder, train="all"):
    """The folder of such a model after some training, and its module."""
    model = zoo.model(name, shape, len(spec.classes), train=train, class_names=spec.classes)
    module = model.build(3)
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn_like(weight)
    trained = TrainedModel(model=model, weights=to_arrays(module), size="large")
    write_folder(folder, contents("large", trained, CardFacts(), spec))
    return module.eval()


PICTURES = DataSpec(
    kind="image", shape=(3, 20, 12), classes=("x-y", "x_y", "z"), offset=(0.0,), factor=(1.0,)
)


@pytest.mark.parametrize("train", ["all", "head", "lora:2"])
def test_pictures(train, tmp_path):
    name = picture_model(tmp_path / "given")
    module = stored(name, (3, 20, 12), PICTURES, tmp_path / "large", train)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 20, 12, 3), dtype=np.uint8)
    loaded = distilfleet.load(tmp_path / "large")
    assert loaded.classes == ("x-y", "x_y", "z")
    expected = module(loaded.preprocess(pixels)).softmax(-1).detach().numpy()
    assert np.allclose(loaded.predict(pixels), expected, atol=1e-6)
    theirs, info = transformers.AutoModelForImageClassification.from_pretrained(
        tmp_path / "large", output_loading_info=True
    )
    assert not any(info.values()), "adapters are merged, and nothing is missing"
    assert theirs.config.id2label == {0: "x-y", 1: "x_y", 2: "z"}
    read = module.reads(loaded.preprocess(pixels))
    assert np.allclose(theirs(**read).logits.softmax(-1).detach().numpy(), expected, atol=1e-6)
    assert transformers.AutoImageProcessor.from_pretrained(tmp_path / "large").image_mean


def test_texts(tmp_path):
    texts = ["turn the light on", "music", "turn the light off please now " * 5]
    spec = DataSpec(kind="text", shape=(10,), classes=("on", "off"))
    module = stored(text_model(tmp_path / "given"), (10,), spec, tmp_path / "large")
    loaded = distilfleet.load(tmp_path / "large")
    expected = module(loaded.preprocess(texts)).softmax(-1).detach().numpy()
    assert np.allclose(loaded.predict(texts), expected, atol=1e-6)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "large")
    rows = transformers.AutoTokenizer.from_pretrained(tmp_path / "large")(
        texts, padding=True, truncation=True, return_tensors="pt"
    )
    assert np.allclose(theirs(**rows).logits.softmax(-1).detach().numpy(), expected, atol=1e-6)


def test_series(tmp_path):
    spec = DataSpec(
        kind="series",
        shape=(2, 24),
        classes=("rest", "walk"),
        offset=(1.0, 2.0),
        factor=(0.5, 0.1),
    )
    module = stored(series_model(tmp_path / "given"), (2, 24), spec, tmp_path / "large")
    loaded = distilfleet.load(tmp_path / "large")
    steps = np.random.default_rng(0).normal(size=(3, 24, 2))
    expected = module(loaded.preprocess(steps)).softmax(-1).detach().numpy()
    assert np.allclose(loaded.predict(steps), expected, atol=1e-6)


def test_adapters_of_any_net_are_merged(tmp_path):
    spec = DataSpec(
        kind="table", shape=(4,), classes=("a", "b"), offset=(0.0,) * 4, factor=(1.0,) * 4
    )
    module = stored("mlp-s", (4,), spec, tmp_path / "large", "lora:2")
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    loaded = distilfleet.load(tmp_path / "large")
    plain = trainable.merged(module)
    expected = plain(torch.from_numpy(rows)).softmax(-1).detach().numpy()
    assert np.allclose(loaded.predict(rows), expected, atol=1e-6)
