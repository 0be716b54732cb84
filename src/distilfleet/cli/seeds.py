"""`run RECIPE --seeds 1 2 3`: the same run under several seeds, side by side where cores allow.

Each is a run of its own in a process of its own, recorded in `OUT/seed-N`, with the weights that
`--seed N` gives. When all are there they are compared. A sweep that was stopped goes on with
`run --resume OUT`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import ConfigError
from .compare import compared, free

FOLDER = "seed-"


def folder_of(seed: int) -> str:
    """Where the run of a seed is, inside the folder of the sweep."""
    return f"{FOLDER}{seed}"


def is_sweep(path: Path) -> bool:
    """Whether a folder has runs of several seeds, and none of its own."""
    return not (path / "run.toml").exists() and any(_runs(path))


def seeds_of(words: Sequence[str]) -> list[int]:
    """Seeds as they were typed. Raises ConfigError for what is none, or twice the same."""
    try:
        seeds = [int(word) for word in words]
    except ValueError:
        raise ConfigError(f"--seeds takes whole numbers, not {' '.join(words)}") from None
    if len(set(seeds)) < max(2, len(seeds)) or min(seeds) < 0:
        raise ConfigError("--seeds takes two or more different ones, from 0 on: --seeds 1 2 3")
    return seeds


def sweep(words: Sequence[str], seeds: Sequence[int], out: Path, threads: int) -> int:
    """Run `run WORDS` under each seed, then compare. The exit code is the first that is not 0."""
    commands = {
        f"seed {seed}": ["run", *words, "--seed", str(seed), "--out", str(out / folder_of(seed))]
        for seed in seeds
    }
    return _all(commands, out, threads)


def go_on(out: Path, words: Sequence[str]) -> int:
    """Go on with each run of a sweep that is not finished, then compare."""
    commands = {
        path.name.replace("-", " "): ["run", "--resume", str(path), *words] for path in _runs(out)
    }
    return _all(commands, out, threads=1)


def _runs(out: Path) -> Iterator[Path]:
    return (path.parent for path in sorted(out.glob(f"{FOLDER}*/run.toml")))


def _all(commands: dict[str, list[str]], out: Path, threads: int) -> int:
    side_by_side = max(1, (os.cpu_count() or 1) // threads)
    with _Processes().forwarding() as processes, ThreadPoolExecutor(side_by_side) as pool:
        codes = list(pool.map(processes.run, commands, commands.values()))
    failed = next((code for code in codes if code), 0)
    finished = list(_runs(out))
    if failed:
        print(f"Not all runs got to their end. Go on with: distilfleet run --resume {out}")
    elif finished:
        print(compared(finished, free(out / "compare.html")))
    return failed


class _Processes:
    """Processes that run side by side and are told of a signal together; none starts after one."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[str]] = []
        self.stopped = 0

    def run(self, name: str, words: Sequence[str]) -> int:
        """Run the command to its end, each of its lines behind the name; its exit code."""
        if self.stopped:
            return 128 + self.stopped
        command = [sys.executable, "-m", "distilfleet.cli", *words]
        with subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
        ) as process:
            self.running.append(process)
            if self.stopped:  # while it started
                process.send_signal(self.stopped)
            assert process.stdout is not None
            for line in process.stdout:
                print(f"{name}: {line}", end="", flush=True)
        return process.returncode

    @contextmanager
    def forwarding(self) -> Iterator["_Processes"]:
        """SIGINT and SIGTERM go to all that run, which finish their rounds and can be resumed."""
        before = {
            number: signal.signal(number, self._forward)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, _frame: object) -> None:
        self.stopped = number
        for process in self.running:
            if process.poll() is None:
                process.send_signal(number)
