"""A server and agents as separate processes on loopback, over mutual TLS."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distilfleet.net.agent import Caps
from distilfleet.recipes.serve import create_token, run_agent, serve
from distilfleet.recipes.split import Split, split

KINDS = ("rpi-4b", "jetson-nano")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass
class Processes:
    """Starts this file again, once per process."""

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    server: subprocess.Popen | None = None
    agents: dict[str, subprocess.Popen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sessions, enrolment = free_ports(2)
        lines = [f'address = "localhost:{sessions}"', f'enrol_address = "localhost:{enrolment}"']
        lines += [f"{name} = {value}" for name, value in self.settings.items()]
        lines += ["[devices]", *(f'device-{i} = "{kind}"' for i, kind in enumerate(KINDS))]
        self.file.write_text("\n".join(lines))
        split(Split(data="digits", devices=len(KINDS), seed=0, out=self.folder / "data"))

    @property
    def file(self) -> Path:
        return self.folder / "fleet.toml"

    def start_server(self) -> None:
        self.server = self._start("serve")

    def start_agent(self, number: int, new: bool = False) -> None:
        name = f"device-{number}"
        token = create_token(self.file, name, 3600.0) if new else "-"
        own = self.folder / "data" / f"{name}.npz", self.folder / name
        self.agents[name] = self._start("agent", token, *map(str, own))

    def stop(self) -> None:
        for process in (*self.agents.values(), self.server):
            if process is not None:
                kill(process)

    def _start(self, *words: str) -> subprocess.Popen:
        log = (self.folder / f"{words[0]}.log").open("ab")
        with log:
            command = [sys.executable, __file__, str(self.file), *words]
            return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def main(file: str, verb: str, *rest: str) -> None:
    if verb == "serve":
        serve(Path(file))
    else:
        token, data, folder = rest
        run_agent(None if token == "-" else token, data, Path(folder), Caps())


if __name__ == "__main__":
    main(*sys.argv[1:])
