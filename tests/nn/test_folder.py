"""A model's folder names no code, and its weights are those of its configuration."""

import json
import struct
import time

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from distilfleet.core.errors import ConfigError
from distilfleet.nn.language import DTYPE, config, load

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 40,
}
WEIGHTS = "model.safetensors"


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(3)
    net = transformers.AutoModelForCausalLM.from_config(
        transformers.LlamaConfig(**SIZES), **{DTYPE: torch.float32}
    )
    net.save_pretrained(tmp_path)
    return tmp_path


def change(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def refused(folder, message):
    started = time.monotonic()
    with pytest.raises(ConfigError, match=message) as caught:
        load(str(folder), vocabulary=64, context=40, seed=0)
    assert str(folder) in str(caught.value) or "llama" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 60, "what is refused is refused at once"


KERNEL = "kernels-somewhere/attention"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}, "auto_map = .* names code"),
        (
            {"auto_map": {"AutoConfig": "someone/else--configuration.Mine"}},
            "auto_map = .* names code",
        ),
        ({"attn_implementation": KERNEL}, f'attn_implementation = "{KERNEL}", of which none but'),
        ({"_attn_implementation": KERNEL}, "_attn_implementation = "),
        ({"_attn_implementation_internal": KERNEL}, "_attn_implementation_internal = "),
        ({"attn_implementation": {"": "sdpa", "text_config": KERNEL}}, "attn_implementation = "),
        ({"attn_implementation": f"paged|{KERNEL}:fn"}, "attn_implementation = "),
        ({"attn_implementation": "flash_attention_2"}, "attn_implementation = "),
        ({"text_config": {"attn_implementation": KERNEL}}, "attn_implementation = "),
        ({"parts": [{"attn_implementation": KERNEL}]}, "attn_implementation = "),
        ({"experts_implementation": KERNEL}, "experts_implementation = "),
        (
            {"quantization_config": {"quant_method": "fp8"}},
            "quantization_config = .* kernels of its own",
        ),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            "quantization_config",
        ),
        (
            {"kernel_config": {"kernel_mapping": {}}, "use_kernels": True},
            "(kernel_config|use_kernels) = .* names code",
        ),
        ({"trust_remote_code": True}, "trust_remote_code = true names code"),
        ({"custom_generate": "someone/else"}, "custom_generate"),
    ],
)
def test_a_folder_names_no_code(model, settings, message):
    change(model, **settings)
    (model / "modeling.py").write_text("raise SystemExit(3)")
    refused(model, f"config.json: {message}")
    with pytest.raises(ConfigError, match=message):
        config(str(model))


def test_what_is_computed_here_anyway_may_be_named(model):
    change(model, attn_implementation="eager")
    assert (
        load(str(model), vocabulary=64, context=40, seed=0).config._attn_implementation == "eager"
    )


def test_an_adapter_is_refused(model):
    (model / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "someone/else"})
    )
    refused(model, "holds an adapter, which names a model to be fetched")


@pytest.mark.parametrize(
    "settings",
    [
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": "two"},
        {"num_hidden_layers": None},
        {"hidden_size": 64},
        {"hidden_size": 10**9},
        {"hidden_size": 31},
        {"num_attention_heads": 0},
        {"num_attention_heads": 3},
        {"num_key_value_heads": 7},
        {"vocab_size": -5},
        {"vocab_size": 10**12},
        {"vocab_size": None},
        {"max_position_embeddings": "long"},
        {"max_position_embeddings": -1},
        {"rope_parameters": {"rope_type": "magic"}},
        {"rope_parameters": 7},
        {"hidden_act": "no such function"},
        {"model_type": "qwen9"},
        {"model_type": 5},
        {"architectures": 3, "model_type": None},
    ],
)
def test_odd_settings_are_refused_in_a_sentence(model, settings):
    change(model, **settings)
    refused(model, r"\w")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "5",
        "{",
        "[" * 200_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"n": %s}' % ("9" * 9999),
    ],
)
def test_a_configuration_that_is_none_is_refused(model, content):
    (model / "config.json").write_text(content)
    refused(model, "config.json: (not a readable|expected an object|settings inside)")


def altered(folder, alter):
    arrays = load_file(folder / WEIGHTS)
    alter(arrays)
    save_file(arrays, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (
            lambda arrays: arrays.pop("model.layers.1.mlp.up_proj.weight"),
            "1 missing, .* such as model.layers.1.mlp.up",
        ),
        (lambda arrays: arrays.pop("lm_head.weight"), "1 missing, .* such as lm_head.weight"),
        (
            lambda arrays: arrays.update(extra=np.zeros(3, np.float32)),
            "1 that it does not use, such as extra",
        ),
        (
            lambda arrays: arrays.update({"model.norm.weight": np.ones(5, np.float32)}),
            "weights (are of an|do not)",
        ),
        (
            lambda arrays: arrays.update({"model.norm.weight": np.ones(32, np.int8)}),
            "is of type I8; expected F64",
        ),
        (
            lambda arrays: arrays.update({"model.norm.weight": np.full(32, np.nan, np.float32)}),
            "differs by nan",
        ),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_refused(model, alter, message):
    altered(model, alter)
    refused(model, message)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_weights_that_end_too_early_are_refused(model, keep):
    whole = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(whole[:keep])
    refused(model, f"{WEIGHTS}: no weights in safetensors files that can be read")


@pytest.mark.parametrize("header", [1 << 62, 0, 8])
def test_weights_whose_header_lies_are_refused(model, header):
    (model / WEIGHTS).write_bytes(struct.pack("<Q", header) + b'{"a":[[]')
    refused(model, "no weights in safetensors files")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            {"weight_map": {"a": "../elsewhere.safetensors"}},
            "'../elsewhere.safetensors' is no .safetensors file in this",
        ),
        (
            {"weight_map": {"a": "/etc/hostname"}},
            "'/etc/hostname' is no .safetensors file in this folder",
        ),
        (
            {"weight_map": {"a": "model-2-of-3.safetensors"}},
            "model-2-of-3.safetensors is not there",
        ),
        ({"weight_map": {"a": 5}}, "no weight_map"),
        ({"weight_map": []}, "no weight_map"),
        ({}, "no weight_map"),
        ([], "expected an object"),
    ],
)
def test_an_index_names_files_beside_it_alone(model, index, message):
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(model, message)


def test_a_model_in_parts_is_read(tmp_path, model):
    whole = load(str(model), vocabulary=64, context=40, seed=0)
    whole.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    again = load(str(tmp_path / "parts"), vocabulary=64, context=40, seed=0)
    assert torch.equal(again.lm_head.weight, whole.lm_head.weight)
