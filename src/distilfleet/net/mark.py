"""What a checkpoint says of the journal, so that a journal that has lost something is found out,
and made whole.

SQLite takes the end of its write-ahead log for where the log's first damaged frame is: all later
commits are lost, and nothing tells. The same goes for a copy of the file without its log. But
before a round's checkpoint is written, the journal has all outcomes of that round, and the round
before is committed. What does not hold of the two together was lost by the journal, since a
checkpoint has a digest.
"""

from collections.abc import Mapping

import msgspec
import numpy as np

from ..core.types import Arrays, DeviceId
from .journal import Outcome, SqliteJournal
from .protocol import branch_number, job_of, trunk_of

NAME = "journal"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal must know when a checkpoint is on disk."""

    run: str
    """The branch of the run."""
    answers: dict[str, DeviceId]
    """Keys of the answers that counted in its round, and whose they are."""


def marked(run: str, answers: Mapping[str, DeviceId]) -> Arrays:
    """A mark as an array of a checkpoint, to be read by `read_mark`."""
    mark = msgspec.msgpack.encode(Mark(run=run, answers=dict(answers)))
    return {NAME: np.frombuffer(mark, np.uint8)}


def read_mark(arrays: Arrays, prefix: str) -> Mark | None:
    """None for a checkpoint that has none: of round 0 before any wave, or of an older version."""
    array = arrays.get(prefix + NAME)
    return None if array is None else msgspec.msgpack.decode(array.tobytes(), type=Mark)


def is_behind(journal: SqliteJournal, mark: Mark, number: int) -> bool:
    """Whether the journal has lost what it knew when the checkpoint of this round was written."""
    branch, since = journal.branches(trunk_of(mark.run))
    if branch != branch_number(mark.run):
        return branch < branch_number(mark.run)
    known = {outcome.key for outcome in journal.outcomes(mark.run, number)}
    return max(since, journal.committed(mark.run)) < number - 1 or not mark.answers.keys() <= known


def go_back(journal: SqliteJournal, run: str, mark: Mark | None, number: int) -> None:
    """A new branch from the checkpoint of this round: what it counted has counted, whatever the
    journal knows."""
    if mark is not None:
        known = {outcome.key for outcome in journal.outcomes(mark.run, number)}
        lost = [
            Outcome(key=key, run=mark.run, round=number, job=job_of(key), device=device)
            for key, device in mark.answers.items()
            if key not in known
        ]
        journal.record(lost)
        journal.commit(mark.run, number)
    journal.branch_off(run, number, 0 if mark is None else branch_number(mark.run))
