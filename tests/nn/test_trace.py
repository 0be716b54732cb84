"""Work, sizes and parameter counts of language models, against published ones and against
formulas."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from distilfleet.core.errors import ConfigError
from distilfleet.nn.language import DTYPE, load
from distilfleet.nn.trace import trace


def weights_of_layer(width, hidden, kv_width):
    return 2 * width * width + 2 * width * kv_width + 3 * width * hidden


PUBLISHED = {
    "llama-3.1-8b": {
        "parameters": 8_030_261_248,
        "billions": 8.03,
        "layers": 32,
        "sizes": (4096, 14_336, 1024),
    },
    "llama-3.2-1b": {
        "parameters": 1_235_814_400,
        "billions": 1.24,
        "layers": 16,
        "sizes": (2048, 8192, 512),
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_their_published_sizes(name):
    facts, found = PUBLISHED[name], trace(name)
    width, _, _ = facts["sizes"]
    assert found.parameters == facts["parameters"]
    assert round(found.parameters / 1e9, 2) == facts["billions"]
    assert len(found.layers) == facts["layers"]
    weights = weights_of_layer(*facts["sizes"])
    for layer in found.layers:
        assert layer.weight_bytes == 2 * (weights + 2 * width)  # two norms
        assert layer.forward_flops == 2 * weights + 2 * 512 * width
        assert layer.output_bytes == 2 * width
    assert found.head_flops == 2 * width * 128_256
    assert (found.width, found.vocabulary, found.steps) == (width, 128_256, 512)


def test_rounded_figures_of_the_pair():
    large, small = trace("llama-3.1-8b"), trace("llama-3.2-1b")
    assert round(large.layers[0].forward_flops / 1e6) == 440
    assert round(small.layers[0].forward_flops / 1e6) == 124
    assert large.embedding_parameters == 128_256 * 4096
    assert large.other_parameters == 128_256 * 4096 + 4096
    assert small.other_parameters == 2048  # the output table is the embedding


def test_attention_grows_with_the_context():
    short, long = trace("llama-3.2-1b", 256), trace("llama-3.2-1b", 1024)
    assert long.layers[0].forward_flops - short.layers[0].forward_flops == 2 * (1024 - 256) * 2048
    assert long.head_flops == short.head_flops


def test_a_sliding_window_is_a_band():
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    }
    wide, narrow = (
        trace(
            MistralConfig(vocab_size=50, num_hidden_layers=1, sliding_window=window, **sizes), 100
        )
        for window in (None, 10)
    )
    attended = 10 - 10 * 10 / (2 * 100)
    assert wide.layers[0].forward_flops - narrow.layers[0].forward_flops == pytest.approx(
        4 * 64 * (50 - attended)
    )


def test_a_model_in_memory_has_the_traced_number_of_parameters():
    found = trace("llama-tiny", 32, vocabulary=300, bytes_per_weight=4)
    net = load("llama-tiny", vocabulary=300, context=32, seed=0)
    assert found.parameters == sum(weight.numel() for weight in net.parameters())
    assert found.layers[0].weight_bytes == sum(
        one.numel() * 4 for one in net.model.layers[0].parameters()
    )
    assert found.name == "llama-tiny"


def test_a_tied_table_counts_once():
    sizes = {"vocab_size": 50, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    for tied in (False, True):
        settings = LlamaConfig(
            **sizes, num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=tied
        )
        net = AutoModelForCausalLM.from_config(settings, **{DTYPE: torch.float32})
        assert trace(settings, 16).parameters == sum(weight.numel() for weight in net.parameters())


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="has no vocabulary and context of its own"):
        trace("llama-tiny")
