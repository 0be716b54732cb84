"""How fast and how good the planner of cuts is: against HiGHS, against its own proof, and the
clock.

    python benchmarks/planner.py            everything; a minute or two, most of it HiGHS
    python benchmarks/planner.py --quick    without HiGHS at 400 devices

Times are the best of five, in one process with one thread: of the array core on a columnar fleet,
as a replan of a known fleet meets it (options of each hardware are pruned once and remembered), and
of the whole planner from the objects of a round. Fleets are the boards of the catalogue with random
rates; each table of options in its own regime.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "plan"))

import plan_parts as parts

from distilfleet.core.types import Channel, Conditions
from distilfleet.cost import catalogue
from distilfleet.plan.makespan import least_makespan
from distilfleet.plan.prune import _front, _hull
from distilfleet.plan.split import SplitPlanner
from distilfleet.plan.total import least_total

TABLES = {"decoder, 4 bits": parts.llama(bits=(4,)), "net": parts.resnet18()}
CELLS = {5: 1, 100: 1, 1000: 10, 10_000: 100, 100_000: 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    against_highs((20, 100) if quick else (20, 100, 400))
    arrays()
    hard_makespans()
    objects()


def against_highs(sizes: tuple[int, ...]) -> None:
    print("## The sum against HiGHS\n")
    print(
        "| options | devices | HiGHS | its bound | ours | ours / HiGHS - 1 | HiGHS takes | we take "
        "|"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, options in TABLES.items():
        for size in sizes:
            of = parts.terms(parts.fleet(size, 3, options))
            began = time.perf_counter()
            cost, bound = parts.highs(of)
            took = time.perf_counter() - began
            ours_s, found = best_of(5, lambda of=of: least_total(of, gap=1e-7))
            print(
                f"| {name} | {size} | {cost / size:.6f} | {bound / size:.6f} | "
                f"{found.cost / size:.6f} | {found.cost / cost - 1:.1e} | {took:.2f} s | "
                f"{1000 * ours_s:.2f} ms |"
            )


def arrays() -> None:
    print("\n## The array core\n")
    print("| options | devices | cells | sum, first | sum | gap | makespan | gap |")
    print("|---|---|---|---|---|---|---|---|")
    for name, options in TABLES.items():
        for size, cells in CELLS.items():
            facts, at = scene(options, size, cells)
            _front.cache_clear()
            _hull.cache_clear()
            cold_s, _ = best_of(
                1, lambda facts=facts, at=at: least_total(parts.terms(facts, at), gap=1e-3)
            )
            sum_s, total = best_of(
                5, lambda facts=facts, at=at: least_total(parts.terms(facts, at), gap=1e-3)
            )
            gap = 1 - total.lower_bound / total.cost
            span_s, span = best_of(
                5 if size <= 10_000 else 1, lambda facts=facts, at=at: least_makespan(facts, at)
            )
            print(
                f"| {name} | {size:,} | {cells} | {1000 * cold_s:.2f} ms | {1000 * sum_s:.2f} ms | "
                f"{gap:.0e} | {1000 * span_s:.1f} ms | {1 - span.lower_bound_s / span.delay_s:.0e} "
                "|"
            )


def hard_makespans() -> None:
    """Where the makespan is hardest: thousands of cells of a few devices each, or small fleets of
    equal devices."""
    print("\n## Makespans that are hard\n")
    print("| options | devices | cells | makespan | gap |")
    print("|---|---|---|---|---|")
    for name, options in TABLES.items():
        for size, cells, spread in (
            (10_000, 10_000, 0.15),
            (10_000, 3000, 0.15),
            (5, 1, 0.0),
            (10, 1, 0.0),
        ):
            facts, at = scene(options, size, cells, spread)
            took_s, span = best_of(3, lambda facts=facts, at=at: least_makespan(facts, at))
            gap = 1 - span.lower_bound_s / span.delay_s
            print(f"| {name} | {size:,} | {cells:,} | {1000 * took_s:.1f} ms | {gap:.0e} |")


def objects() -> None:
    """From a round's conditions to a plan, every device an object; one clock, and a scan of
    eight."""
    print("\n## The whole planner\n")
    print("| devices | sum, one clock | sum, eight clocks | makespan |")
    print("|---|---|---|---|")
    options = parts.llama(bits=(4,), teacher_bits=4, recompute=True, batch_tokens=512)
    # one cluster of all
    server = replace(catalogue.device("server-h200-sxm", "server"), memory_bytes=10**15)
    for size in (5, 100, 1000, 10_000):
        there = conditions(size)
        planners = (
            SplitPlanner(options=options, server=server, clocks=(1.0,)),
            SplitPlanner(options=options, server=server),
            SplitPlanner(options=options, server=server, objective="makespan"),
        )
        times = [
            best_of(3, lambda planner=planner, there=there: planner.plan(there))[0]
            for planner in planners
        ]
        print(f"| {size:,} | " + " | ".join(f"{1000 * took_s:.1f} ms" for took_s in times) + " |")


def conditions(size: int) -> Conditions:
    rng = np.random.default_rng(1)
    kinds = [kind for kind in parts.KINDS if catalogue.entry(kind).usable_memory_bytes > 5e8]
    devices = {f"{n}": catalogue.device(kinds[n % len(kinds)], f"{n}") for n in range(size)}
    rates = rng.uniform(1e7, 4e8, (size, 2))
    channels = {
        device: Channel(up_bps=up, down_bps=down, cell=n // 100)
        for n, (device, (up, down)) in enumerate(zip(devices, rates.tolist(), strict=True))
    }
    return Conditions(round=1, devices=devices, ids=tuple(devices), channels=channels)


def scene(options: Any, size: int, cells: int, spread: float = 0.15) -> tuple[Any, Any]:
    """A server for every 300 devices, strong for a decoder and weak for a net, so that neither cut
    always wins."""
    strength = 10.0 if options.same_bytes else 0.2
    facts = parts.fleet(size, 1, options, cells=cells, spread=spread)
    return facts, parts.server(max(1, size // 300) * 1.76e13 * strength)


def best_of(times: int, work: Callable[[], Any]) -> tuple[float, Any]:
    best_s = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        result = work()
        best_s = min(best_s, time.perf_counter() - began)
    return best_s, result


if __name__ == "__main__":
    main()
