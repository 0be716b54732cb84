"""Files that survive a crash, and folders that belong to one process.

A disk that does not take what must be kept, or cannot say that it did, stops the process: after a
failed `fsync` nobody knows what is on disk, so nothing is tried again. Whatever was promised before
is there when the process starts again.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import FileError, RecordError, StorageError
from .failpoint import reached

REMEDY = (
    "Make room or mend the disk, then start again: what was finished is kept (an interrupted run: "
    "--resume)."
)

OF_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""Faults that a disk recovers from, rather than whoever named the file."""


def write_atomically(file: Path, data: bytes, mode: int = 0o666) -> None:
    """All of `data` under that name, or what was there before; on disk when this returns. Raises
    StorageError."""
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        with storing(file):
            opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(opened, "wb") as out:
                out.write(data)
                out.flush()
                reached("file.written")
                os.fsync(out.fileno())
            reached("file.synced")
            unfinished.replace(file)
            reached("file.renamed")
            sync_folder(file.parent)
    except StorageError:
        unfinished.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Bring the names in it to disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def storing(file: Path) -> Iterator[None]:
    """Turns what the disk says into a StorageError that names the file; a FileError if it is that
    file's own fault."""
    try:
        yield
    except OSError as fault:
        message = f"{file} cannot be written: {fault.strerror}."
        if fault.errno in OF_DISKS:
            raise StorageError(f"{message} {REMEDY}") from None
        raise FileError(message) from None


def lock(folder: Path, in_use: str) -> IO[bytes]:
    """Hold the folder until the file is closed or the process ends, however it ends.

    Raises RecordError, which says `in_use` of the folder, if another process has it.
    """
    held = (folder / ".lock").open("wb")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise RecordError(f"{folder} {in_use}") from None
    return held
