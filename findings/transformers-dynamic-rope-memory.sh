#!/usr/bin/env bash
# With `dynamic` rotary angles, a text's result depends on the longest text that the model has ever seen.
#
# Versions: transformers 5.23.0, torch 2.13.0, Python 3.11; LLaMA in small, eager attention, float32, batches of one.
# Guess:    without a cache, a forward pass is a function of its input.
# Seen:     angles grow with the longest text so far and go back only at a text below the bound. After one of 80 tokens, texts of 24 (the
#           bound itself), 25 and 40 have other logits than in a fresh model; one of 23 has the same.
# Meaning:  an evaluation depends on the order of its data, and two processes that saw other texts disagree. distilfleet refuses
#           such a model where the context passes the bound.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check transformers==5.23.0 torch==2.13.0
"$T/v/bin/python" - <<'P'
import sys

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

BOUND = 24


def built():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=BOUND, rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0},
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()


def logits(model, tokens):
    ids = torch.randint(3, 97, (1, 96), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(input_ids=ids[:, :tokens], use_cache=False).logits


def after_a_long_one(tokens):
    """How far the logits of a text are from those of a fresh model, once another of 80 tokens was seen."""
    fresh, used = built(), built()
    logits(used, 80)
    expected = logits(fresh, tokens)
    return float((logits(used, tokens) - expected).abs().max() / expected.abs().max())


gaps = {tokens: after_a_long_one(tokens) for tokens in (23, 24, 25, 40)}
print(f"transformers {transformers.__version__}, torch {torch.__version__}, bound {BOUND} tokens")
print("expected: the same logits as in a fresh model")
for tokens, gap in gaps.items():
    print(f"seen:     {tokens} tokens after a text of 80: {gap:.2g} off, relative to the largest")
sys.exit(0 if gaps[23] == 0 and min(gaps[24], gaps[25], gaps[40]) > 1e-4 else 1)
P
