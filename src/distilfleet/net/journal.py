"""What survives the server: outcomes of jobs and committed rounds, in one SQLite file.

Write-ahead log with full synchronisation: what a call has written is on disk when it returns. An outcome is on disk
before its device hears of it, a round is committed after its checkpoint is on disk.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core.disk import REMEDY
from ..core.errors import RecordError, StorageError
from ..core.types import DeviceId

OF_DISKS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})
SCHEMA = """
create table if not exists facts (name text primary key, value integer not null) without rowid;
create table if not exists outcomes (
    key text primary key, run text not null, round integer not null, job text not null, device text not null,
    reason text not null, digest blob not null
) without rowid;
create index if not exists of_round on outcomes (run, round);
create table if not exists rounds (run text, round integer, primary key (run, round)) without rowid;
create table if not exists branches (run text, number integer, round integer, primary key (run, number)) without rowid;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a job."""

    key: str
    run: str
    round: int
    job: str
    device: DeviceId
    reason: str = ""
    """Why it was missed; empty for an answer that counts."""
    digest: bytes = b""
    """BLAKE3 of the answer's frame."""


class Journal(Protocol):
    """Every method returns when its effect is on disk."""

    def record(self, outcomes: Sequence[Outcome]) -> None: ...

    def commit(self, run: str, number: int) -> None:
        """This round and all before it."""
        ...

    def verdicts(self, keys: Iterable[str]) -> Mapping[str, bool]:
        """Which of these jobs are settled, and whether they counted."""
        ...

    def outcomes(self, run: str, number: int) -> Sequence[Outcome]:
        """Of a round."""
        ...


class SqliteJournal:
    """Implements `Journal`; one writer."""

    def __init__(self, file: Path) -> None:
        """Raises RecordError if the file is damaged."""
        self._base = open_database(file, SCHEMA)

    def record(self, outcomes: Sequence[Outcome]) -> None:
        rows = [(o.key, o.run, o.round, o.job, o.device, o.reason, o.digest) for o in outcomes]
        with storing(self._base):
            self._base.executemany("insert or replace into outcomes values (?, ?, ?, ?, ?, ?, ?)", rows)

    def commit(self, run: str, number: int) -> None:
        with storing(self._base):
            self._base.execute("insert or ignore into rounds values (?, ?)", (run, number))

    def committed(self, run: str) -> int:
        """The last committed round, 0 before the first."""
        (last,) = self._base.execute("select max(round) from rounds where run = ?", (run,)).fetchone()
        return int(last or 0)

    def branches(self, run: str) -> tuple[int, int]:
        """How often it went on from an older checkpoint than its devices did, and from which round the last time."""
        query = "select number, round from branches where run = ? order by number desc"
        found = self._base.execute(query, (run,)).fetchone()
        return (0, 0) if found is None else (int(found[0]), int(found[1]))

    def branch_off(self, run: str, number: int) -> None:
        """Go on from this round, which is older than the last committed one."""
        with storing(self._base):
            self._base.execute("insert into branches values (?, ?, ?)", (run, self.branches(run)[0] + 1, number))

    def verdicts(self, keys: Iterable[str]) -> Mapping[str, bool]:
        found: dict[str, bool] = {}
        for key in keys:
            row = self._base.execute("select run, round, reason from outcomes where key = ?", (key,)).fetchone()
            if row is not None and (row[2] or row[1] <= self.committed(row[0])):
                found[key] = not row[2]
        return found

    def outcomes(self, run: str, number: int) -> Sequence[Outcome]:
        query = "select key, run, round, job, device, reason, digest from outcomes where run = ? and round = ?"
        names = ("key", "run", "round", "job", "device", "reason", "digest")
        return [Outcome(**dict(zip(names, row, strict=True))) for row in self._base.execute(query, (run, number))]

    def begin(self) -> int:
        """The number of this start of the server."""
        with storing(self._base):
            self._base.execute("insert into facts values ('starts', 1) on conflict do update set value = value + 1")
        (starts,) = self._base.execute("select value from facts where name = 'starts'").fetchone()
        return int(starts)

    def close(self) -> None:
        self._base.close()


def open_database(file: Path, schema: str) -> sqlite3.Connection:
    """Checked, and set so that a commit is on disk. Raises RecordError if the file is damaged."""
    base = sqlite3.connect(file, check_same_thread=False)
    try:
        base.execute("pragma journal_mode = wal")
        base.execute("pragma synchronous = full")
        (found,) = base.execute("pragma quick_check").fetchone()
        base.executescript(schema)
    except sqlite3.OperationalError as fault:
        raise _refused(f"{file} cannot be opened", fault) from None
    except sqlite3.DatabaseError as fault:
        found = str(fault)
    if found != "ok":
        base.close()
        raise RecordError(f"{file} is damaged: {found}. Restore it from a copy; devices still hold their answers.")
    return base


@contextmanager
def storing(base: sqlite3.Connection) -> Iterator[None]:
    """A transaction, on disk at its end. Raises StorageError if the disk does not take it."""
    try:
        with base:
            yield
    except sqlite3.OperationalError as fault:
        _, _, file = base.execute("pragma database_list").fetchone()
        raise _refused(f"{file} cannot be written", fault) from None


def _refused(told: str, fault: sqlite3.OperationalError) -> StorageError:
    remedy = f" {REMEDY}" if fault.sqlite_errorcode & 0xFF in OF_DISKS else ""
    return StorageError(f"{told}: {fault}.{remedy}")
