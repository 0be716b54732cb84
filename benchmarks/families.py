"""Which decoders of the installed transformers can be split: each in small, through the check that
every model passes.

    python benchmarks/families.py > docs/families.md

A family is built with few and narrow layers from its own configuration class, written to a folder
and loaded as a user's model is. What its refusal says is what a user reads. A family whose class
does not build that small is listed as not tried.
"""

import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

from distilfleet.core.errors import ConfigError
from distilfleet.nn.language import load

VOCABULARY, CONTEXT, MOST_PARAMETERS = 97, 64, 20_000_000
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "hidden_dim", "model_dim"), 64),
    **dict.fromkeys(
        (
            "intermediate_size",
            "ffn_dim",
            "n_inner",
            "ffn_hidden_size",
            "d_ff",
            "ffn_intermediate_size",
        ),
        96,
    ),
    **dict.fromkeys(
        (
            "num_hidden_layers",
            "n_layer",
            "n_layers",
            "num_layers",
            "decoder_layers",
            "encoder_layers",
        ),
        4,
    ),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4
    ),
    **dict.fromkeys(("decoder_attention_heads",), 4),
    **dict.fromkeys(
        ("num_key_value_heads", "n_kv_heads", "num_kv_heads", "num_local_experts_per_tok"), 2
    ),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(
        ("num_experts_per_tok", "moe_k", "moe_topk", "top_k_experts", "num_experts_per_token"), 2
    ),
    **dict.fromkeys(
        ("moe_intermediate_size", "expert_ffn_hidden_size", "shared_expert_intermediate_size"), 32
    ),
    **dict.fromkeys(
        (
            "max_position_embeddings",
            "n_positions",
            "max_seq_len",
            "seq_length",
            "max_sequence_length",
        ),
        128,
    ),
    **dict.fromkeys(
        ("q_lora_rank", "kv_lora_rank", "v_head_dim", "head_dim", "rotary_dim", "global_head_dim"),
        16,
    ),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 16),
    **dict.fromkeys(("sliding_window", "attention_chunk_size", "attention_window_size"), 8),
    "n_group": 1,
    "topk_group": 1,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "layer_types": None,
    "mlp_layer_types": None,
    "no_rope_layers": None,
    "num_kv_shared_layers": 0,
}
"""Settings under the names that families give them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    family: str
    outcome: str
    said: str = ""


def families() -> Iterator[tuple[str, type]]:
    yield from sorted((kind.model_type, kind) for kind in MODEL_FOR_CAUSAL_LM_MAPPING)


def small(kind: type) -> Any:
    """A configuration of few and narrow layers, its parts as well."""
    default = kind()
    known = default.to_dict()
    parts = {name: type(getattr(default, name)) for name in kind.sub_configs if name in known}
    parts = {name: small(part).to_dict() for name, part in parts.items() if part is not type(None)}
    return kind(**{name: value for name, value in SMALL.items() if name in known}, **parts)


def drive(family: str, kind: type) -> Result:
    """What becomes of a family: it splits, it is refused, or this script cannot build it that
    small."""
    try:
        settings = small(kind)
        with torch.device("meta"):
            count = sum(
                weight.numel() for weight in AutoModelForCausalLM.from_config(settings).parameters()
            )
        if count > MOST_PARAMETERS:
            return Result(
                family=family, outcome="not tried", said=f"{count} parameters at its smallest here"
            )
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(settings, dtype=torch.float32).eval()
        with torch.no_grad():
            ids = torch.arange(8).reshape(1, 8)
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    except Exception as error:
        return Result(
            family=family,
            outcome="not tried",
            said=f"{type(error).__name__} {str(error).splitlines()[:1]}"[:150],
        )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        try:
            load(folder, vocabulary=VOCABULARY, context=CONTEXT, seed=0)
        except ConfigError as error:
            return Result(
                family=family, outcome="refused", said=str(error).replace(folder, "FOLDER")
            )
    return Result(family=family, outcome="splits")


def written(results: list[Result]) -> str:
    counts = Counter(result.outcome for result in results)
    total = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    lines = [
        "# Which decoders can be split",
        "",
        f"Every causal language model of transformers {transformers.__version__}, in small, "
        "through the check that",
        "each model passes when it is loaded: cut in two it computes what it computes whole, a "
        "text in a batch what it",
        "computes alone, and logits are its last hidden state times a table. Each has its default "
        "settings save sizes,",
        "so one that is refused for a setting, such as a scale of its logits, splits where that is "
        "off.",
        f"{total}; made by `python benchmarks/families.py`.",
        "",
        f"**Splits:** {_named(results, 'splits')}.",
        "",
        "**Not tried**, since this script could not build a small one: "
        f"{_named(results, 'not tried')}.",
        "",
        "| refused | reason |",
        "|---|---|",
    ]
    lines += [
        f"| {one.family} | {_cell(one.said)} |" for one in results if one.outcome == "refused"
    ]
    return "\n".join(lines) + "\n"


def _named(results: list[Result], outcome: str) -> str:
    return ", ".join(result.family for result in results if result.outcome == outcome)


def _cell(said: str) -> str:
    short = (
        said.partition(" docs/families.md")[0]
        .partition("; supported are")[0]
        .removeprefix("FOLDER")
        .strip(" :")
    )
    return short.replace("|", "/").replace("\n", " ")


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    wanted = set(sys.argv[1:])
    results = []
    for family, kind in families():
        if not wanted or family in wanted:
            with redirect_stdout(sys.stderr):
                results.append(drive(family, kind))
            print(
                f"{results[-1].family}: {results[-1].outcome} {results[-1].said[:160]}",
                file=sys.stderr,
                flush=True,
            )
    print(written(results), end="")


if __name__ == "__main__":
    main()
