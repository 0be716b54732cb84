"""Disks of a simulated world: what is not synchronised is lost or torn in a crash."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from distilfleet.core.types import Arrays
from distilfleet.net.device_side import Held
from distilfleet.net.job_runner import JobHistory
from distilfleet.net.journal import Outcome
from distilfleet.net.store import SqliteStore


@dataclass
class MemoryJournal:
    """`Journal`, in transactions; with `synced` off the last ones may be lost in a crash."""

    rng: random.Random
    synced: bool = True
    log: list[tuple[str, Any]] = field(default_factory=list)
    safe: int = 0

    def record(self, outcomes: Sequence[Outcome]) -> None:
        self._write(("outcomes", tuple(outcomes)))

    def commit(self, run: str, number: int) -> None:
        self._write(("round", (run, number)))

    def _write(self, entry: tuple[str, Any]) -> None:
        self.log.append(entry)
        self.safe = len(self.log) if self.synced else self.safe

    def crash(self) -> None:
        self.log = self.log[: self.rng.randint(self.safe, len(self.log))]

    @property
    def committed(self) -> int:
        return max((value[1] for kind, value in self.log if kind == "round"), default=0)

    def _committed(self, run: str) -> int:
        return max(
            (value[1] for kind, value in self.log if kind == "round" and value[0] == run), default=0
        )

    def rows(self) -> dict[str, Outcome]:
        return {o.key: o for kind, value in self.log if kind == "outcomes" for o in value}

    def verdicts(self, keys: Iterable[str]) -> Mapping[str, bool]:
        rows = self.rows()
        known = (rows[key] for key in keys if key in rows)
        return {o.key: not o.reason for o in known if o.reason or o.round <= self._committed(o.run)}

    def outcomes(self, run: str, number: int) -> Sequence[Outcome]:
        return [o for o in self.rows().values() if (o.run, o.round) == (run, number)]

    def branch_off(self, run: str, number: int) -> None:
        self._write(("branch", number))

    def branches(self, run: str) -> tuple[int, int]:
        rounds = [value for kind, value in self.log if kind == "branch"]
        return len(rounds), max(rounds, default=0)


@dataclass
class Disk:
    """Files: what is not synchronised may be torn in a crash."""

    rng: random.Random
    files: dict[str, bytes] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)

    def write(self, name: str, data: bytes) -> None:
        self.files[name] = data
        self.dirty.add(name)

    def sync(self, name: str) -> None:
        self.dirty.discard(name)

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)
        if old in self.dirty:
            self.dirty.discard(old)
            self.dirty.add(new)
        else:
            self.dirty.discard(new)

    def crash(self) -> None:
        for name in self.dirty:
            self.files[name] = self.files[name][: self.rng.randint(0, len(self.files[name]) - 1)]
        self.dirty.clear()


@dataclass
class Row:
    """A job that was done."""

    key: str
    held: Held | None
    job: bytes
    state: Arrays | None


@dataclass
class MemoryStore:
    """`Store` of a device; survives its process."""

    rows: list[Row] = field(default_factory=list)

    def keys(self) -> list[str]:
        return [row.key for row in self.rows if row.held is not None]

    def held(self) -> Mapping[str, Held]:
        return {row.key: row.held for row in self.rows if row.held is not None}

    def history(self) -> JobHistory:
        at = max((i for i, row in enumerate(self.rows) if row.state is not None), default=-1)
        return JobHistory(
            self.rows[at].state if at >= 0 else None, [row.job for row in self.rows[at + 1 :]]
        )

    def finish(self, key: str, held: Held, job: bytes, state: Arrays | None) -> None:
        self.rows.append(Row(key, held, job, state))

    def keep(self, keys: Sequence[str]) -> None:
        for row in self.rows:
            row.held = None if row.key in keys else row.held

    def take_back(self, key: str) -> None:
        self.rows = [row for row in self.rows if row.key != key or row.held is None]


@cache
def database(name: str, kind: type[SqliteStore]) -> SqliteStore:
    """One for all worlds, because to make one takes longer than a world does."""
    return kind(Path(":memory:"))


def emptied(store: SqliteStore) -> SqliteStore:
    store._base.executescript("delete from work; delete from runs")
    store.open_run("run")
    return store
