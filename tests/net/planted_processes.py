"""Bugs for real processes: the command line with one part replaced by a wrong one. Kills must bring
each to light."""

import os
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from planted import CommitsEarly, LetsGoOnReceived

from distilfleet.cli.main import main
from distilfleet.core.failpoint import reached
from distilfleet.net import agent
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.store import SqliteStore
from distilfleet.record import checkpoint
from distilfleet.service import server as serve

HALF = "checkpoint.half"
"""A point of `tear`, and of nothing else."""


class ForgetsAnswers(SqliteStore):
    """The worker's state is there after a crash, what it answered is not."""

    def held(self):
        return {}


class CommitsWhatItRecords(SqliteJournal):
    """Before there is a checkpoint."""

    def record(self, outcomes):
        super().record(outcomes)
        for outcome in outcomes[:1]:
            self.commit(outcome.run, outcome.round)


class NeverCommits(SqliteJournal):
    def commit(self, run, number):
        pass


def tear(file: Path, pieces: Iterable[bytes], mode: int = 0o666) -> None:
    """In place of the one before, in two halves."""
    data = b"".join(pieces)
    for old in file.parent.glob("*.safetensors"):
        old.unlink()
    with file.open("wb") as out:
        out.write(data[: len(data) // 2])
        out.flush()
        reached(HALF)
        out.write(data[len(data) // 2 :])


def unnamed(file: Path, pieces: Iterable[bytes], mode: int = 0o666) -> None:
    """Written, synchronised, and not renamed."""
    with file.with_name(f"{file.name}.unfinished").open("wb") as out:
        out.writelines(pieces)
        os.fsync(out.fileno())


def plant(module: ModuleType, name: str, bug: object) -> None:
    """In place of what the module has under this name: of a name that it has not, nobody would
    notice anything."""
    assert hasattr(module, name), f"{module.__name__} has no {name}"
    setattr(module, name, bug)


def told_early(words: list[str]) -> None:
    serve.Coordinator = CommitsEarly
    main(words)


def committed_early(words: list[str]) -> None:
    plant(serve, "SqliteJournal", CommitsWhatItRecords)
    main(words)


def never_committed(words: list[str]) -> None:
    plant(serve, "SqliteJournal", NeverCommits)
    main(words)


def torn(words: list[str]) -> None:
    plant(checkpoint, "write_atomically", tear)
    main(words)


def not_renamed(words: list[str]) -> None:
    plant(checkpoint, "write_atomically", unnamed)
    main(words)


def let_go_on_received(words: list[str]) -> None:
    plant(agent, "DeviceSide", LetsGoOnReceived)
    main(words)


def answers_forgotten(words: list[str]) -> None:
    plant(agent, "SqliteStore", ForgetsAnswers)
    main(words)
