"""Where a run of the real fleet goes on after its server was down, and under what name its jobs go out from then on.

Devices let go of their answers to a committed round and learn on. So when the checkpoints of committed rounds are
lost, the fleet cannot go back: the run goes on from an older one as a new branch, told in its record. Its jobs have
keys of their own, answers that belong to no committed round are taken back, and devices keep what they have learnt. The
weights are not those of a run that lost nothing.
"""

import logging
from pathlib import Path

from ..core.errors import RecordError
from ..net.journal import SqliteJournal
from ..net.protocol import branch_of
from ..record.checkpoint import Checkpoint
from ..record.run import Run, add_note, reopen

log = logging.getLogger(__name__)


def take_up(folder: Path, name: str, journal: SqliteJournal) -> tuple[Run, Checkpoint, str] | None:
    """The record, where to go on, and the branch; None for a run of which nothing is on disk yet.

    Raises RecordError if rounds are committed and every checkpoint is lost.
    """
    branch, committed = _branch(name, journal)
    if not any(folder.glob("checkpoints/*.safetensors")):
        if committed:
            raise RecordError(f"{folder} has lost every checkpoint of {committed} committed rounds; restore a copy")
        return None
    record, about, start = reopen(folder)
    assert start is not None  # there is a checkpoint
    if start.round >= committed:
        return record, start, branch
    lost = "round" if committed == start.round + 1 else f"rounds {start.round + 1} to"
    note = (
        f"A new branch from round {start.round}: the checkpoint of {lost} {committed} is lost, and devices had learnt "
        "on. The weights are not those of a run that lost nothing."
    )
    log.warning("%s: %s", name, note)
    add_note(record, about, note)
    journal.branch_off(name, start.round)
    return record, start, _branch(name, journal)[0]


def _branch(name: str, journal: SqliteJournal) -> tuple[str, int]:
    """The name of the newest branch and the last round that is committed on it or before it."""
    number, since = journal.branches(name)
    branch = branch_of(name, number)
    return branch, max(since, journal.committed(branch))
