"""`run RECIPE --seeds 1 2 3`: the same run under several seeds, side by side where cores allow.

Each is a run of its own in a process of its own, recorded in `OUT/seed-N`, with the weights that
`--seed N` gives. When all are there they are compared. A sweep that was stopped goes on with
`run --resume OUT`.
"""

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import tomli_w

from ..core.errors import ConfigError, RecordError
from .compare import compared, free

SWEEP = "sweep.toml"


def folder_of(seed: int) -> str:
    """Where the run of a seed is, inside the folder of the sweep."""
    return f"seed-{seed}"


def is_sweep(path: Path) -> bool:
    """Whether a folder has runs of several seeds."""
    return (path / SWEEP).is_file()


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
    out.mkdir(parents=True, exist_ok=True)
    settings = {"words": list(words), "seeds": list(seeds), "threads": threads}
    (out / SWEEP).write_text(tomli_w.dumps(settings), encoding="utf-8")
    return go_on(out, ())


def go_on(out: Path, words: Sequence[str]) -> int:
    """Begin and go on with what is not finished, with these flags more, then compare.

    Raises RecordError if the sweep cannot be read.
    """
    try:
        settings = tomllib.loads((out / SWEEP).read_text(encoding="utf-8"))
        places = {seed: out / folder_of(seed) for seed in settings["seeds"]}
        begin = ["run", *settings["words"]]
        threads = int(settings["threads"])
    except (ValueError, KeyError, TypeError) as fault:
        raise RecordError(f"{out / SWEEP} is damaged: {fault}. Start the sweep anew.") from None
    commands = {}
    for seed, place in places.items():
        begun = (place / "run.toml").exists()
        anew = [*begin, "--seed", str(seed), "--out", str(place)]
        commands[f"seed {seed}"] = ["run", "--resume", str(place), *words] if begun else anew
    return _all(commands, out, list(places.values()), threads)


def _all(commands: Mapping[str, list[str]], out: Path, places: Sequence[Path], threads: int) -> int:
    side_by_side = max(1, (os.cpu_count() or 1) // threads)
    with _Processes().forwarding() as processes, ThreadPoolExecutor(side_by_side) as pool:
        codes = list(pool.map(processes.run, commands, commands.values()))
    failed = next((code for code in codes if code), 0)
    if failed:
        print(f"Not all runs got to their end. Go on with: distilfleet run --resume {out}")
        return 128 + processes.stopped if processes.stopped else failed
    print(compared(places, free(out / "compare.html")))
    return 0


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
