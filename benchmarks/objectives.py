"""Speed of methods with a local objective of their own, beside federated averaging: seconds a simulated round.

    python benchmarks/objectives.py [--repeats 5] [--rounds 5] [--small perceptron conv-s]

Digits over 100 devices, all of them in each round, as the recipes have it, with plain averages. The methods take turns
in one process, so that all of them meet the same neighbours on the machine; the first turn, which warms torch up, does
not count. A figure is the median round over all turns, and the spread that of the turns' medians. The processor's time
is what neighbours disturb least.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distilfleet.recipes.find import recipe
from distilfleet.recipes.flags import unflatten
from distilfleet.recipes.run import about, train
from distilfleet.record.run import create

METHODS = ("fedavg", "fedprox", "scaffold")
DEVICES = 100


@dataclass(frozen=True, slots=True)
class Round:
    wall_s: float
    processor_s: float


def main() -> None:
    asked = _asked()
    for small in asked.small:
        turns: dict[str, list[list[Round]]] = {method: [] for method in METHODS}
        for turn in range(asked.repeats + 1):
            for method in METHODS:
                taken = list(rounds(method, small, asked.rounds))
                if turn:
                    turns[method].append(taken)
        print(table(small, turns), flush=True)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each method")
    parser.add_argument("--rounds", type=int, default=5, help="in each turn")
    parser.add_argument("--small", nargs="+", default=["perceptron", "conv-s"], help="models of the devices")
    return parser.parse_args()


def rounds(method: str, small: str, count: int) -> Iterator[Round]:
    """What each round of a run takes, its test and its record included, its start not."""
    found = recipe(method)
    flat = {"devices": DEVICES, "rounds": count, "small": small, "aggregate": "mean", "threads": 1}
    run = found.build(unflatten(found.flags, flat))
    with tempfile.TemporaryDirectory() as folder:
        record = create(Path(folder) / "run", about(run, method, flat, ""), run.facts)
        steps = train(run, record, None, time.perf_counter)
        for _ in range(count):
            since_s, worked_s = time.perf_counter(), time.process_time()
            next(steps)
            yield Round(time.perf_counter() - since_s, time.process_time() - worked_s)
        steps.close()
        record.close()


def table(small: str, turns: dict[str, list[list[Round]]]) -> str:
    every = {method: [one for turn in own for one in turn] for method, own in turns.items()}
    wall_s = {method: statistics.median(one.wall_s for one in own) for method, own in every.items()}
    processor_s = {method: statistics.median(one.processor_s for one in own) for method, own in every.items()}
    rows = [
        f"\n{small}, {DEVICES} devices a round (load {os.getloadavg()[0]:.1f})\n",
        "| method | ms a round | spread over turns | to `fedavg` | processor, ms | to `fedavg` |",
        "|---|---|---|---|---|---|",
    ]
    for method, own in turns.items():
        each_ms = [1e3 * statistics.median(one.wall_s for one in turn) for turn in own]
        rows.append(
            f"| `{method}` | {1e3 * wall_s[method]:.1f} | {min(each_ms):.1f} to {max(each_ms):.1f} "
            f"| {wall_s[method] / wall_s['fedavg']:.2f} | {1e3 * processor_s[method]:.1f} "
            f"| {processor_s[method] / processor_s['fedavg']:.2f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
