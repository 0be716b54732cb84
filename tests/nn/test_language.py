"""Language models by name, and what is said of names, folders and files that are none."""

import importlib
import json
import math
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional as F  # noqa: N812

from distilfleet.core.errors import ConfigError
from distilfleet.data import text
from distilfleet.data.tokenizer import from_path
from distilfleet.nn import llama2c, split
from distilfleet.nn.language import (
    DTYPE,
    NEWER,
    ROPE,
    LanguageModel,
    check_tokenizers,
    config,
    load,
)
from distilfleet.nn.pretrain import nats_per_token

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
STORIES = "tinystories_sample_repaired.txt"
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 40,
}


def logits(net):
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        return net.eval()(input_ids=ids, use_cache=False).logits


def save(folder, settings=None, kind=transformers.AutoModelForCausalLM):
    """A folder as `save_pretrained` writes it, and the model that is in it."""
    torch.manual_seed(3)
    net = kind.from_config(settings or transformers.LlamaConfig(**SIZES), **{DTYPE: torch.float32})
    net.save_pretrained(folder)
    return net


# --- new models -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "width", "layers"), [("llama-tiny", 64, 2), ("llama:96x3", 96, 3)]
)
def test_new_models_have_the_size_of_their_name(name, width, layers):
    net = load(name, vocabulary=70, context=32, seed=1)
    assert (net.config.hidden_size, split.depth(net), net.training) == (width, layers, True)
    assert split.token_table(net).shape == split.output_table(net).shape == (70, width)


def test_a_seed_gives_the_same_weights_and_leaves_the_others_alone():
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    one, same, other = (
        load("llama-tiny", vocabulary=70, context=32, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_have_the_type_that_was_asked_for(dtype, tmp_path):
    save(tmp_path)
    for name, vocabulary in (("llama-tiny", 70), (str(tmp_path), 64)):
        net = load(name, vocabulary=vocabulary, context=32, seed=0, dtype=dtype)
        assert {weight.dtype for weight in net.parameters()} == {dtype}


def test_a_description_builds_its_model():
    described = LanguageModel(name="llama-tiny", vocabulary=70, context=32)
    expected = load("llama-tiny", vocabulary=70, context=32, seed=4)
    assert torch.equal(logits(described.build(seed=4)), logits(expected))


def test_a_classifier_has_a_score_for_each_class():
    net = load("llama-tiny", vocabulary=70, context=32, seed=1, classes=5)
    assert split.output_table(net).shape == (5, 64)


@pytest.mark.parametrize("name", ["llama:100x2", "llama:64x0", "llama:big", "llama:0x2"])
def test_a_size_that_cannot_be_is_refused(name):
    with pytest.raises(ConfigError, match="write llama:WIDTHxLAYERS with a width that 32 divides"):
        load(name, vocabulary=70, context=32, seed=0)


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_gives_its_own_weights(tmp_path):
    saved = save(tmp_path)
    net = load(str(tmp_path), vocabulary=64, context=40, seed=0)
    assert torch.equal(logits(net), logits(saved))


def test_tied_tables_become_two(tmp_path):
    saved = save(tmp_path, transformers.LlamaConfig(**SIZES, tie_word_embeddings=True))
    net = load(str(tmp_path), vocabulary=64, context=40, seed=0)
    assert torch.equal(logits(net), logits(saved))
    assert torch.equal(net.lm_head.weight, net.model.embed_tokens.weight)
    with torch.no_grad():
        net.lm_head.weight.zero_()
    assert net.model.embed_tokens.weight.abs().max() > 0
    net.save_pretrained(tmp_path / "again")
    again = load(str(tmp_path / "again"), vocabulary=64, context=40, seed=0)
    assert not again.lm_head.weight.any()
    assert torch.equal(again.model.embed_tokens.weight, net.model.embed_tokens.weight)


def test_rows_beyond_the_tokenizer_are_cut(tmp_path):
    saved = save(tmp_path)
    net = load(str(tmp_path), vocabulary=50, context=40, seed=0)
    torch.testing.assert_close(logits(net), logits(saved)[..., :50])
    assert split.token_table(net).shape == (50, 32)


def test_a_classifier_comes_from_its_folder_or_from_that_of_a_decoder(tmp_path):
    settings = transformers.LlamaConfig(**SIZES, num_labels=3, pad_token_id=0)
    saved = save(tmp_path / "classifier", settings, transformers.AutoModelForSequenceClassification)
    net = load(str(tmp_path / "classifier"), vocabulary=64, context=40, seed=0, classes=3)
    assert torch.equal(net.score.weight, saved.score.weight)
    save(tmp_path / "decoder")
    one, same, other = (
        load(str(tmp_path / "decoder"), vocabulary=64, context=40, seed=seed, classes=3)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.score.weight, same.score.weight)
    assert not torch.equal(one.score.weight, other.score.weight)


def refused(folder, message, *, vocabulary=64, context=40, classes=None):
    with pytest.raises(ConfigError, match=message):
        load(str(folder), vocabulary=vocabulary, context=context, seed=0, classes=classes)


def test_a_folder_without_weights_is_refused(tmp_path):
    transformers.LlamaConfig(**SIZES).save_pretrained(tmp_path)
    refused(tmp_path, "no weights in safetensors files")


def test_weights_that_could_run_code_are_not_opened(tmp_path):
    save(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refused(tmp_path, "no weights in safetensors files")


def test_damaged_weights_are_refused(tmp_path):
    save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 64)
    refused(tmp_path, "do not fit its config.json|no weights")


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3}, {"intermediate_size": 96}])
def test_weights_of_another_model_are_refused(tmp_path, change):
    save(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, **change}))
    refused(tmp_path, "weights are of another model|do not fit its config.json")


