"""A run handed to a server and followed: what whoever asks for it does."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.disk import lock
from ..core.errors import ConfigError, Error, RecordError
from ..core.failpoint import reached
from ..recipes.flags import changed, flatten, option
from ..record.history import read_about, read_rounds, read_start
from ..record.queue import Queue, QueuedRun
from .ask import SIMULATED, experiment_of
from .fleet_file import FleetFolder
from .from_here import from_here, placed

LOOK_S = 0.3
"""Between looks into a folder."""


MOST_MISSING = 5
"""Looks at a run that is nowhere: it may be on its way from one folder to another."""


def submit(here: FleetFolder, name: str, flags: Any) -> str:
    """Ask the server for a run; its name."""
    started = datetime.now(UTC)
    asked = {
        "recipe": placed(name),
        "settings": from_here(flatten(flags)),
        "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
    }
    experiment_of(here, asked)  # a mistake is told here, not in the server's log
    run = f"{Path(name.partition(':')[0]).stem}-{started:%Y%m%d-%H%M%S-%f}"
    here.queue.ask(run, asked)
    reached("run.submitted")
    return run


def check_real(flags: Any) -> None:
    """Raises ConfigError for flags that only a simulated fleet obeys, and for what the fleet file
    says."""
    if "catalogue" in changed(flags):
        remedy = (
            "the kinds of a real fleet are in its fleet file: write catalogue = 'FILE' there, and "
            "leave this out"
        )
        raise ConfigError(f"--catalogue: {remedy}")
    moot = [option(name) for name in SIMULATED if name in changed(flags)]
    if moot:
        raise ConfigError(
            f"{', '.join(moot)}: a real fleet has its devices, with their data and links, and "
            f"simulates none; leave {'it' if len(moot) == 1 else 'them'} out with --fleet"
        )


def listed(queue: Queue) -> list[dict[str, str]]:
    """All runs, with how far they are."""
    return [
        {
            "name": entry.name,
            "state": entry.state,
            "rounds": _rounds(queue.record(entry.name)),
            "error": entry.error,
            "waits": entry.waits,
        }
        for entry in queue.entries()
    ]


def _rounds(folder: Path) -> str:
    try:
        return f"{len(read_rounds(folder))} of {read_about(folder)['rounds']}"
    except RecordError:
        return "-"


def goes_on(queue: Queue, name: str) -> str:
    """Where a run that is resumed goes on, as far as its record tells."""
    files = sorted(queue.record(name).glob("checkpoints/round-*.safetensors"))
    done = int(files[-1].stem[-8:]) if files else 0
    return (
        f"it goes on after round {done}, behind what waits there"
        if done
        else "it begins, behind what waits there"
    )


class StoppedError(Error):
    """The run that is followed was stopped, and can be resumed."""


class FailedError(Error):
    """The run that is followed failed; why is in the message."""


def unheard(_words: str) -> None:
    """Nobody asks."""


def follow(
    here: FleetFolder, run: str, hear: Callable[[str], None] = unheard
) -> Iterator[dict[str, Any]]:
    """Metrics of each round as it is finished; what devices it waits for is heard, and "" when they
    are back.

    Raises FailedError if the server could not do the run, StoppedError if somebody stopped it.
    """
    queue = here.queue
    seen = 0
    done = 0
    missing = 0
    waits = ""
    again = f"distilfleet runs resume {run} --fleet {here.path}"
    while missing < MOST_MISSING:
        entry = queue.entry(run)
        lines = _whole_lines(queue.record(run) / "metrics.jsonl")
        yield from lines[seen:]
        seen = max(seen, len(lines))
        done = max(done, *(line["round"] for line in lines), 0)
        missing = 0 if entry is not None else missing + 1
        if entry is not None and entry.waits != waits:
            waits = entry.waits
            hear(waits)
        match entry:
            case QueuedRun(state="finished"):
                return
            case QueuedRun(state="failed", error=error):
                raise FailedError(
                    f"{run} failed after round {done}: {error}. Once that is mended, it goes on: "
                    f"{again}"
                )
            case QueuedRun(state="stopped"):
                raise StoppedError(
                    f"{run} was stopped after round {done}; it goes on with: {again}"
                )
        time.sleep(LOOK_S)
    raise FailedError(
        f"{run} is not with the server any more: somebody took its file out of "
        f"{queue.state / 'queue'}"
    )


def _whole_lines(metrics: Path) -> list[dict[str, Any]]:
    """Of rounds so far; none of a record that is damaged, since the server says so."""
    try:
        start = read_start(metrics.parent)
        rounds = read_rounds(metrics.parent)
        return [dict(line) for line in (start, *rounds) if line]
    except RecordError:
        return []


def served_now(here: FleetFolder) -> bool:
    """Whether a server holds the folder."""
    try:
        lock(here.folder("."), "").close()
    except RecordError:
        return True
    return False


def page_of(here: FleetFolder, run: str) -> Path:
    """The page of a run, which is in the folder of its record."""
    return here.queue.record(run) / "report.html"
