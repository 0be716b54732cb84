"""Quality: KOALA against its baselines, on the same data, devices and accounting.

    python benchmarks/quality.py run [--jobs 2] [--only TEXT]
        run what is missing; a finished run is kept
    python benchmarks/quality.py report
        tables in Markdown, from the finished runs

Every run is the product's own command line in a process of its own, one thread each; records go to
runs/quality. MNIST and the watch data are used where they lie in `../shared/data` beside the
repository, else left out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import kept
import numpy as np
from kept import SEEDS, SHARED, Job
from sklearn.datasets import load_digits

from distilfleet.record.history import History

RUNS = kept.ROOT / "runs" / "quality"
ONE_CLASS = RUNS / "one-class.npz"
"""Digits of twenty owners, each with half of the samples of one class."""
KINDS = ["--device-kinds", "rpi-zero-2w", "rpi-3b-plus", "rpi-4b", "rpi-5"]
DATASETS = {
    "digits": ["--rounds", "20", "--devices", "20", "--alpha", "0.5"],
    "watch": [
        *(
            "--data",
            str(SHARED / "wisdm-watch" / "windows.npz"),
            "--label",
            "y",
            "--group",
            "subject",
        ),
        *("--rounds", "12", "--local-passes", "2"),
    ],
    "mnist": [
        *(
            "--data",
            str(SHARED / "mnist" / "mnist_subset.npz"),
            "--devices",
            "20",
            "--alpha",
            "0.5",
        ),
        *("--rounds", "10", "--local-passes", "2"),
    ],
    "one-class": [
        "--data",
        str(ONE_CLASS),
        "--label",
        "y",
        "--group",
        "owner",
        "--rounds",
        "10",
        "--mixtures",
        "512",
    ],
}
HET = ["--mode", "heterogeneous"]
MAIN = {
    "fedavg large": ["fedavg", "--who", "large"],
    "fedavg small": ["fedavg"],
    "fedprox": ["fedprox"],
    "scaffold": ["scaffold"],
    "koala homogeneous": ["koala"],
    "koala heterogeneous": ["koala", *HET],
    "koala soft labels": ["koala", *HET, "--wire", "soft-labels"],
    "feddf": ["feddf", *HET],
    "fedmd": ["fedmd", *HET],
}
BOUNDS = {
    "local": ["local", *HET],
    "central large": ["central"],
}
REFINE = (
    "mean",
    "prior",
    "entropy",
    "variance",
    "mean+era",
    "mean+sharp",
    "prior+era",
    "prior+sharp",
    "entropy+sharp",
)
PLAIN = 5
"""So many of them are tried on every dataset, the rest on digits alone."""
SHORTER = {"digits": ["--rounds", "10"]}
"""Of refine; elsewhere it has the rounds of the main table."""
ABLATIONS = {
    "as it is": [],
    "no calibration": ["--no-calibrate"],
    "no mixtures": ["--mixtures", "0"],
    "moving average teaches (0.5)": ["--ema", "0.5"],
    "early stop": ["--early-stop"],
    "no intermediate-layer loss": ["--feature-weight", "0"],
    "no forward distillation": ["--forward-passes", "0"],
    "paper's form: all of these off": ["--no-calibrate", "--mixtures", "0", "--refine", "mean"],
}
CALIBRATION = {"as it is": ["koala"], "no calibration": ["koala", "--no-calibrate"]}
"""Tried where every device has one class."""
AVERAGING = frozenset({"koala", "fedavg", "fedprox", "scaffold", "feddf", "fedmd"})
"""Methods that are compared as they were published, with plain means."""


def jobs() -> Iterator[Job]:
    """What to run, the most wanted first."""
    write_one_class()
    for seed in SEEDS:
        yield from (
            job("one-class", "calibration", one, words, seed) for one, words in CALIBRATION.items()
        )
    present = [name for name in ("digits", "watch", "mnist") if name == "digits" or SHARED.is_dir()]
    for seed in SEEDS:
        yield from (
            job(name, "main", one, words, seed) for name in present for one, words in MAIN.items()
        )
    yield from (
        job(name, "main", one, words, SEEDS[0]) for name in present for one, words in BOUNDS.items()
    )
    yield from (
        refined(name, choice, SEEDS[0]) for name in present[1:] for choice in REFINE[:PLAIN]
    )
    for seed in SEEDS:
        yield from (refined("digits", choice, seed) for choice in REFINE)
        yield from (
            job("digits", "ablation", one, ["koala", *words], seed)
            for one, words in ABLATIONS.items()
        )


def write_one_class() -> None:
    images, labels = load_digits(return_X_y=True)
    owner = np.zeros(len(labels), np.int64)
    for one in range(10):
        rows = np.random.default_rng(one).permutation(np.flatnonzero(labels == one))
        owner[rows] = 2 * one + np.arange(len(rows)) % 2
    ONE_CLASS.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        ONE_CLASS, x=(images / 16).astype(np.float32).reshape(-1, 1, 8, 8), y=labels, owner=owner
    )


def refined(dataset: str, choice: str, seed: int) -> Job:
    words = ["koala", *HET, *SHORTER.get(dataset, []), "--refine", choice]
    return job(dataset, "refine", choice, words, seed)


def job(dataset: str, table: str, variant: str, words: Sequence[str], seed: int) -> Job:
    recipe, *rest = words
    out = folder(dataset, table, variant, seed)
    rest += ["--aggregate", "mean"] if recipe in AVERAGING else []
    return out, ["run", recipe, *DATASETS[dataset], *KINDS, *rest, "--seed", str(seed)]


def folder(dataset: str, table: str, variant: str, seed: int) -> Path:
    return RUNS / dataset / table / f"{variant.replace(' ', '-')}-{seed}"


# --- tables ---------------------------------------------------------------------------------------


def report() -> str:
    parts = [main_table(name) for name in DATASETS] + [equal_bytes(name) for name in DATASETS]
    parts += [variants(name, "refine", REFINE) for name in DATASETS]
    parts += [variants("digits", "ablation", list(ABLATIONS))]
    parts += [variants("one-class", "calibration", list(CALIBRATION))]
    return "\n\n".join(part for part in parts if part)


def main_table(dataset: str) -> str:
    rows = []
    for variant in (*MAIN, *BOUNDS):
        runs = histories(dataset, "main", variant)
        if runs:
            rows.append(
                f"| {variant} | {of(runs, 'large_accuracy')} | {of(runs, 'small_accuracy')} "
                f"| {np.mean([sent_bytes(run)[-1] for run in runs]) / 1e6:.2f} | {len(runs)} |"
            )
    head = (
        f"**{dataset}**\n\n| method | large, % | small, % | MB sent in all | seeds "
        "|\n|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) if rows else ""


def equal_bytes(dataset: str) -> str:
    """Small models of two methods at the bytes that the thriftier one has sent at its end."""
    rows = []
    for ours, theirs in (("koala heterogeneous", "feddf"), ("koala soft labels", "fedmd")):
        pairs = list(
            zip(histories(dataset, "main", ours), histories(dataset, "main", theirs), strict=False)
        )
        if pairs:
            budgets = [min(sent_bytes(a)[-1], sent_bytes(b)[-1]) for a, b in pairs]
            mine = [at_bytes(a, budget) for (a, _), budget in zip(pairs, budgets, strict=True)]
            other = [at_bytes(b, budget) for (_, b), budget in zip(pairs, budgets, strict=True)]
            rows.append(
                f"| {ours} / {theirs} | {np.mean(budgets) / 1e6:.2f} | {spread(mine)} | "
                f"{spread(other)} |"
            )
    head = (
        f"**{dataset}, small models at equal bytes**\n\n| pair | MB | ours, % | theirs, % "
        "|\n|---|---|---|---|\n"
    )
    return head + "\n".join(rows) if rows else ""


def variants(dataset: str, table: str, names: Sequence[str]) -> str:
    rows = []
    for variant in names:
        runs = histories(dataset, table, variant)
        if runs:
            rows.append(
                f"| {variant} | {of(runs, 'large_accuracy')} | {of(runs, 'small_accuracy')} | "
                f"{len(runs)} |"
            )
    head = (
        f"**{dataset}, {table}**\n\n| choice | large, % | small, % | seeds |\n|---|---|---|---|\n"
    )
    return head + "\n".join(rows) if rows else ""


def histories(dataset: str, table: str, variant: str) -> list[History]:
    return kept.histories(folder(dataset, table, variant, seed) for seed in SEEDS)


def of(runs: Sequence[History], field: str) -> str:
    values = [run.rounds[-1][field] for run in runs if field in run.rounds[-1]]
    return spread(values) if values else ""


def spread(values: Sequence[float]) -> str:
    """Mean, and the lowest and highest."""
    return f"{np.mean(values):.1%} ({min(values):.1%} to {max(values):.1%})".replace("%", "")


def sent_bytes(run: History) -> np.ndarray:
    return np.cumsum([line["up_bytes"] + line["down_bytes"] for line in run.rounds])


def at_bytes(run: History, budget_bytes: float) -> float:
    """Accuracy of the small models after the last round within the budget; guessing before the
    first."""
    within = int((sent_bytes(run) <= budget_bytes).sum())
    chance = 1 / len(run.about["data"]["classes"])
    return float(run.rounds[within - 1]["small_accuracy"]) if within else chance


if __name__ == "__main__":
    kept.main(__doc__, jobs, report)
