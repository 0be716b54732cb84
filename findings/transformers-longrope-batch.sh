#!/usr/bin/env bash
# With `longrope`, a text's result depends on what stands beside it in the batch.
#
# Versions: transformers 5.23.0, torch 2.13.0, Python 3.11; Phi-3 in small, eager attention, float32.
# Guess:    a padded batch gives each text what it gets alone, as it does for every other kind of rotary angles (to 1e-6).
# Seen:     short or long factors are picked once for the whole batch, by its longest text. A text of 20 tokens, below the bound of 24,
#           gets other logits beside one of 40 than alone; beside one of 22 it does not.
# Meaning:  evaluation depends on the order of the data, and remembered teacher outputs hold for the batch that they were made in.
#           distilfleet refuses such a model where the context passes the bound, and its self-check compares a text alone and beside
#           others beyond every window of the configuration.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check transformers==5.23.0 torch==2.13.0
"$T/v/bin/python" - <<'P'
import sys

import torch
import transformers
from transformers import Phi3Config, Phi3ForCausalLM

BOUND = 24


def built(**angles):
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, original_max_position_embeddings=BOUND, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        rope_parameters={"rope_theta": 10_000.0, **angles},
    )
    return Phi3ForCausalLM._from_config(config, attn_implementation="eager").eval()


def beside(model, other):
    """How far logits of a text of 20 tokens are from those it has alone, beside one of so many tokens."""
    ids = torch.randint(3, 97, (2, other), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 20:] = 0
    with torch.no_grad():
        alone = model(input_ids=ids[:1, :20], use_cache=False).logits[0]
        together = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0, :20]
    return float((alone - together).abs().max() / alone.abs().max())


long = built(rope_type="longrope", short_factor=[1.0] * 8, long_factor=[4.0] * 8, original_max_position_embeddings=BOUND)
plain = built(rope_type="default")
gaps = {"longrope beside 22": beside(long, 22), "longrope beside 40": beside(long, 40), "default beside 40": beside(plain, 40)}
print(f"transformers {transformers.__version__}, torch {torch.__version__}")
print("expected: a text of 20 tokens has the same logits alone and beside another, whatever the other's length")
for name, gap in gaps.items():
    print(f"seen:     {name} tokens: {gap:.2g} off, relative to the largest")
same = gaps["longrope beside 22"] < 1e-5 and gaps["default beside 40"] < 1e-5
sys.exit(0 if same and gaps["longrope beside 40"] > 1e-3 else 1)
P
