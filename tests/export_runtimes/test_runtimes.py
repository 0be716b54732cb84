"""Each exporter in its own runtime: `make exports` makes the environment and runs this file, which
the suite skips, for the runtimes take 3 GB."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from distilfleet.core.errors import ConfigError
from distilfleet.data import tokenizer
from distilfleet.export.exportable import Decoder, answers, exportable
from distilfleet.export.files import Wish, export
from distilfleet.export.judge import Check
from distilfleet.export.runtimes import RUNTIMES
from distilfleet.nn import zoo

for package in ("executorch", "ncnn", "litert_torch", "gguf"):
    pytest.importorskip(package, reason="an environment with every runtime: make exports")

HERE = Path(__file__).parent
LLAMA = os.environ.get("LLAMA", "")
TEXT = "def mean(values):\n    return sum(values) / len(values)  # it's 12\n"
NETS = {
    "conv-s": (1, 28, 28),
    "conv-xs": (1, 28, 28),
    "conv-bn": (1, 28, 28),
    "dsconv-s": (3, 32, 32),
    "wave-s": (3, 128),
    "mlp-s": (64,),
}
CLASSIFIERS = ("onnx", "executorch", "ncnn", "litert")
FAMILIES = {
    "llama": LlamaConfig,
    "mistral": MistralConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
}


def checked(module, inputs):
    expected = answers(module, inputs)
    return Check(inputs=inputs, labels=expected.argmax(-1), expected=expected, data="noise")


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("runtime", CLASSIFIERS)
def test_a_net_of_the_zoo_answers_as_in_torch(runtime, name, tmp_path):
    net = zoo.model(name, NETS[name], 10).build(seed=0).eval()
    noise = np.random.default_rng(0).normal(size=(30, *NETS[name])).astype(np.float32)
    wish = Wish(runtime=RUNTIMES[runtime])
    found = export(exportable(net, noise), wish, checked(net, noise), tmp_path)
    assert found.accuracy == 1
    assert found.largest_difference < 1e-4
    names = {part.name for part in tmp_path.iterdir()} - {"exports.json"}
    for part in names:
        data = (tmp_path / part).read_bytes()
        assert not [word for word in (b".py", b"distilfleet", str(HERE).encode()) if word in data]


@pytest.mark.parametrize(("runtime", "precision"), [("executorch", "int8"), ("ncnn", "float16")])
def test_fewer_bits_make_a_smaller_file(runtime, precision, tmp_path):
    net = zoo.model("conv-s", (1, 28, 28), 10).build(seed=0).eval()
    noise = np.random.default_rng(0).normal(size=(60, 1, 28, 28)).astype(np.float32)
    wish = Wish(runtime=RUNTIMES[runtime], precision=precision, most_loss=20)
    found = export(exportable(net, noise), wish, checked(net, noise), tmp_path)
    assert 1e-6 < found.largest_difference < 0.5
    assert found.bytes < 0.6 * found.weight_bytes


@pytest.fixture(scope="module")
def cut():
    return tokenizer.train([TEXT * 40], 300)


def decoder(family, made, **settings):
    torch.manual_seed(0)
    sizes = {
        "vocab_size": made.vocabulary,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
    }
    if family == "mistral":
        sizes["sliding_window"] = None
    net = AutoModelForCausalLM.from_config(FAMILIES[family](**sizes | settings)).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(4) if weight.dim() == 2 else weight.add_(0.1 * torch.randn_like(weight))
    return net


def ready(net, made):
    ids = np.random.default_rng(0).integers(0, made.vocabulary, (8, 24)).astype(np.int32)
    parts = Decoder(model=net, tokenizer=made.data, separator=made.separator)
    return exportable(net, ids, language=True, decoder=parts), ids


def written(net, made, precision, folder):
    model, ids = ready(net, made)
    wish = Wish(runtime=RUNTIMES["gguf"], precision=precision, most_loss=100)
    return export(model, wish, checked(model.module, ids), folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_decoder_is_read_back_from_gguf_as_it_was(family, cut, tmp_path):
    assert written(decoder(family, cut), cut, "float32", tmp_path).largest_difference < 1e-5


def test_eight_bits_make_a_third_of_a_decoder(cut, tmp_path):
    found = written(decoder("llama", cut), cut, "int8", tmp_path)
    assert found.bytes < 0.36 * found.weight_bytes
    assert found.same_class_share > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"hidden_act": "gelu"}, "sets hidden_act"), ({"attention_bias": True}, "attention_bias")],
)
def test_what_llama_cpp_would_get_wrong_is_refused(settings, message, cut, tmp_path):
    with pytest.raises(ConfigError, match=message):
        written(decoder("llama", cut, **settings), cut, "float32", tmp_path)


@pytest.mark.skipif(
    not (LLAMA and shutil.which("node") and Path(LLAMA, "node_modules").is_dir()),
    reason="LLAMA names no folder with node-llama-cpp",
)
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_cuts_and_continues_a_text_as_torch_does(family, cut, tmp_path):
    net = decoder(family, cut)
    written(net, cut, "float32", tmp_path)
    script = shutil.copy(HERE / "greedy.mjs", LLAMA)
    words = ["node", script, str(tmp_path / "model.gguf"), TEXT, "12"]
    # of its own session: node stops the group of a job in the background
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        start_new_session=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["first"] == [cut.separator]
    assert said["ids"] == cut.encode([TEXT])[0].tolist()
    ids = [cut.separator, *said["ids"]]
    for _ in range(12):
        with torch.no_grad():
            ids.append(int(net(torch.tensor([ids])).logits[0, -1].argmax()))
    assert said["found"] == ids[-12:]
