"""A recipe's simulation, from its flags to a record, with or without somebody who follows the
rounds."""

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..record.history import History, read
from ..record.run import RunRecord, check_free, create
from ..report.page import write_page
from ..training.loop import about, train
from .find import Recipe, recipe
from .flags import changed, common, flatten
from .simulated import SimulatedRun, simulated

RUNS = Path("runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A simulation whose record is there, without a round yet."""

    run: SimulatedRun
    record: RunRecord
    """Open for writing; whoever has it closes it."""
    about: dict[str, Any]
    """`run.toml`."""


def default_place(name: str, started: datetime) -> Path:
    """Where a run is recorded for which nobody says where."""
    stem = Path(name).stem if ":" in name else name
    return RUNS / f"{stem}-{started:%Y%m%d-%H%M%S}"


def begin(found: Recipe, flags: Any, path: Path, started: datetime) -> Begun:
    """Build the experiment and its fleet, and create the record in a directory that is free.

    Raises ConfigError and InfeasibleError before anything is written.
    """
    check_free(path)
    run = simulated(found.build(flags), common(flags))
    asked = about(run.experiment, found.name, flatten(flags), f"{started:%Y-%m-%dT%H:%M:%SZ}")
    asked["given"] = sorted(changed(flags))
    return Begun(run=run, record=create(path, asked, run.facts), about=asked)


def simulate(name: str, flags: Any, path: Path) -> History:
    """Train to the end, record it in the directory `path`, page included, and return what was
    recorded.

    Args:
        name: a shipped recipe, or `path/to/file.py:function`.
        flags: the recipe's own dataclass, for example `recipes.koala.Flags()`.
        path: must not hold anything yet; `distilfleet run --resume` takes it up if this is
            interrupted.
    """
    begun = begin(recipe(name), flags, path, datetime.now(UTC))
    with closing(begun.record):
        for _ in train(begun.run.experiment, begun.run.fleet, begun.record, None, time.monotonic):
            pass
    history = read(path)
    write_page([history], path / "report.html")
    return history
