"""Kills: server and agents die at random moments, and the weights must be those of a run that nobody disturbed.

    python benchmarks/drills.py [--kills 20] [--seed 0] [--out runs/drills]

Real processes, `kill -9`, mutual TLS on loopback; every second kill is of the server. Prints seconds from start of the
server to its next finished round, and whether the models equal those of the simulation, to the bit.
"""

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from distilfleet.recipes.flags import Common
from distilfleet.recipes.fleet_demo import start, wait_for, write_fleet
from distilfleet.recipes.koala import Flags
from distilfleet.recipes.serve import create_token, page_of, submit
from distilfleet.recipes.simulate import simulate
from distilfleet.recipes.split import Split, split

KINDS = ("rpi-4b", "jetson-nano", "rpi-5")
WAIT_S = 300.0


class Drill:
    """The processes of one drill."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "fleet.toml"
        write_fleet(self.file, KINDS)
        split(Split(data="digits", devices=len(KINDS), out=folder / "data"))
        self.serve()
        wait_for(folder / "fleet-state" / "authority" / "identity.sqlite", self.server)
        self.agents = {i: self.agent(i, "--token", create_token(self.file, f"device-{i}", 3600.0)) for i in range(3)}

    def serve(self) -> None:
        self.server = start(self.folder / "serve.log", "serve", str(self.file))

    def agent(self, number: int, *words: str) -> "subprocess.Popen[bytes]":
        name = f"device-{number}"
        own = ["--data", str(self.folder / "data" / f"{name}.npz"), "--state", str(self.folder / name)]
        return start(self.folder / f"{name}.log", "agent", *own, *words)

    def kill_server(self) -> None:
        die(self.server)
        self.serve()

    def kill_agent(self, number: int) -> None:
        die(self.agents[number])
        self.agents[number] = self.agent(number)

    def stop(self) -> None:
        for process in (self.server, *self.agents.values()):
            die(process)


def die(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def until(ready: Callable[[], bool]) -> float:
    began_s = time.monotonic()
    while not ready():
        if time.monotonic() > began_s + WAIT_S:
            sys.exit("waited too long; see the logs beside the run")
        time.sleep(0.05)
    return time.monotonic() - began_s


def weights(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "models").iterdir()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/drills"))
    asked = parser.parse_args()
    rng, rounds = random.Random(asked.seed), asked.kills + 2
    asked.out.mkdir(parents=True)
    common = Common(rounds=rounds, devices=len(KINDS), device_kinds=KINDS, cohorts="off")
    flags = Flags(common=common, mixtures=64)
    drill = Drill(asked.out)
    try:
        run = submit(drill.file, "koala", flags)
        path = page_of(drill.file, run).parent
        again_s = killed(drill, path, rng, asked.kills)
        until((drill.folder / "fleet-state" / "done" / f"{run}.json").exists)
    finally:
        drill.stop()
    simulate("koala", flags, asked.out / "simulated")
    rows = [json.loads(line)["round"] for line in (path / "metrics.jsonl").read_text().splitlines()]
    figures = {
        "kills": asked.kills,
        "rounds_complete": rows == list(range(1, rounds + 1)),
        "same_weights": weights(path) == weights(asked.out / "simulated"),
        "server_start_to_round_median_s": round(statistics.median(again_s), 2) if again_s else None,
    }
    print(json.dumps(figures, indent=1))
    sys.exit(0 if figures["rounds_complete"] and figures["same_weights"] else 1)


def killed(drill: Drill, path: Path, rng: random.Random, kills: int) -> list[float]:
    """Kill after each finished round, at a random moment of the next one."""
    metrics, again_s = path / "metrics.jsonl", []

    def finished() -> int:
        return metrics.read_text().count("\n") if metrics.exists() else 0

    until(lambda: finished() >= 1)
    for number in range(kills):
        time.sleep(rng.uniform(0.0, 1.0))
        before = finished()
        if number % 2:
            drill.kill_agent(rng.randrange(len(KINDS)))
            until(lambda before=before: finished() > before)
        else:
            drill.kill_server()
            again_s.append(until(lambda before=before: finished() > before))
    return again_s


if __name__ == "__main__":
    main()