def test_a_folder_without_a_config_is_refused(tmp_path):
    refused(tmp_path, "neither a folder with a readable config.json")


@pytest.mark.parametrize(
    "name", ["/nowhere/at all", "./missing/folder/of/mine", "weights.pt.d/x/y"]
)
def test_an_unknown_folder_is_refused(name):
    with pytest.raises(ConfigError, match="there is no such folder; known are llama-tiny"):
        load(name, vocabulary=64, context=40, seed=0)


def test_a_longer_context_than_the_model_has_is_refused(tmp_path):
    save(tmp_path)
    refused(tmp_path, "takes 40 tokens at most, and sequences are 41", context=41)


def test_a_larger_vocabulary_than_the_model_has_is_refused(tmp_path):
    save(tmp_path)
    refused(tmp_path, "embeddings for 64 tokens and the tokenizer has 65", vocabulary=65)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("T5Config", "is not a decoder .t5 has an encoder"),
        ("ViTConfig", "is not a decoder: vit cannot predict the next token"),
        ("Gemma2Config", "gemma2 has final_logit_softcapping = 30.0"),
        ("CohereConfig", "cohere has logit_scale = 0.0625"),
        ("GraniteConfig", "granite has logits_scaling = 8"),
    ],
)
def test_families_that_cannot_be_split_are_refused(tmp_path, kind, message):
    settings = {"logits_scaling": 8.0} if kind == "GraniteConfig" else {}
    getattr(transformers, kind)(**settings).save_pretrained(tmp_path)
    refused(tmp_path, message)


def test_a_family_that_is_built_otherwise_is_refused(tmp_path):
    save(
        tmp_path,
        transformers.GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=64, n_positions=40),
    )
    refused(tmp_path, "gpt2 cannot be split: it is not built of embed_tokens, layers and norm")


# --- hub names ------------------------------------------------------------------------------------


def test_a_hub_name_is_read_from_the_local_copy(tmp_path):
    """In a process of its own, because the hub's client reads its settings when it is imported."""
    place = tmp_path / "hub" / "models--someone--tiny"
    save(place / "snapshots" / "0123")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123")
    script = """
from distilfleet.core.errors import ConfigError
from distilfleet.nn.language import load
model = load("someone/tiny", vocabulary=64, context=40, seed=0)
print(sum(weight.numel() for weight in model.parameters()))
try:
    load("someone/else", vocabulary=64, context=40, seed=0)
except ConfigError as error:
    print(str(error)[:37])
"""
    variables = {
        **os.environ,
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    variables.pop("HF_HUB_CACHE", None)
    ran = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True
    )
    expected = sum(
        weight.numel()
        for weight in load(
            str(place / "snapshots" / "0123"), vocabulary=64, context=40, seed=0
        ).parameters()
    )
    assert ran.stdout.splitlines() == [str(expected), "unknown language model 'someone/else'"]


# --- llama2.c files -------------------------------------------------------------------------------


