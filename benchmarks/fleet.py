"""How fast a fleet's surroundings step: everything that changes from one round to the next, for
every device.

    python benchmarks/fleet.py                       1,000 to 1,000,000 devices
    python benchmarks/fleet.py --sizes 100000 --repeats 5

A full step is: mobility, chance and state of line of sight, TR 38.901 path loss, correlated
shadowing, Rician and Rayleigh fading, quality indices up and down, equal shares of each cell,
retransmissions, compute and send times of a load, slow-down by other programs and heat, energy in
its parts, batteries, churn. One process, one thread. A figure is the best of the repeats, each the
mean of several steps; the goal is 100 steps a second for 100,000 devices. On a shared machine the
processor's own time is less than what passes, and says what an idle one would take.
"""

import argparse
import os
import platform
import time
from dataclasses import replace

import numpy as np

from distilfleet.core.types import Load
from distilfleet.cost.catalogue import device, trainable_kinds
from distilfleet.cost.surroundings import Setting, Surroundings

SIZES = (1_000, 10_000, 100_000, 1_000_000)
GOAL_STEPS = {100_000: 100.0, 1_000_000: 8.0}
LOAD = Load(flops=1e11, moved_bytes=1e9, up_bytes=100_000)
ROUND_S = 60.0


def fleet(count: int) -> Surroundings:
    kinds = trainable_kinds()
    of_kind = {kind: device(kind, kind) for kind in kinds}
    devices = {f"d{i}": of_kind[kinds[i % len(kinds)]] for i in range(count)}
    return Surroundings(devices, replace(Setting(), devices_per_cell=100), 1)


def step_s(world: Surroundings, steps: int) -> tuple[float, float]:
    """Mean seconds of a full step, and how many of them the processor spent on it."""
    began_s, began_busy_s = time.perf_counter(), time.process_time()
    for _ in range(steps):
        world.step(ROUND_S, *world.durations(LOAD))
    return (time.perf_counter() - began_s) / steps, (time.process_time() - began_busy_s) / steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"NumPy {np.__version__}, Python {platform.python_version()}, one thread, load {load}\n")
    print(
        "| devices | ms a step, best | worst | of the processor | steps/s | device-steps/s | goal |"
    )
    print("|---|---|---|---|---|---|---|")
    for count in asked.sizes:
        world = fleet(count)
        steps = max(2, min(200, 500_000 // count))
        step_s(world, 2)
        took_s = [step_s(world, steps) for _ in range(asked.repeats)]
        (best, worst), goal = (min(took_s)[0], max(took_s)[0]), GOAL_STEPS.get(count)
        busy = min(busy for _, busy in took_s)
        reached = "" if goal is None else f"{goal:g}: {'met' if 1 / best >= goal else 'missed'}"
        print(
            f"| {count:,} | {1e3 * best:.3f} | {1e3 * worst:.3f} | {1e3 * busy:.3f} | "
            f"{1 / best:,.0f} | {count / best / 1e6:.1f} M | {reached} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
