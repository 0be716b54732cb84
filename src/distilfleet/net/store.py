"""A device's disk: answers that are not settled, and the worker's state, in one SQLite file."""

from collections.abc import Mapping
from pathlib import Path

from ..core.types import Arrays
from ..core.wire import Body, decode_body, encode_body
from .journal import open_database, storing
from .protocol import trunk_of
from .session import Held

SCHEMA = """
create table if not exists answers (
    number integer primary key, key text unique not null, digest blob, data blob, busy_s real, energy_j real,
    measured integer, manifest blob, before blob
);
create table if not exists worker (run text primary key, manifest blob, state blob);
"""


class SqliteStore:
    """Implements `bench.Store`."""

    def __init__(self, file: Path) -> None:
        """Raises RecordError if the file is damaged."""
        self._base = open_database(file, SCHEMA)

    def open_run(self, run: str) -> bool:
        """Whether this run was under way here; whatever another one left is dropped.

        A new branch of a run finds its worker, and the answers of the branch before until they are settled.
        """
        (before,) = self._base.execute("select run from worker").fetchone() or ("",)
        found = trunk_of(before) == trunk_of(run)
        if found and before != run:
            with storing(self._base):
                self._base.execute("update worker set run = ?", (run,))
        if not found:
            with storing(self._base):
                self._base.execute("delete from answers")
                self._base.execute("delete from worker")
                self._base.execute("insert into worker values (?, null, null)", (run,))
        return found

    def held(self) -> Mapping[str, Held]:
        query = "select key, digest, data, busy_s, energy_j, measured from answers order by number"
        return {
            key: Held(job_digest=digest, data=data, busy_s=busy_s, energy_j=energy_j, measured=bool(measured))
            for key, digest, data, busy_s, energy_j, measured in self._base.execute(query)
        }

    def state(self) -> Arrays | None:
        return _read(self._base.execute("select manifest, state from worker").fetchone())

    def before(self, key: str) -> Arrays | None:
        return _read(self._base.execute("select manifest, before from answers where key = ?", (key,)).fetchone())

    def finish(self, key: str, held: Held, before: Arrays, after: Arrays) -> None:
        then, now = encode_body(before), encode_body(after)
        said = key, held.job_digest, held.data, held.busy_s, held.energy_j, held.measured, then.manifest, then.data
        with storing(self._base):
            self._base.execute("delete from answers where key = ?", (key,))
            self._base.execute("insert into answers values (null, ?, ?, ?, ?, ?, ?, ?, ?)", said)
            self._base.execute("update worker set manifest = ?, state = ?", (now.manifest, now.data))

    def settle(self, key: str, state: Arrays | None) -> None:
        with storing(self._base):
            self._base.execute("delete from answers where key = ?", (key,))
            if state is not None:
                body = encode_body(state)
                self._base.execute("update worker set manifest = ?, state = ?", (body.manifest, body.data))

    def close(self) -> None:
        self._base.close()


def _read(row: tuple[bytes | None, bytes] | None) -> Arrays | None:
    return None if row is None or row[0] is None else decode_body(Body(row[0], row[1]))
