"""Large models that come trained: what KOALA makes of one, beside the conventional ways.

    python benchmarks/large.py run --encoder FOLDER --intents FOLDER [--seeds 1 2 3]
    python benchmarks/large.py report [--domain clinc150]      a table in Markdown

Twenty devices with thirteen labelled utterances of each intent between them (Dirichlet 0.5), and
twenty unlabelled ones of each as proxy. The encoder is a folder of `transformers`, frozen, with a
new head. The utterances are CLINC150 (`clinc150_full.json`) and BANKING77 (`banking77_train.csv`,
`banking77_test.csv`). A finished run is kept. Records go to runs/large.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import kept
import numpy as np
from kept import Job

from distilfleet.report import figures

RUNS = kept.ROOT / "runs" / "large"
LABELLED = 13
"""Utterances of an intent that devices own together."""
UNLABELLED = 20
"""Utterances of an intent that are proxy."""
DEVICES = ["--label", "intent", "--devices", "20", "--alpha", "0.5", "--rounds", "20"]
LOCAL = ["--local-passes", "5", "--local-batch", "16", "--local-lr", "0.3"]
SMALL = ["--small", "words-s", *LOCAL]
WAYS = ("koala", "fedavg-small", "fedavg-large", "central-large")
Texts = Sequence[tuple[str, str]]
"""Utterances and their intents."""


def jobs(domain: str, encoder: str, seeds: Sequence[int]) -> Iterator[Job]:
    """Every way of each seed."""
    files = RUNS / domain
    large = ["--large", f"hf:{encoder}", "--train", "head"]
    for seed in seeds:
        base = ["--data", str(files / f"train-{seed}.csv"), "--test", str(files / "test.csv")]
        base += [*DEVICES, "--seed", str(seed)]
        proxy = ["--proxy", str(files / f"proxy-{seed}.txt"), "--feature-weight", "0"]
        ways = {
            "koala": ["run", "koala", *base, *proxy, *SMALL, *large],
            "fedavg-small": ["run", "fedavg", *base, "--who", "small", *SMALL],
            "fedavg-large": ["run", "fedavg", *base, "--who", "large", *large, *LOCAL],
            "central-large": ["run", "central", *base, "--who", "large", *large, *LOCAL],
        }
        for way, words in ways.items():
            yield files / f"{way}-{seed}", words


def report(domain: str) -> str:
    """The mean over the finished seeds of each way."""
    lines = [
        "| way | seeds | large | small | bytes a device | joules a device |",
        "|---|" + "--:|" * 5,
    ]
    for way in WAYS:
        runs = kept.histories(sorted((RUNS / domain).glob(f"{way}-*")))
        if not runs:
            continue
        cells = [way, str(len(runs))]
        for field in ("large_accuracy", "small_accuracy"):
            found = [value for run in runs if (value := figures.last(run, field)) is not None]
            cells.append(figures.percent(fmean(found)) if found else "–")
        for fields in (("up_bytes", "down_bytes"), ("device_energy_j",)):
            found = [figures.per_device(run, *fields) or 0.0 for run in runs]
            cells.append(figures.pretty(fields[0], fmean(found)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("--encoder", default="")
    parser.add_argument("--intents", type=Path, default=kept.SHARED / "intents")
    parser.add_argument("--domain", choices=list(READERS), default="clinc150")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(kept.SEEDS))
    asked = parser.parse_args()
    if asked.verb == "report":
        print(report(asked.domain))
        return
    write(asked.domain, asked.intents, RUNS / asked.domain, asked.seeds)
    for job in jobs(asked.domain, asked.encoder, asked.seeds):
        if not kept.finished(job[0]):
            kept.carry_out(job)


def write(domain: str, source: Path, folder: Path, seeds: Sequence[int]) -> None:
    """Training, proxy and test files of a domain, as the command line reads them."""
    train, test = READERS[domain](source)
    folder.mkdir(parents=True, exist_ok=True)
    _table(folder / "test.csv", test)
    for seed in seeds:
        labelled, unlabelled = _drawn(train, np.random.default_rng(seed))
        _table(folder / f"train-{seed}.csv", labelled)
        lines = [text for text, _ in unlabelled]
        (folder / f"proxy-{seed}.txt").write_text("\n".join(lines) + "\n")


def clinc150(source: Path) -> tuple[Texts, Texts]:
    found = json.loads((source / "clinc150_full.json").read_text())
    return [tuple(one) for one in found["train"]], [tuple(one) for one in found["test"]]


def banking77(source: Path) -> tuple[Texts, Texts]:
    parts = []
    for name in ("train", "test"):
        with (source / f"banking77_{name}.csv").open(newline="") as file:
            parts.append(
                [(" ".join(text.split()), label) for text, label in list(csv.reader(file))[1:]]
            )
    return parts[0], parts[1]


READERS = {"clinc150": clinc150, "banking77": banking77}


def _drawn(texts: Texts, rng: np.random.Generator) -> tuple[Texts, Texts]:
    """Labelled ones of each intent, and others without their labels."""
    by_intent: dict[str, list[tuple[str, str]]] = {}
    for text, intent in texts:
        by_intent.setdefault(intent, []).append((text, intent))
    labelled: list[tuple[str, str]] = []
    unlabelled: list[tuple[str, str]] = []
    for own in by_intent.values():
        order = [own[row] for row in rng.permutation(len(own))]
        labelled += order[:LABELLED]
        unlabelled += order[LABELLED : LABELLED + UNLABELLED]
    return labelled, [unlabelled[row] for row in rng.permutation(len(unlabelled))]


def _table(file: Path, texts: Texts) -> None:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([("text", "intent"), *texts])


if __name__ == "__main__":
    main()
