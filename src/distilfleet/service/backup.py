"""A copy of a server's folder, made while the server runs, from which a run goes on as a told
branch.

What is copied later may be newer than what was copied before, so the order is that in which the
server trusts things: journal, checkpoints, the rest of a run. Devices go on after a copy was made:
whoever starts a server from it starts a new branch of each run that was not finished (see
`take_up`), which is written into the copy.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from ..core.errors import RecordError, StorageError
from ..net.journal import SqliteJournal
from ..net.mark import go_back, read_mark
from ..record.checkpoint import newest
from ..record.run import add_note, reopen
from .fleet_file import FleetFolder

DATABASES = ("journal.sqlite", "authority/identity.sqlite")
UNFINISHED = ("queue", "stopped")
MOVES = ("done", "queue", "stopped", "queue", "done")
"""In this order a run is found wherever it is moved meanwhile."""
NOTE = "Goes on from a copy of the server's folder, as a new branch: devices had gone on meanwhile."


def back_up(folder: FleetFolder, to: Path) -> str:
    """Copy a server's folder, and say what was copied. Raises RecordError and StorageError."""
    state = folder.state
    if not (state / "journal.sqlite").exists():
        raise RecordError(f"{state} holds no journal: no server has run here")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RecordError(f"{to} is there already; name a folder that is not")
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy_state(state, to)
    names = [file.stem for part in UNFINISHED for file in (to / part).glob("*.json")]
    with closing(SqliteJournal(to / "journal.sqlite")) as journal:
        begun = [name for name in names if _branch(to / "runs" / name, journal)]
    runs = list((to / "runs").glob("*"))
    return f"{len(runs)} runs, {len(begun)} of them unfinished"


def _copy_state(state: Path, to: Path) -> None:
    """Queues before databases before records, and of a record its checkpoints first."""
    for part in ("authority", *MOVES):
        _copy(state / part, to / part, "*.sqlite*")
    for name in DATABASES:
        _copy_database(state / name, to / name)
    for run in sorted((state / "runs").glob("*")):
        _copy(run / "checkpoints", to / "runs" / run.name / "checkpoints", "*.unfinished")
        _copy(run, to / "runs" / run.name, "checkpoints")


def _copy_database(source: Path, to: Path) -> None:
    """Raises StorageError."""
    try:
        with closing(sqlite3.connect(source)) as there, closing(sqlite3.connect(to)) as copy:
            there.backup(copy)
    except sqlite3.Error as fault:
        raise StorageError(
            f"{source} cannot be copied to {to}: {fault}. Look at both disks."
        ) from None


def _branch(run: Path, journal: SqliteJournal) -> bool:
    """Whether there was something to go on from."""
    if not any(run.glob("checkpoints/*.safetensors")):
        return False
    record, about, _ = reopen(run)
    with closing(record):
        add_note(record, about, NOTE)
        start = newest(run / "checkpoints")[0]
        go_back(journal, run.name, read_mark(start.arrays, "fleet/"), start.round)
    return True


def _copy(source: Path, to: Path, *without: str) -> None:
    """A folder, as far as it is there: the server removes old checkpoints meanwhile."""
    if source.exists():
        ignored = shutil.ignore_patterns(*without, "*.unfinished", ".lock")
        shutil.copytree(source, to, ignore=ignored, copy_function=_copy_file, dirs_exist_ok=True)


def _copy_file(source: str, to: str) -> None:
    """On disk when this returns."""
    try:
        shutil.copy2(source, to)
        with Path(to).open("rb") as copy:
            os.fsync(copy.fileno())
    except FileNotFoundError:
        Path(to).unlink(missing_ok=True)
