"""A server and agents as processes that are killed and started again, as a service manager does.

They are forked from a process that has the packages loaded and has done nothing else, so that a start takes a fraction
of a second; from there on each is the command line, with its own memory, sockets and files.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

from distilfleet.core.failpoint import VARIABLE

AT_RANDOM = "at random"
SOON_S = 0.6
"""After its start a process that is to be killed at random is killed within this time."""
WAIT_S = 240.0
_forks = multiprocessing.get_context("forkserver")
_rooms = [f"distilfleet.recipes.{name}" for name in ("serve", "join", "koala", "deploy")]
_forks.set_forkserver_preload([*_rooms, "torch._dynamo"])  # the last one is loaded by torch when a model is traced


@dataclass
class Kept:
    """One process that is started again whenever it dies, each time to be killed at the next point."""

    name: str
    words: Sequence[str]
    log: Path
    points: Iterator[str]
    rng: Random
    on_death: Callable[[], None] = lambda: None
    killed_at: list[str] = field(default_factory=list)
    process: BaseProcess | None = None
    armed: str = ""
    ends_s: float = 0.0

    def start(self) -> None:
        self.armed = next(self.points, "")
        named = self.armed if self.armed != AT_RANDOM else ""
        self.ends_s = time.monotonic() + self.rng.uniform(0.0, SOON_S)
        self.process = _forks.Process(target=_command, args=(list(self.words), self.log, named), daemon=True)
        self.process.start()

    def look(self) -> None:
        """Kill it if it is time, start it again if it is dead."""
        if self.armed == AT_RANDOM and time.monotonic() > self.ends_s:
            self.process.kill()
            self.process.join()
        if self.process.exitcode is not None:
            assert self.process.exitcode == -signal.SIGKILL, f"{self.name}: {self.log.read_text()[-2000:]}"
            self.killed_at.append(self.armed)
            self.on_death()
            self.start()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()


def _command(words: list[str], log: Path, point: str) -> None:
    os.environ[VARIABLE] = point
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    from distilfleet.cli import main

    main(words)


def keep_running(kept: Sequence[Kept], done: Callable[[], bool]) -> None:
    """Until `done`."""
    end_s = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end_s, f"waited too long; armed: {[(one.name, one.armed) for one in kept]}"
        for one in kept:
            one.look()
        time.sleep(0.01)
