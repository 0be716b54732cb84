"""Steps per second of split KD over real agents, beside the same recipe in one process.

    python benchmarks/fleet_steps.py [--devices 4] [--rounds 8] [--python BARE/bin/python]

`splitkd --cut 0` twice from the same seed: simulated, and over mutual TLS on loopback with an agent
process per device. The link is not the limit. Seconds are of rounds after the first two, from their
first job to their last gradient, without evaluation and checkpoint; both ways end with the same
weights, which is checked. Processor seconds are of the process that simulates, and of the server's.
Who was busy when comes from the record's `times`: shares of the rounds in which the server
computed, any device did, any bytes were under way, and at least two of the three at once. `small`
are the recipe's own models, `large` ones of about ten times the work.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from distilfleet.core.engine import rounds
from distilfleet.core.tally import Times
from distilfleet.net.fleet import NetFleet
from distilfleet.recipes.simulated import simulated
from distilfleet.recipes.splitkd import Flags, splitkd
from distilfleet.service import enrol
from distilfleet.service import server as serve
from distilfleet.service.ask import server_of
from distilfleet.service.fleet_file import fleet_folder
from distilfleet.service.spec import spec_of, write_spec
from distilfleet.training.experiment import Experiment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "net"))
from ports import free_ports

SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "large": {"teacher": "llama:256x4", "student": "llama:128x2"},
}
FIRST = 2
"""Rounds that are left out: tables travel, memories fill."""


def flags(size: str, devices: int) -> Flags:
    given = Flags(cut=0)
    language = replace(given.language, pretrain_steps=20, **SIZES[size])
    common = replace(given.common, devices=devices, device_kinds=("rpi-4b",) * devices, keep_wire=0)
    return replace(given, common=common, language=language)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Of each round: seconds on the wall and of this process, and when jobs were where. And the
    last state."""

    wall_s: list[float]
    process_s: list[float]
    times: list[Times]
    state: Any


def timed(experiment: Experiment, fleet: Any, count: int) -> Timing:
    state, wall_s, process_s, times = experiment.method.init(experiment.seed), [], [], []
    gc.freeze()  # as a run does
    began_s, process_began_s = time.perf_counter(), time.process_time()
    for done in rounds(experiment.method, experiment.planner, fleet, state, range(1, count + 1)):
        wall_s.append(time.perf_counter() - began_s)
        process_s.append(time.process_time() - process_began_s)
        state = done.state
        tally = fleet.tally()
        times += [] if tally.times is None else [tally.times]
        began_s, process_began_s = time.perf_counter(), time.process_time()
    return Timing(
        wall_s=wall_s[FIRST:], process_s=process_s[FIRST:], times=times[FIRST:], state=state
    )


@contextmanager
def agents(folder: Path, experiment: Experiment, python: str) -> Iterator[NetFleet]:
    """A server in this process and an agent process for each device."""
    sessions, enrolment = free_ports(2)
    assert experiment.simulation is not None
    devices, file = list(experiment.devices), folder / "fleet.toml"
    owned = experiment.simulation().data
    lines = [
        f'address = "localhost:{sessions}"',
        f'enrol_address = "localhost:{enrolment}"',
        "[devices]",
    ]
    file.write_text("\n".join([*lines, *(f'{name} = "rpi-4b"' for name in devices)]))
    here, started = fleet_folder(file), []
    with serve._sessions(here) as (session_server, loop):
        try:
            for name in devices:
                np.savez(folder / f"{name}.npz", prepared_x=owned(name).inputs)
                token = enrol.create_token(here, name, 3600.0)
                own = ["--data", str(folder / f"{name}.npz"), "--state", str(folder / name)]
                command = [python, "-m", "distilfleet.cli", "agent", "--token", token, *own]
                with (folder / f"{name}.log").open("wb") as log:
                    env = {**os.environ, "OMP_NUM_THREADS": "1"}
                    started.append(subprocess.Popen(command, stdout=log, stderr=log, env=env))
            while len(session_server.live) < len(devices):
                time.sleep(0.05)
            fleet = NetFleet(here.devices, server_of(here), session_server, loop)
            fleet.open("bench", write_spec(spec_of(experiment.method, experiment.seed)))
            yield fleet
        finally:
            for process in started:
                process.kill()
                process.wait()


# --- who was busy when ----------------------------------------------------------------------------

Spans = list[tuple[float, float]]


def busy(times: Iterable[Times]) -> dict[str, float]:
    """Shares of the rounds' seconds."""
    whole_s, shares_s = 0.0, {"server": 0.0, "devices": 0.0, "link": 0.0, "overlap": 0.0}
    for one in times:
        device = [
            (job.begun_s, job.done_s)
            for job in one.jobs
            if job.begun_s is not None and job.done_s is not None
        ]
        link = [(job.sent_s, job.received_s) for job in one.jobs if job.received_s is not None]
        link += [(job.offered_s, job.uploaded_s) for job in one.jobs]
        spans = {"server": list(one.server_s), "devices": device, "link": link}
        ends_s = max(end_s for part in spans.values() for _, end_s in part)
        grid_s = np.arange(0.0, ends_s, ends_s / 20_000)
        masks = {name: covered(part, grid_s) for name, part in spans.items()}
        masks["overlap"] = sum(mask.astype(int) for mask in masks.values()) >= 2
        whole_s += ends_s
        for name, mask in masks.items():
            shares_s[name] += float(mask.mean()) * ends_s
    return {f"{name}_share": share_s / whole_s for name, share_s in shares_s.items()}


def covered(spans: Spans, grid_s: np.ndarray) -> np.ndarray:
    mask = np.zeros(len(grid_s), bool)
    for begin_s, end_s in spans:
        mask |= (grid_s >= begin_s) & (grid_s < end_s)
    return mask


def measure(size: str, devices: int, count: int, python: str) -> dict[str, Any]:
    chosen = flags(size, devices)
    run, again = simulated(splitkd(chosen), chosen.common), splitkd(chosen)
    priced = timed(run.experiment, run.fleet, count)
    with TemporaryDirectory() as folder, agents(Path(folder), again, python) as fleet:
        real = timed(again, fleet, count)
    for name, array in priced.state.student.items():
        assert np.array_equal(array, real.state.student[name]), f"other weights: {name}"
    figures = {
        "simulated_steps_per_s": rate(chosen, priced.wall_s),
        "real_steps_per_s": rate(chosen, real.wall_s),
        "real_slowest": rate(chosen, [max(real.wall_s)]),
        "real_fastest": rate(chosen, [min(real.wall_s)]),
        "simulated_steps_per_processor_s": rate(chosen, priced.process_s),
        "real_steps_per_server_processor_s": rate(chosen, real.process_s),
        **busy(real.times),
    }
    figures["ratio"] = figures["real_steps_per_s"] / figures["simulated_steps_per_s"]
    jobs = statistics.median(len(one.jobs) for one in real.times)
    rounded = {name: round(value, 3) for name, value in figures.items()}
    return {"size": size, "devices": devices, "jobs_per_round": jobs, **rounded}


def rate(chosen: Flags, taken_s: list[float]) -> float:
    return chosen.language.steps / statistics.median(taken_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--python", default=sys.executable)
    asked = parser.parse_args()
    for size in asked.sizes:
        print(json.dumps(measure(size, asked.devices, asked.rounds, asked.python)), flush=True)


if __name__ == "__main__":
    main()
