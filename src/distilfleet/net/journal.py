"""What survives the server: outcomes of jobs and committed rounds, in one SQLite file.

Write-ahead log with full synchronisation: what a call has written is on disk when it returns. An
outcome is on disk before its device hears of it, a round is committed after its checkpoint is on
disk.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..core.types import DeviceId
from .database import asking, open_database, storing

RESTORE = (
    "Restore it from a copy that `distilfleet backup` made; or move it away with its -wal: then "
    "runs that are not finished go on as new branches, see docs/operations.md."
)
SCHEMA = """
create table if not exists facts (name text primary key, value integer not null) without rowid;
create table if not exists outcomes (
    key text primary key, run text not null, round integer not null, job text not null,
    device text not null, reason text not null, digest blob not null
) without rowid;
create index if not exists of_round on outcomes (run, round);
create table if not exists rounds (run text, round integer, primary key (run, round)) without rowid;
create table if not exists branches (
    run text, number integer, round integer, primary key (run, number)
) without rowid;
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

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """What came of these jobs; what was known of them before is replaced."""
        ...

    def commit(self, run: str, number: int) -> None:
        """This round and all before it."""
        ...

    def branches(self, run: str) -> tuple[int, int]:
        """How often it went on under keys of a new branch, and from which round the last time."""
        ...

    def branch_off(self, run: str, number: int) -> None:
        """Go on from this round under keys of a new branch."""
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
        self._base = open_database(file, SCHEMA, RESTORE)

    def record(self, outcomes: Sequence[Outcome]) -> None:
        rows = [(o.key, o.run, o.round, o.job, o.device, o.reason, o.digest) for o in outcomes]
        with storing(self._base):
            self._base.executemany(
                "insert or replace into outcomes values (?, ?, ?, ?, ?, ?, ?)", rows
            )

    def commit(self, run: str, number: int) -> None:
        with storing(self._base):
            self._base.execute("insert or ignore into rounds values (?, ?)", (run, number))

    def committed(self, run: str) -> int:
        """The last committed round, 0 before the first."""
        ((last,),) = self._rows("select max(round) from rounds where run = ?", run)
        return int(last or 0)

    def branches(self, run: str) -> tuple[int, int]:
        query = "select number, round from branches where run = ? order by number desc"
        found = self._rows(query, run)
        return (int(found[0][0]), int(found[0][1])) if found else (0, 0)

    def branch_off(self, run: str, number: int, latest: int = 0) -> None:
        """Go on from this round as a branch with a number of its own; `latest` was used, whatever
        is known here."""
        branch = max(self.branches(run)[0], latest) + 1
        with storing(self._base):
            self._base.execute("insert into branches values (?, ?, ?)", (run, branch, number))

    def verdicts(self, keys: Iterable[str]) -> Mapping[str, bool]:
        found: dict[str, bool] = {}
        for key in keys:
            for run, number, reason in self._rows(
                "select run, round, reason from outcomes where key = ?", key
            ):
                if reason or number <= self.committed(run):
                    found[key] = not reason
        return found

    def outcomes(self, run: str, number: int) -> Sequence[Outcome]:
        query = (
            "select key, run, round, job, device, reason, digest from outcomes where run = ? and "
            "round = ?"
        )
        names = ("key", "run", "round", "job", "device", "reason", "digest")
        return [
            Outcome(**dict(zip(names, row, strict=True))) for row in self._rows(query, run, number)
        ]

    def begin(self) -> int:
        """The number of this start of the server."""
        with storing(self._base):
            self._base.execute(
                "insert into facts values ('starts', 1) on conflict do update set value = value + 1"
            )
        ((starts,),) = self._rows("select value from facts where name = 'starts'")
        return int(starts)

    def close(self) -> None:
        self._base.close()

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with asking(self._base):
            return self._base.execute(query, values).fetchall()
