"""What KOALA learns where devices have few classes each, by aggregation rule.

    python benchmarks/few_classes.py run [--jobs 2] [--only TEXT]
        run what is missing; a finished run is kept
    python benchmarks/few_classes.py report
        a table in Markdown, from the finished runs

Digits of twenty owners, and two classes told apart by two numbers of eight owners, with three
seeds. Records go to runs/few-classes.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import kept
import numpy as np
from kept import SEEDS, Job
from sklearn.datasets import load_digits

RUNS = kept.ROOT / "runs" / "few-classes"
RULES = ("mean", "geometric-median", "centred-clipping", "guarded-median")
OWNED = ["--label", "y", "--group", "owner"]
LONG = ["--rounds", "10", "--mixtures", "512"]
Made = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Inputs, labels, owners."""


def jobs() -> Iterator[Job]:
    for seed in SEEDS:
        for setting in SETTINGS:
            words = flags(setting, seed)
            for rule in RULES:
                yield (
                    folder(setting, rule, seed),
                    ["run", "koala", *words, "--aggregate", rule, "--seed", str(seed)],
                )


def flags(setting: str, seed: int) -> list[str]:
    make, words = SETTINGS[setting]
    if make is None:
        return list(words)
    file = RUNS / f"{setting.replace(' ', '-')}-{seed}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    inputs, labels, owners = make(np.random.default_rng(seed))
    np.savez(file, x=inputs.astype(np.float32), y=labels, owner=owners)
    return ["--data", str(file), *OWNED, *words]


def folder(setting: str, rule: str, seed: int) -> Path:
    return RUNS / f"{setting.replace(' ', '-')}-{rule}-{seed}"


# --- data -----------------------------------------------------------------------------------------


def two_camps(rng: np.random.Generator) -> Made:
    labels = np.arange(200) % 2
    return rng.normal(size=(200, 2)) + labels[:, None] * [3.0, -2.0], labels, np.arange(200) % 8


def one_class(rng: np.random.Generator) -> Made:
    """Owners 2c and 2c + 1 share the samples of class c."""
    return shared_out(rng, lambda c: [2 * c, 2 * c + 1])


def two_classes(rng: np.random.Generator) -> Made:
    return shared_out(rng, lambda c: [2 * c, 2 * c + 1, (2 * c + 3) % 20, (2 * c + 6) % 20])


def one_sample(rng: np.random.Generator) -> Made:
    """As one class each, and one sample of another class for every owner."""
    inputs, labels, owners = one_class(rng)
    for owner in range(20):
        other = (owner // 2 + 3) % 10
        owners[rng.choice(np.flatnonzero((labels == other) & (owners // 2 == other)))] = owner
    return inputs, labels, owners


def shared_out(rng: np.random.Generator, owners_of: Callable[[int], Sequence[int]]) -> Made:
    images, labels = load_digits(return_X_y=True)
    owners = np.zeros(len(labels), np.int64)
    for c in range(10):
        rows, own = rng.permutation(np.flatnonzero(labels == c)), np.array(owners_of(c))
        owners[rows] = own[np.arange(len(rows)) % len(own)]
    return (images / 16).reshape(-1, 1, 8, 8), labels, owners


SETTINGS: dict[str, tuple[Callable[[np.random.Generator], Made] | None, Sequence[str]]] = {
    "two classes, eight owners of one": (two_camps, ["--rounds", "4"]),
    "digits, one class each": (one_class, LONG),
    "digits, one class and a sample": (one_sample, LONG),
    "digits, two classes or more": (two_classes, LONG),
    "digits, Dirichlet 0.1": (None, ["--devices", "20", "--alpha", "0.1", *LONG]),
}


# --- table ----------------------------------------------------------------------------------------


def report() -> str:
    head = f"| setting | {' | '.join(RULES)} |\n|{'---|' * (1 + len(RULES))}\n"
    return head + "\n".join(
        f"| {setting} | {' | '.join(told(setting, rule) for rule in RULES)} |"
        for setting in SETTINGS
    )


def told(setting: str, rule: str) -> str:
    """Of the large model after the last round: the mean over seeds, and the lowest and highest."""
    runs = kept.histories(folder(setting, rule, seed) for seed in SEEDS)
    found = [100 * float(run.rounds[-1]["large_accuracy"]) for run in runs]
    return f"{np.mean(found):.1f} ({min(found):.1f} to {max(found):.1f})" if found else ""


if __name__ == "__main__":
    kept.main(__doc__, jobs, report)
