"""Kills: server and agents die at named points and at random moments; the weights must be those of
a quiet run.

    python benchmarks/drills.py [--kills 20] [--seed 0] [--warm] [--out runs/drills]

Processes of the command line, `kill -9`, mutual TLS on loopback. Whoever dies is started again at
once, to die at another of the points that the package names. Run after run is handed to the server
until there were enough kills; each must end with the models of the simulation, to the bit, no
committed round may be missing on disk after a kill, and in the end no device may hold an answer. In
one more run, which needs all devices, the whole fleet stands still for longer than its patience,
and then the server: no job may be missed, and the weights are the same. Prints seconds from a start
of the server until it listens, and until its next finished round. With `--warm`, processes are
forked from one that has the packages loaded: many more kills a minute, and starts that are not
those of a cold one.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from distilfleet.cli.main import main as cli
from distilfleet.core import failpoint
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.store import SqliteStore
from distilfleet.net.wave import PATIENCE_S
from distilfleet.recipes.flags import Common
from distilfleet.recipes.koala import Flags
from distilfleet.recipes.simulate import simulate
from distilfleet.service.client import page_of, submit
from distilfleet.service.demo import write_fleet
from distilfleet.service.enrol import create_token
from distilfleet.service.fleet_file import fleet_folder
from distilfleet.service.partition import SplitFlags, split

KINDS = ("rpi-4b", "jetson-nano", "rpi-5")
ROUNDS = 12
OUTAGE_S = 1.2 * PATIENCE_S
FEW_PASSES, RANDOM_S, LET_GO_S = 3, 6.0, 60.0
NOWHERE, AT_RANDOM = "", "at random"
OF_AGENTS = ("agent.py", "job_runner.py")
ONCE_A_LIFE = frozenset(
    {"server.listening", "run.created", "run.opened", "run.joined", "models.written", "run.done"}
)
ENROLLED = frozenset(
    {"run.submitted", "agent.keyed", "agent.certified", "agent.enrolled", "agent.renewed"}
)
"""Not passed by a fleet that is enrolled."""
Points = Callable[[], str]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *(
            f"distilfleet.{name}"
            for name in (
                "service.server",
                "service.agent",
                "recipes.koala",
                "service.spec",
                "service.partition",
            )
        ),
        "torch._dynamo",
    ]
)


@dataclass
class Kept:
    """A process that is started again whenever it dies."""

    words: list[str]
    log: Path
    points: Points
    rng: random.Random
    warm: bool
    killed_at: list[str] = field(default_factory=list)
    started_s: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.armed = self.points()
        self.ends_s = time.monotonic() + self.rng.uniform(0.0, RANDOM_S)
        self.started_s.append(time.time())
        passes = 1 if self.armed in ONCE_A_LIFE else self.rng.randint(1, FEW_PASSES)
        given = (
            self.words,
            self.log,
            f"{self.armed}:{passes}" if self.armed not in (AT_RANDOM, NOWHERE) else "",
        )
        self.process = (
            FORKS.Process(target=command, args=given, daemon=True) if self.warm else cold(*given)
        )
        if self.warm:
            self.process.start()

    def ended(self) -> int | None:
        return self.process.exitcode if self.warm else self.process.poll()

    def look(self) -> bool:
        """Whether it died, and was started again."""
        if self.armed == AT_RANDOM and time.monotonic() > self.ends_s:
            self.stop()
        if self.ended() is None:
            return False
        if self.ended() != -signal.SIGKILL:
            sys.exit(f"{self.words[0]} ended by itself; see {self.log}")
        self.killed_at.append(self.armed)
        self.start()
        return True

    def send(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        self.process.kill()
        while self.ended() is None:
            time.sleep(0.001)


def cold(words: list[str], log: Path, point: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as out:
        started = [sys.executable, "-m", "distilfleet.cli", *words]
        return subprocess.Popen(
            started, stdout=out, stderr=out, env={**os.environ, failpoint.VARIABLE: point}
        )


def command(words: list[str], log: Path, point: str) -> None:
    """Where a forked process begins."""
    os.environ[failpoint.VARIABLE] = point
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    # an agent stays in this warm process
    os.execv = lambda _, again: cli.main(again[again.index("agent") :])
    cli.main(words)


class Drill:
    """A fleet, and the runs that it did."""

    def __init__(self, folder: Path, kills: int, seed: int, warm: bool) -> None:
        self.folder, self.file, self.kills, self.warm = folder, folder / "fleet.toml", kills, warm
        self.rng, self.lost = random.Random(seed), 0
        write_fleet(self.file, KINDS)
        split(SplitFlags(data="digits", devices=len(KINDS), out=folder / "data"))
        self.server = Kept(
            ["serve", str(self.file)], folder / "serve.log", self.points(False), self.rng, warm
        )
        self.all = [self.server, *(self.agent(f"device-{number}") for number in range(len(KINDS)))]

    def agent(self, name: str) -> Kept:
        token = create_token(fleet_folder(self.file), name, 86_400.0)
        own = [
            "--data",
            str(self.folder / "data" / f"{name}.npz"),
            "--state",
            str(self.folder / name),
        ]
        words = ["agent", "--token", token, *own]
        return Kept(words, self.folder / f"{name}.log", self.points(True), self.rng, self.warm)

    def points(self, of_agents: bool) -> Points:
        """All of the points, and as many random moments as a third of them, again and again in
        another order."""
        named = points_of(of_agents)
        cycle = [*named, *[AT_RANDOM] * (len(named) // 3)]

        def shuffled() -> Iterator[str]:
            while True:
                yield from self.rng.sample(cycle, len(cycle))

        source = shuffled()
        return lambda: next(source) if self.killed < self.kills else NOWHERE

    @property
    def killed(self) -> int:
        return sum(len(one.killed_at) for one in self.all) if hasattr(self, "all") else 0

    def outages(self, name: str) -> None:
        """In a run under way the whole fleet stands still for longer than its patience, then the
        server does."""
        for processes in (self.all[1:], [self.server]):
            self.wait_for_round(name)
            for one in processes:
                one.send(signal.SIGSTOP)
            time.sleep(OUTAGE_S)
            for one in processes:
                one.send(signal.SIGCONT)

    def wait_for_round(self, name: str) -> None:
        """Until one more is finished."""
        metrics = page_of(fleet_folder(self.file), name).parent / "metrics.jsonl"
        before = lines_of(metrics)
        while lines_of(metrics) <= before:
            time.sleep(0.05)

    def carry_out(self, name: str) -> Path:
        """One run, to its end."""
        state = self.folder / "fleet-state"
        while not (state / "done" / f"{name}.json").exists():
            for one in self.all:
                if one.look() and one is self.server:
                    self.lost += self.missing(name)
            time.sleep(0.01)
        return page_of(fleet_folder(self.file), name).parent

    def error(self, name: str) -> str:
        """Of a run that ended."""
        return str(
            json.loads((self.folder / "fleet-state" / "done" / f"{name}.json").read_text())["error"]
        )

    def kept(self) -> int:
        """Answers that devices still hold some time after the last run."""
        end_s = time.monotonic() + LET_GO_S
        while (held := self.held()) and time.monotonic() < end_s:
            for one in self.all:
                one.look()
            time.sleep(0.1)
        return held

    def held(self) -> int:
        count = 0
        for number in range(len(KINDS)):
            with closing(SqliteStore(self.folder / f"device-{number}" / "answers.sqlite")) as store:
                count += len(store.keys())
        return count

    def missing(self, name: str) -> int:
        """Committed rounds of which there is no checkpoint."""
        with closing(SqliteJournal(self.folder / "fleet-state" / "journal.sqlite")) as journal:
            committed = journal.committed(name)
        files = page_of(fleet_folder(self.file), name).parent.glob(
            "checkpoints/round-*.safetensors"
        )
        return max(0, committed - max((int(file.stem[-8:]) for file in files), default=0))


def points_of(agents: bool) -> list[str]:
    """As the package's sources name them."""
    files = Path(failpoint.__file__).parents[1].rglob("*.py")
    found = {
        (file.name in OF_AGENTS, name) for file in files for name in named_in(file.read_text())
    }
    return sorted(name for here, name in found if here is agents and name not in ENROLLED)


