"""Quality on text: split KD against its baselines and in its variants, on the same data with the
same budget.

    python benchmarks/quality_text.py run [--jobs 2] [--only TEXT]
        run what is missing; a finished run is kept
    python benchmarks/quality_text.py report
        tables in Markdown, from the finished runs

Every run is the product's own command line in a process of its own, one thread each; records go to
runs/quality-text. All runs of a text take the recipes' defaults: as many steps, with as many
windows of a device in each. Tiny Shakespeare is used where it lies in `../shared/data` beside the
repository, else left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import kept
import numpy as np
from kept import SEEDS, SHARED, Job

from distilfleet.record.history import History, read

RUNS = kept.ROOT / "runs" / "quality-text"
TEXTS: Mapping[str, list[str]] = {
    "stdlib": [],
    "tinyshakespeare": ["--data", str(SHARED / "text" / "tinyshakespeare.txt")],
}
CE_ONLY = ["splitkd", "--kd-weight", "0"]
MAIN: Mapping[str, list[str]] = {
    "split KD": ["splitkd"],
    "central KD": ["central_kd"],
    "split learning, cross-entropy alone": CE_ONLY,
    "central, cross-entropy alone": ["central_kd", "--kd-weight", "0"],
    "sequential split learning, no teacher": [*CE_ONLY, "--cluster", "1"],
    "federated averaging of the student": ["fedavg_text", "--aggregate", "mean"],
    "KOALA's exchange of soft labels": ["koala_text"],
}
VARIANTS: Mapping[str, list[str]] = {
    "as it is": [],
    "half floats on the wire": ["--smashed", "fp16"],
    "4 bits on the wire": ["--smashed", "int4"],
    "largest probabilities remembered": ["--teacher-cache", "top"],
    "hidden states remembered": ["--teacher-cache", "hidden"],
    "nothing remembered": ["--teacher-cache", "none"],
    "one micro-batch": ["--micro-batches", "1"],
    "four micro-batches": ["--micro-batches", "4"],
    "late gradients": ["--pipelined"],
    "a layer of the student on devices": ["--cut", "1"],
    "two layers, of a student that has them": ["--cut", "2", "--student", "llama:64x2"],
    "no layer, of that student": ["--cut", "0", "--student", "llama:64x2"],
    "labels kept": ["--labels", "kept"],
    "adapters of rank 8 alone": ["--lora", "8"],
}


def jobs() -> Iterator[Job]:
    """What to run, the most wanted first."""
    texts = [text for text, words in TEXTS.items() if not words or Path(words[1]).is_file()]
    for seed in SEEDS:
        yield from (
            job(text, "main", name, words, seed) for text in texts for name, words in MAIN.items()
        )
    for seed in SEEDS:
        yield from (
            job("stdlib", "variants", name, ["splitkd", *words], seed)
            for name, words in VARIANTS.items()
        )


def job(text: str, table: str, name: str, words: Sequence[str], seed: int) -> Job:
    recipe, *rest = words
    return folder(text, table, name, seed), [
        "run",
        recipe,
        *TEXTS[text],
        *rest,
        "--seed",
        str(seed),
    ]


def folder(text: str, table: str, name: str, seed: int) -> Path:
    return RUNS / text / table / f"{name.replace(' ', '-').replace(',', '')}-{seed}"


# --- tables ---------------------------------------------------------------------------------------


def report() -> str:
    parts = [table(text, "main", list(MAIN)) + bar(text) for text in TEXTS]
    return "\n\n".join(
        part for part in [*parts, table("stdlib", "variants", list(VARIANTS))] if part
    )


def table(text: str, part: str, names: Sequence[str]) -> str:
    found = {name: histories(text, part, name) for name in names}
    rows = [f"| {name} | {' | '.join(cells(runs))} |" for name, runs in found.items() if runs]
    head = (
        f"**{text}, {part}**\n\n| run | student, nats per token | teacher | MB sent | joules | "
        "simulated s | seeds |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) if rows else ""


def cells(runs: Sequence[History]) -> list[str]:
    joules = [total(run, "device_energy_j") + total(run, "server_energy_j") for run in runs]
    sent = [total(run, "up_bytes") + total(run, "down_bytes") for run in runs]
    seconds = [run.rounds[-1]["elapsed_s"] for run in runs]
    return [
        spread(last(runs, "small_loss")),
        spread(last(runs, "large_loss")),
        f"{np.mean(sent) / 1e6:.1f}",
        f"{np.mean(joules):.0f}",
        f"{np.mean(seconds):.3g}",
        str(len(runs)),
    ]


def bar(text: str) -> str:
    """The student against central KD and against cross-entropy alone, seed by seed."""
    ours = by_seed(text, "split KD")
    central, plain = (
        by_seed(text, "central KD"),
        by_seed(text, "split learning, cross-entropy alone"),
    )
    above = [ours[seed] / central[seed] - 1 for seed in SEEDS if seed in ours and seed in central]
    better = [plain[seed] - ours[seed] for seed in SEEDS if seed in ours and seed in plain]
    if not above or not better:
        return ""
    return (
        "\n"
        "\n"
        f"Split KD's student is {np.mean(above):+.2%} from central KD's ({min(above):+.2%} to "
        f"{max(above):+.2%}; at most +1 % wanted) and {np.mean(better):.3f} nats better than "
        f"cross-entropy alone ({min(better):.3f} to {max(better):.3f}; at least 0.02 wanted)."
    )


def by_seed(text: str, name: str) -> dict[int, float]:
    found = {seed: folder(text, "main", name, seed) for seed in SEEDS}
    return {
        seed: read(out).rounds[-1]["small_loss"]
        for seed, out in found.items()
        if kept.finished(out)
    }


def histories(text: str, part: str, name: str) -> list[History]:
    return kept.histories(folder(text, part, name, seed) for seed in SEEDS)


def last(runs: Sequence[History], field: str) -> list[float]:
    return [run.rounds[-1][field] for run in runs if field in run.rounds[-1]]


def total(run: History, field: str) -> float:
    return float(sum(line[field] for line in run.rounds))


def spread(values: Sequence[float]) -> str:
    """Mean, and the lowest and highest."""
    if not values:
        return ""
    return f"{np.mean(values):.3f}" + (
        f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    )


if __name__ == "__main__":
    kept.main(__doc__, jobs, report)