def write_llama2c(path, *, tied=True, extra=b""):
    sizes = llama2c.Sizes(
        width=16, hidden=24, layers=2, heads=4, kv_heads=2, vocabulary=20, context=12, tied=tied
    )
    header = struct.pack("<7i", 16, 24, 2, 4, 2, 20 if tied else -20, 12)
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(0, 0.3, shape).astype("<f4") for name, shape in llama2c._parts(sizes)
    }
    path.write_bytes(header + b"".join(array.tobytes() for array in arrays.values()) + extra)
    return arrays


def reference_logits(arrays, ids):
    """A plain LLaMA in llama2.c's own layout: pairs of neighbours turn."""
    hidden = arrays["table"][ids].astype(np.float64)

    def normed(values, weight):
        return values / np.sqrt((values**2).mean(-1, keepdims=True) + 1e-5) * weight

    def turned(values):
        steps, heads, width = values.shape
        angles = np.arange(steps)[:, None] * 10_000.0 ** (-np.arange(0, width, 2) / width)
        turn = np.exp(1j * angles)[:, None]
        pairs = (values[..., ::2] + 1j * values[..., 1::2]) * turn
        return np.stack([pairs.real, pairs.imag], -1).reshape(steps, heads, width)

    for layer in range(2):
        part = {
            name: array[layer]
            for name, array in arrays.items()
            if "." in name or name.endswith("layernorm")
        }
        x = normed(hidden, part["input_layernorm"])
        q, k, v = (
            (x @ part[f"self_attn.{name}_proj"].T).reshape(len(ids), -1, 4) for name in "qkv"
        )
        q, k, v = turned(q), turned(k).repeat(2, 1), v.repeat(2, 1)
        scores = np.einsum("shw,thw->hst", q, k) / 2 + np.triu(
            np.full((len(ids), len(ids)), -1e9), 1
        )
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        hidden = (
            hidden
            + np.einsum("hst,thw->shw", shares, v).reshape(len(ids), -1)
            @ part["self_attn.o_proj"].T
        )
        x = normed(hidden, part["post_attention_layernorm"])
        gate = x @ part["mlp.gate_proj"].T
        hidden = (
            hidden
            + (gate / (1 + np.exp(-gate)) * (x @ part["mlp.up_proj"].T)) @ part["mlp.down_proj"].T
        )
    return normed(hidden, arrays["norm"]) @ arrays.get("output", arrays["table"]).T


@pytest.mark.parametrize("tied", [True, False])
def test_a_llama2c_file_computes_what_llama2c_computes(tmp_path, tied):
    arrays = write_llama2c(tmp_path / "tiny.bin", tied=tied)
    net = load(str(tmp_path / "tiny.bin"), vocabulary=20, context=12, seed=0).eval()
    ids = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    with torch.no_grad():
        got = net(input_ids=torch.from_numpy(ids)[None]).logits[0].numpy()
    np.testing.assert_allclose(got, reference_logits(arrays, ids), atol=1e-4)


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    write_llama2c(tmp_path / "long.bin", extra=b"\0")
    (tmp_path / "short.bin").write_bytes(b"abc")
    (tmp_path / "text.bin").write_bytes(b"certainly no model, but text of some length")
    refused(tmp_path / "long.bin", r"asks for \d+ bytes, it has", vocabulary=20, context=12)
    refused(tmp_path / "short.bin", "3 bytes are less than its header")
    refused(tmp_path / "text.bin", "the header says")
    write_llama2c(tmp_path / "tiny.bin")
    refused(
        tmp_path / "tiny.bin",
        "cannot be loaded as a classifier",
        vocabulary=20,
        context=12,
        classes=2,
    )
    refused(tmp_path / "tiny.bin", "takes 12 tokens at most", vocabulary=20, context=13)


@pytest.fixture(scope="module")
def stories():
    """The published model of 260,000 parameters, its tokenizer, and stories."""
    paths = [
        SHARED / name
        for name in ("weights/stories260K.bin", "tokenizers/tok512.bin", "text/" + STORIES)
    ]
    if missing := [path for path in paths if not path.exists()]:
        pytest.skip(f"needs the data folder: {missing[0]} is absent")
    net = load(str(paths[0]), vocabulary=512, context=512, seed=0).eval()
    return net, from_path(paths[1]), paths[2].read_text(encoding="utf-8")


