"""A server and agents as processes that are killed and started again, as a service manager does.

They are forked from a process that has the packages loaded and has done nothing else, so that a
start takes a fraction of a second; from there on each is the command line, with its own memory,
sockets and files.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

from patience import HANGS_S
from ports import NO_PAGE, free_ports

from cli_runs import FORKS
from distilfleet.cli.main import main
from distilfleet.core.failpoint import VARIABLE
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.store import SqliteStore
from distilfleet.recipes.flags import Common, Smalls, Training
from distilfleet.recipes.koala import Flags
from distilfleet.service import client, enrol
from distilfleet.service.fleet_file import fleet_folder
from distilfleet.service.partition import SplitFlags, split

KINDS = ("rpi-4b", "jetson-nano", "rpi-5")
AT_RANDOM = "at random"
SOON_S = 0.6
"""After its start a process that is to be killed at random is killed within this time."""


@dataclass
class Kept:
    """One process that is started again whenever it dies, each time to be killed at the next
    point."""

    name: str
    words: Sequence[str]
    log: Path
    points: Iterator[str]
    rng: Random
    on_death: Callable[[], None] = lambda: None
    program: Callable[[list[str]], None] | None = None
    """Instead of the command line."""
    killed_at: list[str] = field(default_factory=list)
    process: BaseProcess | None = None
    armed: str = ""
    ends_s: float = 0.0

    def start(self) -> None:
        self.armed = next(self.points, "")
        named = self.armed if self.armed != AT_RANDOM else ""
        self.ends_s = time.monotonic() + self.rng.uniform(0.0, SOON_S)
        self.process = FORKS.Process(
            target=_command, args=(list(self.words), self.log, named, self.program), daemon=True
        )
        self.process.start()

    def look(self) -> None:
        """Kill it if it is time, start it again if it is dead."""
        if self.armed == AT_RANDOM and time.monotonic() > self.ends_s:
            self.process.kill()
            self.process.join()
        if self.process.exitcode is not None:
            assert self.process.exitcode == -signal.SIGKILL, (
                f"{self.name}: {self.log.read_text()[-2000:]}"
            )
            self.killed_at.append(self.armed)
            self.on_death()
            self.start()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()


def _command(
    words: list[str], log: Path, point: str, program: Callable[[list[str]], None] | None
) -> None:
    os.environ[VARIABLE] = point
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    # an agent stays in this warm process
    os.execv = lambda _, command: main(command[command.index("agent") :])
    (program or main)(words)


def keep_running(kept: Sequence[Kept], done: Callable[[], bool]) -> None:
    """Until `done`."""
    end_s = time.monotonic() + HANGS_S
    while not done():
        assert time.monotonic() < end_s, (
            f"waited too long; armed: {[(one.name, one.armed) for one in kept]}"
        )
        for one in kept:
            one.look()
        time.sleep(0.01)


def flags(data: Path, rounds: int) -> Flags:
    return Flags(
        common=Common(
            data=str(data), rounds=rounds, devices=len(KINDS), device_kinds=KINDS, cohorts="off"
        ),
        smalls=Smalls(small=("mlp-xs", "mlp-s"), mode="heterogeneous"),
        training=Training(local_passes=1),
        large="mlp-l",
        wire="soft-labels",
        mixtures=8,
    )


def weights(run: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(run)): file.read_bytes()
        for file in (run / "models").rglob("*.safetensors")
    }


class Fleet:
    """A folder with a fleet file, data, and processes that are kept running."""

    def __init__(
        self, folder: Path, data: Path, flags: Flags, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.folder, self.file, self.rng = folder, folder / "fleet.toml", Random(0)
        sessions, enrolment = free_ports(2)
        lines = [f'address = "localhost:{sessions}"', f'enrol_address = "localhost:{enrolment}"']
        lines += [
            *(f"{name} = {value}" for name, value in {**NO_PAGE, **(settings or {})}.items()),
            "[devices]",
        ]
        self.file.write_text(
            "\n".join([*lines, *(f'device-{i} = "{kind}"' for i, kind in enumerate(KINDS))])
        )
        split(
            SplitFlags(
                data=str(data), devices=len(KINDS), alpha=flags.common.alpha, out=folder / "data"
            )
        )
        self.here = fleet_folder(self.file)
        self.run = client.submit(self.here, "koala", flags)
        self.path, self.state = client.page_of(self.here, self.run).parent, folder / "fleet-state"

    def server(self, points: Sequence[str] = ()) -> Kept:
        words = ["serve", str(self.file)]
        return Kept(
            "server", words, self.folder / "serve.log", iter(points), self.rng, self.check_committed
        )

    def agent(self, number: int, points: Sequence[str] = ()) -> Kept:
        name = f"device-{number}"
        token = enrol.create_token(self.here, name, 3600.0)
        own = [
            "--data",
            str(self.folder / "data" / f"{name}.npz"),
            "--state",
            str(self.folder / name),
        ]
        return Kept(
            name,
            ["agent", "--token", token, *own],
            self.folder / f"{name}.log",
            iter(points),
            self.rng,
        )

    def check_committed(self) -> None:
        """What the journal has as committed is on disk."""
        with closing(SqliteJournal(self.state / "journal.sqlite")) as journal:
            committed = journal.committed(self.run)
        newest = max(
            (int(file.stem[-8:]) for file in self.path.glob("checkpoints/round-*.safetensors")),
            default=0,
        )
        assert newest >= committed, (
            f"round {committed} is committed, the newest checkpoint is of round {newest}"
        )

    def holding(self) -> list[str]:
        """Answers that devices keep although the run is over."""
        held = []
        for number in range(len(KINDS)):
            with closing(SqliteStore(self.folder / f"device-{number}" / "answers.sqlite")) as store:
                held += store.keys()
        return held

    def finished(self) -> bool:
        """With nothing left to do."""
        return (self.state / "done" / f"{self.run}.json").exists() and not any(
            (self.state / "queue").iterdir()
        )

    def lines(self) -> list[dict[str, Any]]:
        """Finished rounds, as the record has them."""
        metrics = self.path / "metrics.jsonl"
        return (
            [json.loads(line) for line in metrics.read_text().splitlines()]
            if metrics.exists()
            else []
        )

    def rounds(self) -> list[int]:
        return [line["round"] for line in self.lines()]


def check(fleet: Fleet, kept: Sequence[Kept], simulated: Path, let_go_s: float = HANGS_S) -> None:
    """A drill: all kills, to the end of a run with the weights of the simulation; devices let go of
    all answers."""
    keep_running(kept, lambda: fleet.finished() and not any(one.armed for one in kept))
    done = json.loads((fleet.state / "done" / f"{fleet.run}.json").read_text())
    assert not done["error"], done["error"]
    rounds = len((simulated / "metrics.jsonl").read_text().splitlines())
    assert fleet.rounds() == list(range(1, rounds + 1)), "rounds are lost"
    assert weights(fleet.path) == weights(simulated), "weights differ"
    end_s = time.monotonic() + let_go_s
    keep_running(kept, lambda: not fleet.holding() or time.monotonic() > end_s)
    assert not fleet.holding(), "devices keep answers to committed rounds"


@contextmanager
def running(kept: Sequence[Kept]) -> Iterator[Sequence[Kept]]:
    """Started, and stopped at the end."""
    try:
        for one in kept:
            one.start()
        yield kept
    finally:
        for one in kept:
            one.stop()
