"""What a folder of a classifier lacks or says wrongly is refused in one sentence, or noted."""

import json

import pytest
import torch
import transformers
from hf_folders import BERT, picture_model, saved, series_model, sound_model, text_model, tokenizer

from distilfleet.core.errors import ConfigError
from distilfleet.nn import pretrained, zoo
from distilfleet.nn.classifier_folder import rate_hz_of
from distilfleet.nn.distil import predict
from distilfleet.nn.trainable import learnt


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def refused(name, shape, message, **rest):
    with pytest.raises(ConfigError, match=message) as caught:
        zoo.model(name, shape, 3, **rest)
    said = str(caught.value)
    assert "\n" not in said
    assert name.removeprefix("hf:") in said


def without(folder, *files):
    for file in files:
        (folder / file).unlink()


def change(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


TURNED = {
    "no folder": (None, (3, 8, 8), "no such folder, and no model of that name in this machine's"),
    "no config": (lambda f: without(f, "config.json"), (3, 8, 8), "no config.json, which a model"),
    "no weights": (lambda f: without(f, "model.safetensors"), (3, 8, 8), "no weights: put model"),
    "no processor": (
        lambda f: without(f, "preprocessor_config.json"),
        (3, 8, 8),
        "no preprocessor_config.json, which says what the model does to its inputs",
    ),
    "quantised": (
        lambda f: change(f, quantization_config={"bits": 4}),
        (3, 8, 8),
        "quantization_config = .* asks for kernels of its own",
    ),
    "code": (lambda f: change(f, auto_map={"AutoModel": "m.Mine"}), (3, 8, 8), "names code"),
    "texts": (None, (5,), "vit classifies pictures; the data are texts: choose a model"),
    "series": (None, (2, 9), "vit classifies pictures; the data are sounds or series"),
    "two channels": (None, (2, 8, 8), "takes pictures of 3 channels; the data's have 2"),
    "another model's weights": (
        lambda f: change(f, num_hidden_layers=4),
        (3, 8, 8),
        "weights are of another model than ViTForImageClassification",
    ),
    "no family": (lambda f: change(f, model_type="vitt"), (3, 8, 8), "cannot be read as a"),
}


@pytest.mark.parametrize("case", TURNED)
def test_what_is_wrong_with_a_picture_model_is_said(case, tmp_path):
    spoil, shape, message = TURNED[case]
    name = picture_model(tmp_path)
    if case == "no folder":
        name = f"hf:{tmp_path / 'away'}"
    elif spoil is not None:
        spoil(tmp_path)
    refused(name, shape, message)


def test_pickled_weights_alone_are_not_read(tmp_path):
    name = picture_model(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refused(name, (3, 8, 8), r"its weights are pickled \(pytorch_model.bin\), which can run code")


def test_a_text_model_without_a_tokenizer_is_refused(tmp_path):
    name = text_model(tmp_path)
    without(tmp_path, "tokenizer.json", "tokenizer_config.json")
    with pytest.raises(ConfigError, match=r"no tokenizer \(tokenizer.json\): fetch"):
        pretrained.tokenised(name, ["light"])


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    name = text_model(tmp_path)
    change(tmp_path, vocab_size=5)
    with pytest.raises(ConfigError, match="gives token 12, and the model knows 5"):
        pretrained.tokenised(name, ["music"])


def test_what_writes_is_refused(tmp_path):
    sizes = {"vocab_size": 14, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1}
    five = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, num_heads=2))
    refused(saved(five, tmp_path / "t5"), (5,), "t5 has an encoder and a decoder, and writes")
    small = transformers.GPT2Config(vocab_size=14, n_positions=12, n_embd=16, n_layer=1, n_head=2)
    writer = transformers.GPT2LMHeadModel(small)
    refused(saved(writer, tmp_path / "gpt2"), (5,), "GPT2LMHeadModel predicts the next token")


def test_series_of_other_sizes_and_sounds_of_more_channels_are_refused(tmp_path):
    series = series_model(tmp_path / "series")
    refused(series, (2, 30), "takes series of 2 channels and 24 steps; the data's have 2 and 30")
    sound = sound_model(tmp_path / "sound")
    refused(sound, (2, 320), "takes sounds of one channel; the data have 2")
    assert rate_hz_of(sound) == 16000
    assert rate_hz_of(series) == 0


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (transformers.BertModel, "came without a head for classes: it gets a new one."),
        (transformers.BertForMaskedLM, "gets a new one in place of that of BertForMaskedLM"),
        (transformers.BertForSequenceClassification, "gets a new head: it knows 2 classes, the d"),
    ],
)
def test_what_becomes_of_a_head_is_noted(kind, said, tmp_path):
    name = text_model(tmp_path, kind=kind)
    assert said in pretrained.decision(name, (5,), 3)
    module = zoo.model(name, (5,), 3, "head").build(0)
    assert module.has_new_head
    assert all(".classifier." in weight for weight in learnt(module))


@pytest.mark.parametrize("by_first", [False, True])
def test_an_encoder_is_read_as_its_folder_says(by_first, tmp_path):
    torch.manual_seed(0)
    encoder = transformers.BertModel(transformers.BertConfig(**BERT)).eval()
    name = saved(encoder, tmp_path)
    tokenizer(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    facts = {"pooling_mode_cls_token": by_first, "pooling_mode_mean_tokens": not by_first}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(facts))
    ids = pretrained.tokenised(name, ["play some music", "off"])
    module = zoo.model(name, ids.shape[1:], 3).build(0)
    with torch.no_grad():
        hidden = [encoder(torch.tensor([row[row >= 0].tolist()]))[0][0] for row in ids]
        pooled = torch.stack([one[0] if by_first else one.mean(0) for one in hidden])
        wanted = module.net.classifier(pooled).numpy()
    assert abs(predict(module, ids) - wanted).max() < 1e-5
