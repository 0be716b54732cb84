"""A device's disk: answers that are not settled, and how each run's worker came to be, in one
SQLite file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.types import Arrays
from ..core.wire import Body, decode_body, encode_body
from .database import open_database, storing
from .device_side import Held
from .job_runner import JobHistory
from .protocol import run_of, trunk_of
from .transfer import Effort

SCHEMA = """
create table if not exists work (
    number integer primary key, key text not null, run text not null,
    digest blob, data blob, busy_s real, energy_j real, measured integer,
    job blob, manifest blob, state blob
);
create index if not exists of_run on work (run, number);
create index if not exists of_key on work (key);
create table if not exists runs (run text primary key);
create table if not exists data (run text primary key, digest text not null);
"""
"""A row of `work` for each job done, in order. `data` is its answer until that is settled. `state`
is the worker's after it; or `job` is there, to be done again after the newest state before it."""
RENEW = (
    "Move the folder away and enrol this device anew, with a new token: it begins with a new "
    "worker."
)
KEPT_RUNS = 4
"""Runs whose worker a device remembers: the one under way, and those that may have been stopped."""


class SqliteStore:
    """Implements `job_runner.Store`."""

    def __init__(self, file: Path) -> None:
        """Raises RecordError if the file is damaged."""
        self._base = open_database(file, SCHEMA, RENEW)
        self._run = ""

    def open_run(self, run: str) -> bool:
        """Turn to this run's worker; whether it was under way here. A branch of a run finds the
        run's.

        Those of other runs stay for when they are resumed, `KEPT_RUNS` in all.
        """
        self._run = trunk_of(run)
        runs = [run for (run,) in self._base.execute("select run from runs order by rowid desc")]
        if self._run not in runs:
            self._begin_run(forgotten=runs[KEPT_RUNS - 1 :])
        elif self._run != runs[0]:
            self._make_newest()
        return self._run in runs

    def _begin_run(self, forgotten: Sequence[str]) -> None:
        with storing(self._base):
            self._base.execute("insert into runs values (?)", (self._run,))
            for old in forgotten:
                self._base.execute("delete from runs where run = ?", (old,))
                self._base.execute("delete from work where run = ?", (old,))
                self._base.execute("delete from data where run = ?", (old,))

    def _make_newest(self) -> None:
        newest = "(select max(rowid) + 1 from runs)"
        with storing(self._base):
            move = f"update runs set rowid = {newest} where run = ?"  # noqa: S608
            self._base.execute(move, (self._run,))

    def begun_with(self, digest: str) -> str:
        """The digest of the data that this run's first job here was done with; this one, if none
        was done yet."""
        done = self._base.execute(
            "select 1 from work where run = ? limit 1", (self._run,)
        ).fetchone()
        kept = self._base.execute("select digest from data where run = ?", (self._run,)).fetchone()
        if done and kept:
            return str(kept[0])
        if kept != (digest,):
            with storing(self._base):
                self._base.execute("insert or replace into data values (?, ?)", (self._run, digest))
        return digest

    def keys(self) -> list[str]:
        """Of answers that are not settled, of all runs."""
        return [
            key
            for (key,) in self._base.execute(
                "select key from work where data is not null order by number"
            )
        ]

    def held(self) -> Mapping[str, Held]:
        query = (
            "select key, digest, data, busy_s, energy_j, measured from work where data is not null "
            "order by number"
        )
        answers: dict[str, Held] = {}
        for key, digest, data, busy_s, energy_j, measured in self._base.execute(query):
            effort = Effort(busy_s=busy_s, energy_j=energy_j, measured=bool(measured))
            answers[key] = Held(job_digest=digest, data=data, effort=effort)
        return answers

    def history(self) -> JobHistory:
        newest = (
            "select number, manifest, state from work where run = ? and state is not null order by "
            "number desc"
        )
        jobs = "select job from work where run = ? and number > ? order by number"
        found = self._base.execute(newest, (self._run,)).fetchone()
        number = 0 if found is None else found[0]
        state = None if found is None else decode_body(Body(found[1], found[2]))
        return JobHistory(
            state, tuple(job for (job,) in self._base.execute(jobs, (self._run, number)))
        )

    def finish(self, key: str, held: Held, job: bytes, state: Arrays | None) -> None:
        effort = held.effort
        answer = (held.job_digest, held.data, effort.busy_s, effort.energy_j, effort.measured)
        worker: tuple[bytes | None, ...] = (job, None, None)
        if state is not None:
            body = encode_body(state)
            worker = (None, body.manifest, body.data)
        row = (key, trunk_of(run_of(key)), *answer, *worker)
        with storing(self._base):
            self._base.execute("insert into work values (null, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def keep(self, keys: Sequence[str]) -> None:
        with storing(self._base):
            self._base.executemany(
                "update work set data = null where key = ?", [(key,) for key in keys]
            )
            for run in {trunk_of(run_of(key)) for key in keys}:
                self._forget_settled(run)

    def _forget_settled(self, run: str) -> None:
        """What is older than the newest state that no unsettled answer goes back beyond."""
        first = (
            "select coalesce(min(number), 1 << 62) from work where run = :run and data is not null"
        )
        newest = (
            "select max(number) from work where run = :run and state is not null "  # noqa: S608
            f"and number < ({first})"
        )
        self._base.execute(
            f"delete from work where run = :run and number < ({newest})",  # noqa: S608
            {"run": run},
        )

    def take_back(self, key: str) -> None:
        with storing(self._base):
            self._base.execute("delete from work where key = ? and data is not null", (key,))

    def close(self) -> None:
        self._base.close()
