"""A server and agents as separate processes on loopback, over mutual TLS."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ports import NO_PAGE, free_ports

from cli_runs import Forked
from distilfleet.service.enrol import create_token
from distilfleet.service.fleet_file import FleetFolder, fleet_folder
from distilfleet.service.partition import SplitFlags, split

KINDS = ("rpi-4b", "jetson-nano")


@dataclass
class Processes:
    """Each is a verb of the command line."""

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    forked: bool = False
    """Started from one that has the packages loaded, in a fraction of the time."""
    server: subprocess.Popen | Forked | None = None
    agents: dict[str, subprocess.Popen | Forked] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sessions, enrolment = free_ports(2)
        lines = [f'address = "localhost:{sessions}"', f'enrol_address = "localhost:{enrolment}"']
        lines += [f"{name} = {value}" for name, value in {**NO_PAGE, **self.settings}.items()]
        lines += ["[devices]", *(f'device-{i} = "{kind}"' for i, kind in enumerate(KINDS))]
        self.file.write_text("\n".join(lines))
        split(SplitFlags(data="digits", devices=len(KINDS), seed=0, out=self.folder / "data"))

    @property
    def file(self) -> Path:
        return self.folder / "fleet.toml"

    @property
    def here(self) -> FleetFolder:
        return fleet_folder(self.file)

    def start_server(self) -> None:
        self.server = self._start("serve", str(self.file))

    def start_agent(self, number: int, new: bool = False) -> None:
        name = f"device-{number}"
        token = ["--token", create_token(self.here, name, 3600.0)] if new else []
        own = [
            "--data",
            str(self.folder / "data" / f"{name}.npz"),
            "--state",
            str(self.folder / name),
        ]
        self.agents[name] = self._start("agent", *token, *own)

    def stop(self) -> None:
        for process in (*self.agents.values(), self.server):
            if process is not None:
                kill(process)

    def _start(self, *words: str) -> subprocess.Popen | Forked:
        file = self.folder / f"{words[0]}.log"
        if self.forked:
            return Forked(*words, log=file)
        with file.open("ab") as log:
            command = [sys.executable, "-m", "distilfleet.cli", *words]
            return subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )


def kill(process: subprocess.Popen | Forked) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