def named_in(source: str) -> list[str]:
    return (
        re.findall(r'reached\("([a-z_.]+)"\)', source)
        if "failpoint import reached" in source
        else []
    )


def lines_of(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def weights(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in (folder / "models").rglob("*.safetensors")
    }


def missed_in(folder: Path) -> int:
    return sum(
        json.loads(line)["missed"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    )


def rounds_of(folder: Path) -> list[int]:
    return [
        json.loads(line)["round"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def after_starts_s(server: Kept, word: str) -> list[float]:
    """Seconds from each start to the first line of the log with this word, where the server lived
    to write it."""
    lines = [
        line for line in server.log.read_text().splitlines() if word in line and line[:2] == "20"
    ]
    at_s = [datetime.fromisoformat(line[:23]).timestamp() for line in lines]
    lives = zip(server.started_s, [*server.started_s[1:], time.time()], strict=True)
    first = [next((one for one in at_s if began <= one < end), None) for began, end in lives]
    return [
        one - began for one, began in zip(first, server.started_s, strict=True) if one is not None
    ]


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 2),
        "p95": round(float(np.percentile(values, 95)), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/drills"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True)
    common = Common(rounds=ROUNDS, devices=len(KINDS), device_kinds=KINDS, cohorts="off")
    flags = Flags(common=common, mixtures=64)
    simulate("koala", flags, asked.out / "simulated")
    wanted, drill = (
        weights(asked.out / "simulated"),
        Drill(asked.out, asked.kills, asked.seed, asked.warm),
    )
    same, complete, errors = list[bool](), list[bool](), set[str]()
    try:
        for one in drill.all:
            one.start()
        while drill.killed < asked.kills:
            name = submit(fleet_folder(drill.file), "koala", flags)
            folder = drill.carry_out(name)
            errors |= {drill.error(name)} - {""}
            same.append(weights(folder) == wanted)
            complete.append(rounds_of(folder) == list(range(1, ROUNDS + 1)))
            print(
                f"{drill.killed} kills, {len(same)} runs, same weights: {all(same)}",
                file=sys.stderr,
                flush=True,
            )
        name = submit(
            fleet_folder(drill.file),
            "koala",
            replace(flags, common=replace(common, minimum=len(KINDS))),
        )
        drill.outages(name)
        folder = drill.carry_out(name)
        errors |= {drill.error(name)} - {""}
        outage = {"same_weights": weights(folder) == wanted, "missed": missed_in(folder)}
        kept = drill.kept()
    finally:
        for one in drill.all:
            one.stop()
    figures = {
        "kills_of_server": len(drill.server.killed_at),
        "kills_of_agents": drill.killed - len(drill.server.killed_at),
        "points": len({point for one in drill.all for point in one.killed_at} - {AT_RANDOM}),
        "runs": len(same),
        "rounds_lost": drill.lost,
        "rounds_complete": all(complete),
        "same_weights": all(same),
        "whole_fleet_and_server_away": outage,
        "errors": sorted(errors),
        "answers_kept": kept,
        "start_to_ready_s": spread(after_starts_s(drill.server, "ready:")),
        "start_to_round_s": spread(after_starts_s(drill.server, ": round ")),
    }
    print(json.dumps(figures, indent=1))
    calm = outage["same_weights"] and not outage["missed"]
    sys.exit(
        0 if calm and all(same) and all(complete) and not (drill.lost or errors or kept) else 1
    )


if __name__ == "__main__":
    main()
