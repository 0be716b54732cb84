"""`make fleet-demo`: one server and eight agents as separate processes on this machine, over mutual
TLS.

Trains KOALA on handwritten digits, then split KD on text, and leaves the pages of both runs.
"""

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError
from ..recipes.find import recipe
from ..recipes.flags import flatten, unflatten
from ..record.run import check_free
from ..report.live import show
from .client import follow, page_of, submit
from .enrol import create_token
from .fleet_file import FleetFolder, fleet_folder
from .partition import PROXY, SERVER, SplitFlags, split

log = logging.getLogger(__name__)
KINDS = ("rpi-zero-2w", "rpi-3b-plus", "rpi-4b", "rpi-5") * 2
STARTED_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A run of the demonstration."""

    recipe: str
    split: SplitFlags
    settings: Mapping[str, Any]
    """The recipe's flags that are set."""


def demos(folder: Path) -> Sequence[Demo]:
    koala = SplitFlags(data="digits", devices=len(KINDS), out=folder / "koala" / "data")
    text = SplitFlags(
        data="stdlib",
        devices=len(KINDS),
        holdout=0.1,
        recipe="splitkd",
        out=folder / "splitkd" / "data",
    )
    return [
        Demo(recipe="koala", split=koala, settings={"proxy": str(koala.out / PROXY)}),
        Demo(recipe="splitkd", split=text, settings={"cut": 0}),
    ]


def demo(folder: Path, rounds: int = 3) -> list[Path]:
    """The pages. Raises RecordError if the folder holds something."""
    check_free(folder)
    return [_one(folder / one.recipe, one, rounds) for one in demos(folder)]


def _one(folder: Path, one: Demo, rounds: int) -> Path:
    folder.mkdir(parents=True)
    say(f"{one.recipe}: {split(one.split)}")
    found = recipe(one.recipe)
    file = folder / "fleet.toml"
    own = {"data": str(one.split.out / SERVER), "rounds": rounds}  # no part of a device's
    flags = unflatten(found.flags, {**flatten(found.flags()), **one.settings, **own})
    write_fleet(file, KINDS)
    here = fleet_folder(file)
    with _processes(folder, here):
        say(f"Live page, until the run is over: http://{here.page}/")
        run = submit(here, one.recipe, flags)
        show(rounds, 1, follow(here, run), lambda: False)
    say(f"Page: {page_of(here, run)}")
    return page_of(here, run)


def write_fleet(file: Path, kinds: Sequence[str]) -> None:
    """A fleet file of this machine, on ports that nobody has."""
    with ExitStack() as opened:
        taken = [opened.enter_context(socket.socket()) for _ in range(3)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in taken]
    named = zip(("address", "enrol_address", "page"), ports, strict=True)
    lines = [*(f'{name} = "localhost:{port}"' for name, port in named), "[devices]"]
    file.write_text(
        "\n".join([*lines, *(f'device-{i} = "{kind}"' for i, kind in enumerate(kinds))]) + "\n"
    )


@contextmanager
def _processes(folder: Path, here: FleetFolder) -> Iterator[None]:
    """A server and its agents, stopped at the end."""
    started = [start(folder / "serve.log", "serve", str(here.path))]
    try:
        wait_for(folder / "fleet-state" / "authority" / "identity.sqlite", started[0])
        for i in range(len(KINDS)):
            name = f"device-{i}"
            own = ["--data", str(folder / "data" / f"{name}.npz"), "--state", str(folder / name)]
            token = create_token(here, name, 3600.0)
            started.append(start(folder / f"{name}.log", "agent", "--token", token, *own))
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def start(log_file: Path, *words: str) -> "subprocess.Popen[bytes]":
    """A verb of the command line, in a process of its own."""
    with log_file.open("ab") as out:
        command = [sys.executable, "-m", "distilfleet.cli", *words]
        # our own command line
        return subprocess.Popen(command, stdout=out, stderr=out)  # noqa: S603


def wait_for(file: Path, process: "subprocess.Popen[bytes]") -> None:
    end_s = time.monotonic() + STARTED_S
    while not file.exists():
        if process.poll() is not None or time.monotonic() > end_s:
            raise ConfigError(f"the server did not start; see {file.parents[2] / 'serve.log'}")
        time.sleep(0.1)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    demo(Path(sys.argv[1]))
