"""Poisoning: how much accuracy is lost when a fifth of the devices lie, by aggregation rule.

    python benchmarks/poison.py run [--data digits] [--only TEXT]    run what is missing; a finished run is kept
    python benchmarks/poison.py report                               tables in Markdown, from the finished runs

Liars are devices whose worker does its work and then answers something else (`trust/attackers.py`, `--poison`); what
aggregates is the product's own. Records go to runs/poison. MNIST is used where it lies in `../shared/data` beside the
repository, else left out.
"""

import argparse
import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from distilfleet.recipes import fedavg, koala
from distilfleet.recipes.flags import Common, Smalls, Training
from distilfleet.recipes.simulate import simulate
from distilfleet.record.history import read
from distilfleet.trust.robust import CHOICES

ROOT = Path(__file__).resolve().parent.parent
MNIST = ROOT.parent / "shared" / "data" / "mnist" / "mnist_subset.npz"
RUNS = ROOT / "runs" / "poison"
ALPHAS = {"near-IID": 100.0, "Dirichlet 0.5": 0.5}
DEFAULT = "geometric-median"
GROSS = ("sign-flip", "random", "huge", "nan", "wrong-labels")
STEALTH = {"updates": ("a-little", "inner-product"), "soft labels": ("a-little", "runner-up")}
PLAIN = ("sign-flip", "wrong-labels")
"""Attacks that are tried on the mean everywhere."""
SOME = ("none", *PLAIN)
"""Those that are tried on every rule, with the stealthiest, and with more seeds."""
ROUNDS = {("digits", "updates"): 10, ("digits", "soft labels"): 8, ("mnist", "updates"): 5, ("mnist", "soft labels"): 5}
SEEDS = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run."""

    data: str
    wire: str
    alpha: str
    rule: str
    attack: str
    seed: int

    @property
    def folder(self) -> Path:
        words = (self.data, self.wire, self.alpha, self.rule, self.attack, str(self.seed))
        return RUNS / "-".join(words).replace(" ", "_")

    @property
    def accuracy(self) -> float | None:
        """After the last round: of the large model with soft labels, else of the small one."""
        file = self.folder / "metrics.jsonl"
        lines = read(self.folder).rounds if file.is_file() else []
        if len(lines) < ROUNDS[self.data, self.wire]:
            return None
        return float(lines[-1]["large_accuracy" if self.wire == "soft labels" else "small_accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("--data", default="digits,mnist")
    parser.add_argument("--only", default="", help="run only what has this in its folder name")
    asked = parser.parse_args()
    names = [name for name in asked.data.split(",") if name != "mnist" or MNIST.is_file()]
    torch.set_num_threads(1)
    if asked.verb == "run":
        for cell in cells(names):
            if cell.accuracy is None and asked.only in cell.folder.name:
                carry_out(cell)
                print(f"{cell.folder.name}: {cell.accuracy:.1%}", flush=True)
    else:
        for name, wire in itertools.product(names, STEALTH):
            print(table(name, wire), flush=True)


def cells(names: Sequence[str]) -> Iterator[Cell]:
    """The default under every attack, the mean beside it, and the other rules, on digits, under some."""
    for name, wire, alpha in itertools.product(names, STEALTH, ALPHAS):
        first = {"data": name, "wire": wire, "alpha": alpha, "seed": SEEDS[0]}
        yield Cell(**first, rule="mean", attack="none")
        for attack in ("none", *GROSS, *STEALTH[wire]):
            yield Cell(**first, rule=DEFAULT, attack=attack)
        for attack in PLAIN:
            yield Cell(**first, rule="mean", attack=attack)
    for wire, alpha in itertools.product(STEALTH, ALPHAS) if "digits" in names else ():
        for rule, attack in itertools.product(CHOICES, (*SOME, STEALTH[wire][-1])):
            yield Cell(data="digits", wire=wire, alpha=alpha, rule=rule, attack=attack, seed=SEEDS[0])
        for seed, attack, rule in itertools.product(SEEDS[1:], SOME, ("mean", DEFAULT)):
            yield Cell(data="digits", wire=wire, alpha=alpha, rule=rule, attack=attack, seed=seed)


def carry_out(cell: Cell) -> None:
    shutil.rmtree(cell.folder, ignore_errors=True)  # of a run that was stopped
    common = Common(
        data=str(MNIST) if cell.data == "mnist" else cell.data,
        devices=20,
        alpha=ALPHAS[cell.alpha],
        rounds=ROUNDS[cell.data, cell.wire],
        seed=cell.seed,
        poison=None if cell.attack == "none" else cell.attack,
    )
    training = Training(local_passes=1 if cell.data == "mnist" else 5)
    if cell.wire == "updates":
        simulate("fedavg", fedavg.Flags(common=common, training=training, aggregate=cell.rule), cell.folder)
    else:
        light = cell.data == "mnist"
        flags = koala.Flags(
            common=common,
            training=training,
            aggregate=cell.rule,
            wire="soft-labels",
            mixtures=256,
            smalls=Smalls(small=("mlp-s",) if light else ()),
            large="mlp-l" if light else None,
        )
        simulate("koala", flags, cell.folder)


def table(name: str, wire: str) -> str:
    attacks = ("none", *GROSS, *STEALTH[wire])
    lines = [
        f"\n**{name}, {wire}**\n",
        "| | rule | " + " | ".join(attacks) + " |",
        "|---|---|" + "---|" * len(attacks),
    ]
    for alpha, rule in itertools.product(ALPHAS, CHOICES):
        found = [accuracies(name, wire, alpha, rule, attack) for attack in attacks]
        if found[0]:
            lines.append(f"| {alpha} | {rule} | " + " | ".join(spread(one) for one in found) + " |")
    return "\n".join(lines)


def accuracies(name: str, wire: str, alpha: str, rule: str, attack: str) -> list[float]:
    runs = [Cell(data=name, wire=wire, alpha=alpha, rule=rule, attack=attack, seed=seed) for seed in SEEDS]
    return [one for one in (run.accuracy for run in runs) if one is not None]


def spread(found: Sequence[float]) -> str:
    if not found:
        return ""
    both = f" ({min(found):.1%} to {max(found):.1%})" if len(found) > 1 else ""
    return f"{np.mean(found):.1%}{both}".replace("%", "")


if __name__ == "__main__":
    main()
