"""Speed and memory beside the alternatives, on one small job (`peers/job.py`), as ratios to a bare
vmap loop.

    python benchmarks/speed.py                          every size, every installed contender
    python benchmarks/speed.py --sizes 100 --repeats 5  the fleet of 100 devices alone
    python benchmarks/speed.py --peers flower,pfl       these, beside the bare vmap loop

The contenders take turns, so that all of them meet the same neighbours on the machine; of each
one's runs the fastest counts, by its median round. On a busy machine look at the processor's time,
which neighbours disturb least: the median over the rounds of all runs. Flower has many processes,
so it has none.
The peers live in environments of their own: `benchmarks/peers/setup.sh` makes them, and without it
they are left out. Memory is that of the process tree, pages that processes share counted once.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent / "peers"
ROOT = HERE.parent.parent
MOST_RUN_S = 500.0
SAMPLING_S = 0.2
BASE = "vmap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    devices: int
    per_round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    key: str
    environment: str
    """Folder of its Python, from the root; empty for the one that runs this."""
    rounds: tuple[int | None, ...]
    """At each size; None leaves it out."""
    repeats: int | None = None
    """If fewer than asked for."""
    one_process: bool = True

    @property
    def python(self) -> Path:
        return (
            ROOT / self.environment / "bin" / "python" if self.environment else Path(sys.executable)
        )


SIZES = (
    Size(devices=100, per_round=10),
    Size(devices=1_000, per_round=100),
    Size(devices=10_000, per_round=10),
    Size(devices=100_000, per_round=1_000),
)
CONTENDERS = (
    Contender(key="vmap", environment="", rounds=(100, 50, 100, 12)),
    Contender(key="distilfleet", environment="", rounds=(100, 50, 100, 12)),
    Contender(key="loop", environment="", rounds=(50, 20, 50, 5)),
    Contender(key="pfl", environment=".venv-peers/pfl", rounds=(50, 20, 50, 5)),
    Contender(
        key="flower",
        environment=".venv-peers/flower",
        rounds=(20, 4, 4, None),
        repeats=1,
        one_process=False,
    ),
)


def main() -> None:
    asked = _asked()
    sizes = [
        size for size in SIZES if not asked.sizes or str(size.devices) in asked.sizes.split(",")
    ]
    keys = {BASE, *(asked.peers.split(",") if asked.peers else [one.key for one in CONTENDERS])}
    contenders = [one for one in CONTENDERS if one.key in keys and _is_there(one)]
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}"
    )
    for size in sizes:
        runs = _take_turns(size, contenders, asked.repeats)
        print(table(size, runs), flush=True)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="", help="fleet sizes, such as 100,1000; default: all")
    parser.add_argument(
        "--peers", default="", help=f"of {', '.join(one.key for one in CONTENDERS)}; default: all"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each contender at each size"
    )
    return parser.parse_args()


def _is_there(one: Contender) -> bool:
    if one.python.exists():
        return True
    print(
        f"{one.key} is left out: it is not installed; benchmarks/peers/setup.sh {one.key} does that"
    )
    return False


def _take_turns(
    size: Size, contenders: list[Contender], repeats: int
) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {one.key: [] for one in contenders}
    for turn in range(repeats):
        for one in contenders:
            rounds = one.rounds[SIZES.index(size)]
            if rounds is not None and turn < (one.repeats or repeats):
                runs[one.key].append(measure(one, size, rounds))
    return {key: done for key, done in runs.items() if done}


def measure(one: Contender, size: Size, rounds: int) -> dict[str, Any]:
    """One run of one contender: what it reports, its median round and its peak memory."""
    words = [
        str(one.python),
        str(HERE / f"run_{one.key}.py"),
        str(size.devices),
        str(size.per_round),
        str(rounds),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as run:
        timer = threading.Timer(MOST_RUN_S, run.kill)
        timer.start()
        peak = _Peak(run.pid)
        assert run.stdout is not None
        lines = [line for line in run.stdout if line.startswith("RESULT ")]
        peak_bytes = peak.stop()
        timer.cancel()
    if not lines:
        raise SystemExit(
            f"{one.key} gave no result at {size.devices} devices; run it alone: {' '.join(words)}"
        )
    facts = json.loads(lines[-1].removeprefix("RESULT "))
    facts["processor_ms"] = facts["processor_ms"] if one.one_process else []
    return {**facts, "median_ms": statistics.median(facts["round_ms"]), "peak_bytes": peak_bytes}


def table(size: Size, runs: dict[str, list[dict[str, Any]]]) -> str:
    least = {
        key: _median([ms for run in done for ms in run["processor_ms"]])
        for key, done in runs.items()
    }
    best = {key: min(done, key=lambda one: one["median_ms"]) for key, done in runs.items()}
    rows = [
        f"\n{size.devices:,} devices, {size.per_round:,} a round (load {os.getloadavg()[0]:.1f})\n",
        "| contender | ms a round | spread over runs | to vmap | processor, ms | to vmap | peak MB "
        "| beside the data, MB | first round, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key, one in sorted(best.items(), key=lambda item: item[1]["median_ms"]):
        medians = [run["median_ms"] for run in runs[key]]
        peak = min(run["peak_bytes"] for run in runs[key])
        rows.append(
            f"| {one['name']} | {one['median_ms']:.2f} | {min(medians):.2f} to {max(medians):.2f} "
            f"| {one['median_ms'] / best[BASE]['median_ms']:.2f} "
            f"| {least[key]:.2f} | {least[key] / least[BASE]:.2f} | {peak / 1e6:.0f} "
            f"| {(peak - one['data_bytes']) / 1e6:.0f} | {one['start_s']:.1f} |"
        )
    return "\n".join(rows)


def _median(values: list[float]) -> float:
    """NaN of none."""
    return statistics.median(values) if values else float("nan")


# --- memory ---------------------------------------------------------------------------------------


class _Peak:
    """The most memory that a process and its descendants held together, looked at every so
    often."""

    def __init__(self, root: int) -> None:
        self._root, self._peak_bytes = root, 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._peak_bytes

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLING_S):
            self._peak_bytes = max(
                self._peak_bytes, sum(_held_bytes(process) for process in _tree(self._root))
            )


def _tree(root: int) -> list[int]:
    found, at = [root], 0
    while at < len(found):
        found += _children(found[at])
        at += 1
    return found


def _children(process: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children += [int(word) for word in task.read_text().split()]
        except OSError:
            continue  # it has just ended
    return children


def _held_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has just ended
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    began_s = time.monotonic()
    main()
    print(f"\ntook {time.monotonic() - began_s:.0f} s")
