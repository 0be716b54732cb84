"""A device's disk: answers that are not settled, and each run's worker, in one SQLite file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.types import Arrays
from ..core.wire import Body, decode_body, encode_body
from .device_side import Held
from .journal import open_database, storing
from .protocol import run_of, trunk_of

SCHEMA = """
create table if not exists answers (
    number integer primary key, key text unique not null, digest blob, data blob, busy_s real, energy_j real,
    measured integer, manifest blob, before blob
);
create table if not exists worker (run text primary key, manifest blob, state blob);
"""
KEPT_RUNS = 4
"""Runs whose worker a device remembers: the one under way, and those that may have been stopped."""


class SqliteStore:
    """Implements `bench.Store`."""

    def __init__(self, file: Path) -> None:
        """Raises RecordError if the file is damaged."""
        self._base = open_database(file, SCHEMA)
        self._run = ""

    def open_run(self, run: str) -> bool:
        """Turn to this run's worker; whether it was under way here. A branch of a run finds the run's.

        Those of other runs stay for when they are resumed, `KEPT_RUNS` in all.
        """
        self._run = trunk_of(run)
        runs = [run for (run,) in self._base.execute("select run from worker order by rowid desc")]
        if self._run not in runs:
            with storing(self._base):
                self._base.execute("insert into worker values (?, null, null)", (self._run,))
                self._drop(set(runs[KEPT_RUNS - 1 :]))
        elif self._run != runs[0]:
            with storing(self._base):
                newest = "(select max(rowid) + 1 from worker)"
                self._base.execute(f"update worker set rowid = {newest} where run = ?", (self._run,))  # noqa: S608
        return self._run in runs

    def _drop(self, runs: set[str]) -> None:
        self._base.executemany("delete from worker where run = ?", [(run,) for run in runs])
        gone = [(key,) for key in self.keys() if _worker_of(key) in runs]
        self._base.executemany("delete from answers where key = ?", gone)

    def keys(self) -> list[str]:
        """Of answers that are not settled, of all runs."""
        return [key for (key,) in self._base.execute("select key from answers order by number")]

    def held(self) -> Mapping[str, Held]:
        query = "select key, digest, data, busy_s, energy_j, measured from answers order by number"
        return {
            key: Held(job_digest=digest, data=data, busy_s=busy_s, energy_j=energy_j, measured=bool(measured))
            for key, digest, data, busy_s, energy_j, measured in self._base.execute(query)
        }

    def state(self) -> Arrays | None:
        return _read(self._base.execute("select manifest, state from worker where run = ?", (self._run,)).fetchone())

    def before(self, key: str) -> Arrays | None:
        return _read(self._base.execute("select manifest, before from answers where key = ?", (key,)).fetchone())

    def finish(self, key: str, held: Held, before: Arrays, after: Arrays) -> None:
        then, now = encode_body(before), encode_body(after)
        said = key, held.job_digest, held.data, held.busy_s, held.energy_j, held.measured, then.manifest, then.data
        with storing(self._base):
            self._base.execute("delete from answers where key = ?", (key,))
            self._base.execute("insert into answers values (null, ?, ?, ?, ?, ?, ?, ?, ?)", said)
            self._keep(key, now)

    def drop(self, keys: Sequence[str]) -> None:
        """Forget answers that counted, all at once."""
        with storing(self._base):
            self._base.executemany("delete from answers where key = ?", [(key,) for key in keys])

    def settle(self, key: str, state: Arrays | None) -> None:
        with storing(self._base):
            self._base.execute("delete from answers where key = ?", (key,))
            if state is not None:
                self._keep(key, encode_body(state))

    def _keep(self, key: str, state: Body) -> None:
        """The worker's state, of the run that this key is of."""
        said = state.manifest, state.data, _worker_of(key)
        self._base.execute("update worker set manifest = ?, state = ? where run = ?", said)

    def close(self) -> None:
        self._base.close()


def _worker_of(key: str) -> str:
    return trunk_of(run_of(key))


def _read(row: tuple[bytes | None, bytes] | None) -> Arrays | None:
    return None if row is None or row[0] is None else decode_body(Body(row[0], row[1]))
