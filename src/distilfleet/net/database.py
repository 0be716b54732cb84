"""SQLite files that must not lose what they were given, and words for when they did.

A disk that takes nothing, and a file that is damaged, end the process: nobody knows then what is on
disk.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.disk import REMEDY
from ..core.errors import RecordError, StorageError

OF_DISKS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})
OF_FILES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def open_database(file: Path, schema: str, remedy: str) -> sqlite3.Connection:
    """Checked, and set so that a commit is on disk. Raises RecordError with the remedy if the file
    is damaged."""
    try:
        base = sqlite3.connect(file, check_same_thread=False)
    except sqlite3.OperationalError as fault:
        raise RecordError(f"{file} cannot be opened: {fault}. {remedy}") from None
    try:
        base.execute("pragma journal_mode = wal")
        base.execute("pragma synchronous = full")
        (found,) = base.execute("pragma quick_check").fetchone()
        base.executescript(schema)
    except sqlite3.OperationalError as fault:
        base.close()
        raise _refused(f"{file} cannot be opened", fault) from None
    except sqlite3.DatabaseError as fault:
        found = str(fault)
    if found != "ok":
        base.close()
        raise RecordError(f"{file} is damaged: {found}. {remedy}")
    return base


@contextmanager
def storing(base: sqlite3.Connection) -> Iterator[None]:
    """A transaction, on disk at its end. Raises StorageError if the disk does not take it."""
    with asking(base), base:
        yield


@contextmanager
def storing_whole(base: sqlite3.Connection) -> Iterator[None]:
    """The same, and in the file itself, so that a copy of it without its write-ahead log has it
    too."""
    with storing(base):
        yield
    with asking(base):
        base.execute("pragma wal_checkpoint(passive)")


@contextmanager
def asking(base: sqlite3.Connection) -> Iterator[None]:
    """Raises StorageError if the file cannot be read or written, or is found to be damaged."""
    try:
        yield
    except sqlite3.DatabaseError as fault:
        _, _, file = base.execute("pragma database_list").fetchone()
        raise _refused(f"{file} cannot be written", fault) from None


def _refused(what: str, fault: sqlite3.DatabaseError) -> StorageError:
    kind = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    if kind in OF_FILES:
        return StorageError(f"{what}: {fault}. Start again: that says what to do.")
    return StorageError(f"{what}: {fault}.{f' {REMEDY}' if kind in OF_DISKS else ''}")
