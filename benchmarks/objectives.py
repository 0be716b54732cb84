"""Speed of methods with a local objective of their own, beside federated averaging: a simulated
round of 100 devices.

    python benchmarks/objectives.py [--rounds 40] [--small perceptron conv-s]

Digits over 100 devices, all of them in each round, as the recipes have it, with plain averages, in
one process. The methods take turns, a round of each, so that all of them meet the same neighbours
on the machine; two turns that warm up do not count. A figure is a median over rounds, with the
quartiles; a ratio the median over turns of a method's round to the same turn's of federated
averaging. The processor's time is what neighbours disturb least.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from distilfleet.recipes.find import recipe
from distilfleet.recipes.flags import common, unflatten
from distilfleet.recipes.simulated import simulated
from distilfleet.record.run import create
from distilfleet.training.loop import about, train

METHODS = ("fedavg", "fedprox", "scaffold")
DEVICES = 100
WARM = 2


def main() -> None:
    asked = _asked()
    for small in asked.small:
        with tempfile.TemporaryDirectory() as folder:
            methods = [
                rounds_s(method, small, asked.rounds + WARM, Path(folder) / method)
                for method in METHODS
            ]
            turns_TM2 = np.array(
                [[next(one) for one in methods] for _ in range(asked.rounds + WARM)]
            )
            for one in methods:
                one.close()
        print(table(small, turns_TM2[WARM:]), flush=True)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40, help="of each method")
    parser.add_argument(
        "--small", nargs="+", default=["perceptron", "conv-s"], help="models of the devices"
    )
    return parser.parse_args()


def rounds_s(
    method: str, small: str, count: int, folder: Path
) -> Generator[tuple[float, float], None, None]:
    """Wall and processor seconds of each round of a run, its test and its record included, its
    start not."""
    found = recipe(method)
    flat = {
        "devices": DEVICES,
        "rounds": count + 1,
        "small": small,
        "aggregate": "mean",
        "threads": 1,
    }
    flags = unflatten(found.flags, flat)
    run = simulated(found.build(flags), common(flags))
    record = create(folder, about(run.experiment, method, flat, ""), run.facts)
    with closing(train(run.experiment, run.fleet, record, None, time.perf_counter)) as steps:
        for _ in range(count):
            wall_s, processor_s = time.perf_counter(), time.process_time()
            next(steps)
            yield time.perf_counter() - wall_s, time.process_time() - processor_s


def table(small: str, turns_TM2: np.ndarray) -> str:
    rows = [
        f"\n{small}, {DEVICES} devices a round, {len(turns_TM2)} rounds (load "
        f"{os.getloadavg()[0]:.1f})\n",
        "| method | ms a round | to `fedavg` | processor, ms | to `fedavg` |",
        "|---|---|---|---|---|",
    ]
    for at, method in enumerate(METHODS):
        wall_T, processor_T = turns_TM2[:, at].T
        base_wall_T, base_processor_T = turns_TM2[:, 0].T
        rows.append(
            f"| `{method}` | {spread(1e3 * wall_T, 1)} | {spread(wall_T / base_wall_T, 2)} "
            f"| {spread(1e3 * processor_T, 1)} | {spread(processor_T / base_processor_T, 2)} |"
        )
    return "\n".join(rows)


def spread(values: Sequence[float] | np.ndarray, digits: int) -> str:
    """Median, and the quartiles."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
