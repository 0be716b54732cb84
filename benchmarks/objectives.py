"""Speed of methods with a local objective of their own, beside federated averaging: seconds a simulated round.

    python benchmarks/objectives.py [--repeats 5] [--rounds 5] [--small perceptron conv-s]

Digits over 100 devices, all of them in each round, as the recipes have it, with plain averages. The methods take turns
in one process, so that all of them meet the same neighbours on the machine; the first turn, which warms torch up, does
not count. A figure is the median round over all turns, and the spread that of the turns' medians.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from distilfleet.recipes.find import recipe
from distilfleet.recipes.flags import unflatten
from distilfleet.recipes.run import about, train
from distilfleet.record.run import create

METHODS = ("fedavg", "fedprox", "scaffold")
DEVICES = 100
MOST = 1.5
"""Times federated averaging."""


def main() -> None:
    asked = _asked()
    for small in asked.small:
        turns: dict[str, list[list[float]]] = {method: [] for method in METHODS}
        for turn in range(asked.repeats + 1):
            for method in METHODS:
                taken_s = list(rounds_s(method, small, asked.rounds))
                if turn:
                    turns[method].append(taken_s)
        print(table(small, turns), flush=True)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each method")
    parser.add_argument("--rounds", type=int, default=5, help="in each turn")
    parser.add_argument("--small", nargs="+", default=["perceptron", "conv-s"], help="models of the devices")
    return parser.parse_args()


def rounds_s(method: str, small: str, rounds: int) -> Iterator[float]:
    """Wall seconds of each round of a run, its test and its record included, its start not."""
    found = recipe(method)
    flat = {"devices": DEVICES, "rounds": rounds, "small": small, "aggregate": "mean", "threads": 1}
    run = found.build(unflatten(found.flags, flat))
    with tempfile.TemporaryDirectory() as folder:
        record = create(Path(folder) / "run", about(run, method, flat, ""), run.facts)
        since_s = time.perf_counter()
        for _ in train(run, record, None, time.perf_counter):
            now_s = time.perf_counter()
            yield now_s - since_s
            since_s = now_s
        record.close()


def table(small: str, turns: dict[str, list[list[float]]]) -> str:
    medians = {method: statistics.median([one for turn in own for one in turn]) for method, own in turns.items()}
    rows = [
        f"\n{small}, {DEVICES} devices a round (load {os.getloadavg()[0]:.1f})\n",
        "| method | ms a round | spread over turns | to fedavg | at most |",
        "|---|---|---|---|---|",
    ]
    for method, own in turns.items():
        each = [1e3 * statistics.median(turn) for turn in own]
        ratio = medians[method] / medians["fedavg"]
        rows.append(
            f"| `{method}` | {1e3 * medians[method]:.1f} | {min(each):.1f} to {max(each):.1f} | {ratio:.2f} | {MOST} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
