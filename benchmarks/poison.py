"""Poisoning: how much accuracy is lost when a fifth of the devices lie, by aggregation rule.

    python benchmarks/poison.py run [--only TEXT]    run what is missing; a finished run is kept
    python benchmarks/poison.py report               tables in Markdown, from the finished runs

Liars are devices whose worker does its work and then answers something else (`trust/attackers.py`,
`--poison`); what aggregates is the product's own. Records go to runs/poison. MNIST is used where it
lies in `../shared/data` beside the repository, else left out.
"""

import argparse
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from distilfleet.recipes import fedavg, koala
from distilfleet.recipes.flags import Common, Smalls, Training
from distilfleet.recipes.simulate import simulate
from distilfleet.record.history import read
from distilfleet.trust.choices import ROBUST
from distilfleet.trust.robust import CHOICES

ROOT = Path(__file__).resolve().parent.parent
MNIST = ROOT.parent / "shared" / "data" / "mnist" / "mnist_subset.npz"
RUNS = ROOT / "runs" / "poison"
ALPHAS = {"near-IID": 100.0, "Dirichlet 0.5": 0.5}
DEFAULT = ROBUST
GROSS = ("sign-flip", "random", "huge", "nan", "wrong-labels")
STEALTH = {"updates": ("a-little", "inner-product"), "soft labels": ("a-little", "runner-up")}
KINDS = ("no liar", "gross", "stealth")
TELLING = ("none", "sign-flip", "wrong-labels", "inner-product", "runner-up")
"""Attacks that tell rules apart; these come first."""
REFUSED = ("huge", "nan")
"""Refused before any rule, so that both leave the same run: one will do for rules that are not the
default."""
SEEDS = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Data, what travels, and how long is trained: `fedavg` with updates, `koala` with soft
    labels."""

    data: str
    wire: str
    nets: str
    rounds: int
    local_passes: int

    @property
    def name(self) -> str:
        return f"{self.data}, {self.wire}, {self.nets}"

    @property
    def attacks(self) -> tuple[str, ...]:
        return ("none", *GROSS, *STEALTH[self.wire])


SETTINGS = (
    Setting(data="mnist", wire="updates", nets="perceptrons", rounds=8, local_passes=3),
    Setting(data="digits", wire="soft labels", nets="perceptrons", rounds=12, local_passes=5),
    Setting(data="mnist", wire="soft labels", nets="perceptrons", rounds=5, local_passes=1),
    Setting(data="digits", wire="updates", nets="convolutions", rounds=10, local_passes=5),
)
CONTROLS = (
    Setting(data="mnist", wire="updates", nets="convolutions", rounds=5, local_passes=1),
    Setting(data="digits", wire="soft labels", nets="convolutions", rounds=8, local_passes=5),
)
"""The default rule on other models: what tells rules apart, with one seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run."""

    setting: Setting
    alpha: str
    rule: str
    attack: str
    seed: int

    @property
    def folder(self) -> Path:
        words = (self.setting.name, self.alpha, self.rule, self.attack, str(self.seed))
        return RUNS / "-".join(words).replace(", ", "-").replace(" ", "_")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("--only", default="", help="run only what has this in its folder name")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.verb == "run":
        for cell in cells():
            if asked.only in cell.folder.name and accuracy(cell) is None:
                carry_out(cell)
                accuracy.cache_clear()
                print(f"{cell.folder.name}: {accuracy(cell):.1%}", flush=True)
    else:
        print(losses("the worst of all settings", SETTINGS))
        for setting in SETTINGS:
            print(losses(setting.name, [setting]))
        for setting in (*SETTINGS, *CONTROLS):
            print(accuracies(setting))


def cells() -> Iterator[Cell]:
    """What tells most first, so that a report before the end is of use. Some come twice."""
    first, second, *others = SEEDS
    yield from grid(first, telling=True)
    yield from grid(first, telling=False, rules=(DEFAULT,))
    yield from grid(second, telling=True)
    yield from grid(first, telling=False)
    yield from controls()
    for seed in others:
        yield from grid(seed, telling=True)
    for seed in SEEDS[1:]:
        yield from grid(seed, telling=False)


def grid(seed: int, telling: bool, rules: Sequence[str] = CHOICES) -> Iterator[Cell]:
    for setting, alpha, rule in itertools.product(here(SETTINGS), ALPHAS, rules):
        for attack in setting.attacks:
            if (attack in TELLING) == telling and (rule == DEFAULT or attack != REFUSED[0]):
                yield Cell(setting=setting, alpha=alpha, rule=rule, attack=attack, seed=seed)


def controls() -> Iterator[Cell]:
    for setting, alpha in itertools.product(here(CONTROLS), ALPHAS):
        yield Cell(setting=setting, alpha=alpha, rule="mean", attack="none", seed=SEEDS[0])
        for attack in (attack for attack in setting.attacks if attack in TELLING):
            yield Cell(setting=setting, alpha=alpha, rule=DEFAULT, attack=attack, seed=SEEDS[0])


def here(settings: Sequence[Setting]) -> list[Setting]:
    return [one for one in settings if one.data != "mnist" or MNIST.is_file()]


def carry_out(cell: Cell) -> None:
    shutil.rmtree(cell.folder, ignore_errors=True)  # of a run that was stopped
    setting, perceptrons = cell.setting, cell.setting.nets == "perceptrons"
    common = Common(
        data=str(MNIST) if setting.data == "mnist" else setting.data,
        devices=20,
        alpha=ALPHAS[cell.alpha],
        rounds=setting.rounds,
        seed=cell.seed,
        poison=None if cell.attack == "none" else cell.attack,
    )
    shared = {
        "common": common,
        "training": Training(local_passes=setting.local_passes),
        "aggregate": cell.rule,
    }
    if setting.wire == "updates":
        simulate(
            "fedavg", fedavg.Flags(**shared, small="mlp-s" if perceptrons else None), cell.folder
        )
    else:
        flags = koala.Flags(
            **shared,
            wire="soft-labels",
            mixtures=256,
            smalls=Smalls(small=("mlp-s",) if perceptrons else ()),
            large="mlp-l" if perceptrons else None,
        )
        simulate("koala", flags, cell.folder)


@cache
def accuracy(cell: Cell) -> float | None:
    """After the last round: of the large model with soft labels, else of the small one."""
    lines = read(cell.folder).rounds if (cell.folder / "metrics.jsonl").is_file() else []
    if len(lines) < cell.setting.rounds:
        return None
    return float(
        lines[-1]["large_accuracy" if cell.setting.wire == "soft labels" else "small_accuracy"]
    )


def found(setting: Setting, alpha: str, rule: str, attack: str) -> Mapping[int, float]:
    """Accuracy in % by seed, of the runs that are finished."""
    if attack == REFUSED[0] and rule != DEFAULT:
        attack = REFUSED[1]
    own = {
        seed: accuracy(Cell(setting=setting, alpha=alpha, rule=rule, attack=attack, seed=seed))
        for seed in SEEDS
    }
    return {seed: 100 * one for seed, one in own.items() if one is not None}


# --- tables ---------------------------------------------------------------------------------------


def losses(heading: str, settings: Sequence[Setting]) -> str:
    """Points lost beside the mean where nobody lies, by rule."""
    heads = [f"{kind}, {alpha}" for kind, alpha in itertools.product(KINDS, ALPHAS)]
    lines = [
        f"\n**{heading}: points lost**\n",
        f"| rule | {' | '.join(heads)} |",
        "|---" * (1 + len(heads)) + "|",
    ]
    for rule in CHOICES:
        columns = [
            worst(settings, alpha, rule, kind) for kind, alpha in itertools.product(KINDS, ALPHAS)
        ]
        if any(columns):
            lines.append(f"| {rule} | {' | '.join(columns)} |")
    return "\n".join(lines)


def worst(settings: Sequence[Setting], alpha: str, rule: str, kind: str) -> str:
    """Of the attack, and the setting, that costs most: the mean over seeds. In brackets the worst
    run."""
    lost = {
        (setting, attack): own
        for setting in settings
        for attack in {"no liar": ("none",), "gross": GROSS, "stealth": STEALTH[setting.wire]}[kind]
        if (own := lost_points(setting, alpha, rule, attack))
    }
    if not lost:
        return ""
    most = max(lost, key=lambda one: float(np.mean(lost[one])))
    which = "" if kind == "no liar" else f" {most[1]}"
    return f"{points(np.mean(lost[most]))} ({points(max(map(max, lost.values())))}){which}"


def points(lost: float) -> str:
    return f"{round(lost, 1) + 0.0:.1f}"  # no minus before a zero


def lost_points(setting: Setting, alpha: str, rule: str, attack: str) -> list[float]:
    honest, lied_to = found(setting, alpha, "mean", "none"), found(setting, alpha, rule, attack)
    return [honest[seed] - lied_to[seed] for seed in honest.keys() & lied_to.keys()]


def accuracies(setting: Setting) -> str:
    """Of the mean and the default: the mean over seeds, and how many."""
    lines = [
        f"\n**{setting.name}: accuracy in %**\n",
        "| | rule | " + " | ".join(setting.attacks) + " |",
    ]
    lines.append("|---" * (2 + len(setting.attacks)) + "|")
    for alpha, rule in itertools.product(ALPHAS, ("mean", DEFAULT)):
        columns = [told(found(setting, alpha, rule, attack)) for attack in setting.attacks]
        if any(columns):
            lines.append(f"| {alpha} | {rule} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def told(by_seed: Mapping[int, float]) -> str:
    return f"{np.mean(list(by_seed.values())):.1f} [{len(by_seed)}]" if by_seed else ""


if __name__ == "__main__":
    main()
