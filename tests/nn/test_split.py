"""A split model equals the unsplit one, in logits and in every gradient, and what breaks that is
seen."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F  # noqa: N812
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

from distilfleet.core.errors import ConfigError
from distilfleet.nn import split
from distilfleet.nn.language import DTYPE, NEWER, ROPE

LAYERS = 4
SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "head_dim": 16,
}
SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    **({"rope_theta": 500_000.0} if NEWER else {}),
}
SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
FAMILIES = {
    "llama": lambda: LlamaConfig(**SIZES, **{ROPE: SCALING}),
    "qwen2": lambda: transformers.Qwen2Config(
        **{k: v for k, v in SIZES.items() if k != "head_dim"}
    ),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES),
    "mistral": lambda: transformers.MistralConfig(**SIZES, sliding_window=6),
    "phi3": lambda: transformers.Phi3Config(**SIZES, **SPECIAL),
    "smollm3": lambda: transformers.SmolLM3Config(**SIZES, **SPECIAL),
}


def family(name):
    try:
        config = FAMILIES[name]()
    except AttributeError:
        pytest.skip(f"transformers {transformers.__version__} does not have {name}")
    config.tie_word_embeddings = False
    return config


def causal(config, attention="sdpa", dtype=torch.float32):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        config, attn_implementation=attention, **{DTYPE: dtype}
    ).train()


@dataclass(frozen=True)
class Batch:
    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor

    @property
    def labels(self):
        return self.ids.masked_fill(self.mask == 0, -100)


def batch(padding="none", steps=15):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, SIZES["vocab_size"], (3, steps), generator=generator)
    mask = torch.ones_like(ids)
    if padding == "right":
        mask[0, 9:] = 0
    if padding == "left":
        mask[0, :5] = 0
    return Batch(ids, mask, split.positions(mask))


def loss_of(logits, given):
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1), given.labels[:, 1:].flatten(), ignore_index=-100
    )


def unsplit(full, given):
    logits = full(
        input_ids=given.ids,
        attention_mask=given.mask,
        position_ids=given.positions,
        use_cache=False,
    ).logits
    loss_of(logits, given).backward()
    return logits.detach(), gradients(full)


def gradients(full):
    return {
        name: weight.grad for name, weight in full.named_parameters() if weight.grad is not None
    }


@dataclass(frozen=True)
class Sides:
    """Two hosts with memory of their own, joined by tensors that could travel."""

    device: nn.Module
    server: nn.Module
    front: split.Front
    back: split.Back

    @classmethod
    def of(cls, full, cut):
        device, server = copy.deepcopy(full), copy.deepcopy(full)
        return cls(device, server, split.Front(device, cut), split.Back(server, cut))

    def run(self, given, mask=None, positions=None):
        mask = given.mask if mask is None else mask
        positions = given.positions if positions is None else positions
        rows = split.token_table(self.device)[given.ids]
        smashed = self.front(rows, given.mask, given.positions)
        up = smashed.detach().clone().requires_grad_()
        logits = self.back(up, mask, positions) @ split.output_table(self.server).T
        loss_of(logits, given).backward()
        if smashed.requires_grad:
            smashed.backward(up.grad)
        return logits.detach(), {**gradients(self.server), **gradients(self.device)}


def differs(one, other, given):
    """Largest difference of logits and gradients."""
    (logits, grads), (others, other_grads) = one, other
    keep = given.mask.bool()
    assert set(grads) == set(other_grads)
    return max(
        (logits - others)[keep].abs().max().item(),
        *((grads[k] - other_grads[k]).abs().max().item() for k in grads),
    )


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("cut", range(LAYERS + 1))
def test_split_equals_unsplit(cut, attention, padding):
    full, given = causal(family("llama"), attention), batch(padding)
    got = Sides.of(full, cut).run(given)
    assert differs(unsplit(full, given), got, given) < 1e-5


@pytest.mark.parametrize("cut", [0, 1, 3, LAYERS])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "llama"])
def test_every_family_can_be_split(name, cut):
    full, given = causal(family(name), "eager"), batch("right")
    got = Sides.of(full, cut).run(given)
    assert differs(unsplit(full, given), got, given) < 1e-5


@pytest.mark.parametrize("cut", [0, 2, LAYERS])
def test_recomputing_activations_changes_nothing(cut):
    full, given = causal(family("llama")), batch("left")
    sides = Sides.of(full, cut)
    split.checkpoint(sides.front)
    split.checkpoint(sides.back)
    assert differs(unsplit(full, given), sides.run(given), given) < 1e-5


@pytest.mark.parametrize("cut", [0, 1, LAYERS])
@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_adapters_are_split_with_their_layers(name, cut):
    full, given = causal(family(name)), batch("right")
    split.add_lora(full, rank=2, seed=3)
    with torch.no_grad():
        for key, weight in full.named_parameters():
            if "lora_B" in key:  # zero at first, and then gradients of the other factor are zero
                weight.normal_(0, 0.1)
    reference, got = unsplit(full, given), Sides.of(full, cut).run(given)
    assert differs(reference, got, given) < 1e-5
    assert all("lora_" in key for key in got[1])
    per_layer = 14 if name == "llama" else 8
    assert [len(layer) for layer in split.parts(full).layers] == [per_layer] * LAYERS


def test_adapters_of_one_seed_are_equal():
    one, other = (split.add_lora(causal(family("llama")), rank=2, seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_gradients_of_the_two_ends_of_a_tied_table_add_up():
    config = family("llama")
    config.tie_word_embeddings = True
    full, given = causal(config), batch("left")
    assert split.output_table(full) is full.get_input_embeddings().weight
    sides = Sides.of(full, 2)
    _, tied = unsplit(full, given)
    sides.run(given)
    name = "model.embed_tokens.weight"
    both = sides.device.get_parameter(name).grad + sides.server.get_parameter(name).grad
    torch.testing.assert_close(both, tied[name], atol=1e-6, rtol=0)
    assert (both - sides.server.get_parameter(name).grad).abs().max() > 1e-3


def test_backs_of_several_cuts_add_to_one_gradient():
    full, given = causal(family("llama")), batch()
    positions = given.positions
    reference = copy.deepcopy(full)
    for cut in (1, 3):
        rows = split.token_table(full)[given.ids]
        hidden = split.Back(full, cut)(
            split.Front(full, cut)(rows, given.mask, positions), given.mask, positions
        )
        loss_of(hidden @ split.output_table(full).T, given).backward()
        loss_of(reference(input_ids=given.ids, position_ids=positions).logits, given).backward()
    for name, weight in reference.named_parameters():
        torch.testing.assert_close(full.get_parameter(name).grad, weight.grad, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fault", ["mask", "positions", "norm", "layer"])
def test_what_breaks_a_split_is_seen(fault):
    full, given = (
        causal(family("llama"), "eager"),
        batch("left" if fault != "positions" else "none"),
    )
    sides = Sides.of(full, 2)
    sent = {}
    if fault == "mask":
        sent["mask"] = torch.ones_like(given.mask)
    if fault == "positions":  # two short texts in one sequence; a mere shift would change nothing
        given.positions[:, 6:] -= 6
        sent["positions"] = torch.arange(given.ids.shape[1]).expand_as(given.ids)
    if fault == "norm":
        with torch.no_grad():
            sides.device.model.norm.weight.uniform_(0.5, 1.5)
        sides.front.net.norm = sides.device.model.norm
    if fault == "layer":
        sides.back.net.layers = sides.back.net.layers[1:]
        sides.back.net.config.num_hidden_layers -= 1
    logits, _ = sides.run(given, **sent)
    reference, _ = unsplit(full, given)
    assert (logits - reference)[given.mask.bool()].abs().max() > 1e-4


def test_per_layer_lists_are_cut_with_the_layers():
    config = family("qwen3")
    config.layer_types = ["full_attention", "sliding_attention"] * 2
    sliced = split.slice_config(config, 1, 4)
    assert sliced.layer_types == ["sliding_attention", "full_attention", "sliding_attention"]
    assert sliced.num_hidden_layers == 3
    assert config.num_hidden_layers == LAYERS


def test_mixed_layer_kinds_keep_theirs():
    config = family("qwen3")
    config.layer_types = ["full_attention", "sliding_attention"] * 2
    config.sliding_window = 4
    full, given = causal(config, "eager"), batch()
    assert differs(unsplit(full, given), Sides.of(full, 1).run(given), given) < 1e-5


@pytest.mark.parametrize("cut", [-1, LAYERS + 1])
def test_a_cut_beyond_the_model_is_refused(cut):
    for side in (split.Front, split.Back):
        with pytest.raises(ConfigError, match=f"cut {cut} is beyond the model: llama has 4 layers"):
            side(causal(family("llama")), cut)


def test_a_classifier_reads_the_last_token():
    config = family("llama")
    config.num_labels, config.pad_token_id = 5, 0
    torch.manual_seed(0)
    full = AutoModelForSequenceClassification.from_config(config, **{DTYPE: torch.float32})
    for padding in ("left", "right"):
        given = batch(padding)
        positions = given.positions
        ids = given.ids * given.mask
        expected = full(input_ids=ids, attention_mask=given.mask, position_ids=positions).logits
        smashed = split.Front(full, 1)(split.token_table(full)[ids], given.mask, positions)
        last = split.last_token(split.Back(full, 1)(smashed, given.mask, positions), given.mask)
        torch.testing.assert_close(last @ split.output_table(full).T, expected, atol=1e-5, rtol=0)


# --- which weights belong where -------------------------------------------------------------------


def test_every_parameter_belongs_somewhere_once():
    full = causal(family("llama"))
    parts = split.parts(full)
    every = [*parts.embedding, *parts.front(LAYERS), *parts.norm, *parts.head]
    assert sorted(every) == sorted(name for name, _ in full.named_parameters())
    assert parts.embedding == ("model.embed_tokens.weight",)
    assert parts.norm == ("model.norm.weight",)
    assert parts.head == ("lm_head.weight",)
    for cut in range(LAYERS + 1):
        assert [*parts.embedding, *parts.front(cut), *parts.back(cut)] == every


def test_frozen_parameters_are_left_out():
    full = causal(family("llama"))
    full.get_input_embeddings().requires_grad_(False)
    assert split.parts(full).embedding == ()
    assert split.parts(full, trainable=False).embedding == ("model.embed_tokens.weight",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_travel_as_arrays(dtype):
    one, other = causal(family("llama"), dtype=dtype), causal(family("llama"), dtype=dtype)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    names = split.parts(one).front(2)
    arrays = split.get_weights(one, names)
    assert all(array.dtype == np.float32 for array in arrays.values())
    split.put_weights(other, arrays)
    for name in names:
        assert torch.equal(one.get_parameter(name), other.get_parameter(name))
    with pytest.raises(KeyError):
        split.put_weights(other, {"another": arrays[names[0]]})


# --- self-check -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_supported_families_pass_the_self_check(name):
    assert split.self_check(causal(family(name))) < 1e-5


def test_a_large_model_is_checked_by_its_first_layers(monkeypatch):
    monkeypatch.setattr(split, "LARGE", 0)
    monkeypatch.setattr(split, "CHECKED_LAYERS", 2)
    assert split.self_check(causal(family("llama"))) < 1e-5
    broken = causal(family("llama"))
    broken.model.layers[1].register_forward_hook(once_changed())
    with pytest.raises(ConfigError, match="cannot be split: cut in two it differs by"):
        split.self_check(broken)


def once_changed():
    """A hook that changes the first output and no later one, as a family does that treats its first
    call apart."""
    calls = []

    def hook(_module, _inputs, output):
        calls.append(0)
        if len(calls) > 1:
            return output
        return (output[0] + 1, *output[1:]) if isinstance(output, tuple) else output + 1

    return hook


def test_sixteen_bits_pass_the_self_check():
    assert split.self_check(causal(family("llama"), dtype=torch.bfloat16)) <= 2e-2


def test_a_family_that_is_built_otherwise_is_refused():
    net = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=11)
    )
    with pytest.raises(
        ConfigError, match="gpt2 cannot be split: it is not built of embed_tokens, layers and norm"
    ):
        split.Front(net, 0)


def test_logits_that_are_more_than_a_product_are_refused():
    full = causal(family("llama"))
    full.lm_head = nn.Linear(SIZES["hidden_size"], SIZES["vocab_size"], bias=True)
    with pytest.raises(ConfigError, match="more than a product"):
        split.output_table(full)
    scaled = causal(family("llama"))
    scaled.lm_head.register_forward_hook(
        lambda _module, _inputs, output: 30 * torch.tanh(output / 30) + 1
    )
    with pytest.raises(ConfigError, match="differs by"):
        split.self_check(scaled)


def longrope():
    """A Phi-3 trained for 24 tokens, with other angles beyond."""
    facts = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    facts |= {"original_max_position_embeddings": 24, **({"rope_theta": 10_000.0} if NEWER else {})}
    return transformers.Phi3Config(
        **SIZES, **SPECIAL, original_max_position_embeddings=24, **{ROPE: facts}
    )


def test_a_family_that_treats_a_text_by_its_neighbours_is_refused():
    full = causal(longrope())
    with pytest.raises(ConfigError, match="phi3 cannot be split: a text in a batch differs by"):
        split.self_check(full, 40)
    assert split.self_check(full, 24) < 1e-5, "no text is long enough to make a difference"


def test_one_that_looks_at_the_whole_batch_is_refused():
    full = causal(family("llama"))
    full.model.layers[1].mlp.register_forward_hook(
        lambda _module, _inputs, output: output + output.mean((0, 1))
    )
    with pytest.raises(ConfigError, match="a text in a batch differs by"):
        split.self_check(full)


def test_texts_of_the_self_check_pass_every_window():
    for window in (6, 20, 50):
        full = causal(transformers.MistralConfig(**SIZES, sliding_window=window))
        assert split._steps(full, 128) == max(16, window + split.PAST)
        assert split._steps(full, 40) == (max(16, window + split.PAST) if window < 36 else 16)
        assert split.self_check(full, 128) < 1e-5


def test_what_a_familys_own_code_raises_is_the_reason_it_is_refused():
    full = causal(family("llama"))

    def broken(_module, _inputs, _output):
        raise AttributeError("'Identity' object has no attribute 'weight'\nand more")

    full.model.layers[0].register_forward_hook(broken)
    with pytest.raises(
        ConfigError, match=r"llama cannot be split: AttributeError:? 'Identity' .*docs/families.md"
    ):
        split.self_check(full)
