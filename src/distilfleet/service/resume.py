"""Where a run of the real fleet goes on after its server was down, and under what name its jobs go
out from then on.

Devices let go of their answers to a committed round and learn on. So when the checkpoints of
committed rounds are lost, the fleet cannot go back: the run goes on from an older one as a new
branch, told in its record. Its jobs have keys of their own, answers that belong to no committed
round are taken back, and devices keep what they have learnt. The weights are not those of a run
that lost nothing. The same where the journal has lost what it was given: see `net.mark`.
"""

import logging
from contextlib import ExitStack
from pathlib import Path

from ..core.errors import RecordError
from ..net.journal import SqliteJournal
from ..net.mark import go_back, is_behind, read_mark
from ..net.protocol import branch_of
from ..record.checkpoint import Checkpoint
from ..record.queue import Queue
from ..record.run import RunRecord, add_note, reopen

log = logging.getLogger(__name__)
CHECKPOINTS = "checkpoints/round-????????.safetensors"


def take_up(
    folder: Path, name: str, journal: SqliteJournal
) -> tuple[RunRecord, Checkpoint, str] | None:
    """The record, where to go on, and the branch; None for a run of which nothing is on disk yet.

    Raises RecordError if rounds are committed and every checkpoint is lost.
    """
    branch, committed = _branch(name, journal)
    if not any(folder.glob(CHECKPOINTS)):
        if committed:
            raise RecordError(
                f"{folder} has lost every checkpoint of {committed} committed rounds; restore a "
                "copy"
            )
        return None
    record, about, start = reopen(folder)
    assert start is not None  # there is a checkpoint
    with ExitStack() as opened:
        opened.callback(record.close)
        mark = read_mark(start.arrays, "fleet/")
        behind = (
            committed < start.round - 1 if mark is None else is_behind(journal, mark, start.round)
        )
        if start.round < committed or behind:
            lost = _lost_by_journal if behind else _lost_by_record
            note = lost(start.round, committed)
            log.warning("%s: %s", name, note)
            add_note(record, about, note)
            go_back(journal, name, mark, start.round)
            branch = _branch(name, journal)[0]
        opened.pop_all()
    return record, start, branch


def tell_behind(queue: Queue, journal: SqliteJournal) -> None:
    """At a server's start, of each run that is not finished: whether the journal has lost rounds of
    it."""
    for name in [entry.name for entry in queue.entries() if entry.state != "finished"]:
        last = max(
            (int(file.stem[-8:]) for file in queue.record(name).glob(CHECKPOINTS)), default=0
        )
        committed = _branch(name, journal)[1]
        if committed < last - 1:
            warning = (
                "%s: the journal knows of %d rounds and there is a checkpoint of round %d, so it "
                "has lost some."
            )
            log.warning(warning, name, committed, last)


def _lost_by_record(last: int, committed: int) -> str:
    lost = "round" if committed == last + 1 else f"rounds {last + 1} to"
    return (
        f"A new branch from round {last}: the checkpoint of {lost} {committed} is lost, and "
        "devices had learnt on. The weights are not those of a run that lost nothing."
    )


def _lost_by_journal(last: int, committed: int) -> str:
    known = (
        f"knows of rounds up to {committed} alone"
        if committed < last
        else "has lost answers that counted"
    )
    return (
        f"A new branch from round {last}: the journal {known}, so it has lost what was written to "
        "it; is its disk sound, and was it copied with its -wal? What counted in the last round is "
        "known from the checkpoint. A device that was away since before unlearns its last job, "
        "though the server has its answer."
    )


def _branch(name: str, journal: SqliteJournal) -> tuple[str, int]:
    """The name of the newest branch and the last round that is committed on it or before it."""
    number, since = journal.branches(name)
    branch = branch_of(name, number)
    return branch, max(since, journal.committed(branch))