def test_the_published_model_tells_its_published_story(stories):
    net, tokenizer, _ = stories
    ids = torch.tensor([[tokenizer.separator]])
    with torch.no_grad():
        for _ in range(50):
            ids = torch.cat([ids, net(input_ids=ids).logits[:, -1:].argmax(-1)], 1)
    told = tokenizer.decode(ids[0, 1:].numpy()).strip()
    assert told.startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
        "park."
    )


def test_the_published_model_predicts_stories(stories):
    """1.31 nats per token on the first forty of this file; those further down are of another kind,
    1.51 on all."""
    net, tokenizer, text = stories
    lost, count = 0.0, 0
    for story in re.split(r"\n\n(?=Once upon a time|One day, (?:a|an|there) )", text)[:40]:
        ids = torch.tensor([[tokenizer.separator, *tokenizer.encode([story.strip()])[0]]])[:, :512]
        with torch.no_grad():
            predicted = net(input_ids=ids).logits[0, :-1]
        lost += F.cross_entropy(predicted, ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    assert 1.25 < lost / count < 1.42


def test_stories_are_scored_as_the_model_was_trained_to_begin(stories, tmp_path):
    """1.41 nats a token where every story begins a window behind its token."""
    net, _, told = stories
    parts = re.split(r"\n\n(?=Once upon a time|One day, (?:a|an|there) )", told)[:60]
    file = tmp_path / "stories.jsonl"
    file.write_text("".join(json.dumps({"text": part.strip()}) + "\n" for part in parts))
    scores = {}
    for cutting in ("whole", "packed"):
        wanted = text.Wanted(
            context=512, tokenizer=SHARED / "tokenizers" / "tok512.bin", windows=cutting
        )
        source = text.load(str(file), wanted)
        scores[cutting] = nats_per_token(net, source.train.dataset())[0]
        assert any("begins a window" in note for note in source.notes) == (cutting == "whole")
    assert 1.25 < scores["whole"] < 1.42, scores
    assert scores["whole"] < scores["packed"], scores


# --- tokenizers -----------------------------------------------------------------------------------


def test_equal_tokenizers_and_added_tokens_pass():
    base = {"a": 0, "b": 1, "c": 2}
    check_tokenizers(base, base)
    check_tokenizers({**base, "<added>": 3}, base)
    check_tokenizers(base, {**base, "<added>": 3})


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (
            {"a": 0, "c": 1, "b": 2},
            "2 of 3 tokens differ, the first is 'c' with id 2 in the teacher and 1",
        ),
        ({"a": 0, "x": 1, "c": 2}, "the first is '[bx]' with id (1|None) in the teacher"),
    ],
)
def test_different_tokenizers_are_refused_with_the_reason(student, message):
    with pytest.raises(ConfigError, match=message):
        check_tokenizers({"a": 0, "b": 1, "c": 2}, student)


def test_configs_say_what_a_name_needs():
    with pytest.raises(ConfigError, match="has no vocabulary and context of its own"):
        config("llama-tiny")
    assert math.isclose(config("llama-3.2-1b").rms_norm_eps, 1e-5)


# --- families -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_angles_that_the_longest_text_of_a_batch_decides_about_are_refused(tmp_path, kind):
    angles = {"rope_type": kind, "factor": 2.0, "original_max_position_embeddings": 24}
    angles |= {
        "short_factor": [1.0] * 8,
        "long_factor": [4.0] * 8,
        **({"rope_theta": 10_000.0} if NEWER else {}),
    }
    made = transformers.LlamaConfig if kind == "dynamic" else transformers.Phi3Config
    settings = made(**SIZES, pad_token_id=0, original_max_position_embeddings=24, **{ROPE: angles})
    save(tmp_path, settings)
    refused(
        tmp_path,
        f"turns by '{kind}' angles, which beyond 24 tokens depend on the longest text",
        context=25,
    )
    load(str(tmp_path), vocabulary=64, context=24, seed=0)


def test_no_decoder_of_the_library_crashes(tmp_path):
    """Some of every sort; `benchmarks/families.py` drives all, and docs/families.md has what came
    of them."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    families = importlib.import_module("families")
    kinds = dict(families.families())
    splits, rest = ("olmo2", "qwen3_moe"), ("gemma4_text", "gpt2", "gpt_neox")
    found = {name: families.drive(name, kinds[name]) for name in (*splits, *rest) if name in kinds}
    assert [name for name, one in found.items() if one.outcome == "splits"] == [
        name for name in splits if name in kinds
    ]
    assert all("cannot be split: " in one.said for name, one in found.items() if name in rest)
