"""Files that survive a crash, and folders that belong to one process.

A disk that does not take what must be kept, or cannot say that it did, stops the process: after a
failed `fsync` nobody knows what is on disk, so nothing is tried again. Whatever was promised before
is there when the process starts again.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import FileError, RecordError, StorageError
from .failpoint import reached

REMEDY = (
    "Make room or mend the disk, then start again: what was finished is kept (an interrupted run: "
    "--resume)."
)

UNFINISHED = ".unfinished"
PREVIOUS = ".previous"
"""What the names of a folder end in that is being written, and of the one that was there before."""

OF_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""Faults that a disk recovers from, rather than whoever named the file."""


Content = bytes | Iterable[bytes | memoryview]
"""What a file is to hold: all of it, or a piece after the other."""


def write_atomically(file: Path, data: Content, mode: int = 0o666) -> None:
    """All of `data` under that name, or what was there before; on disk when this returns. Raises
    StorageError."""
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        with storing(file):
            opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(opened, "wb") as out:
                out.writelines([data] if isinstance(data, bytes) else data)
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


def write_folder(
    folder: Path, files: Mapping[str, Content], *, keep_previous: bool = False
) -> None:
    """All of these files under that name, or the folder that was there; on disk when this returns.

    A crash between the two renames leaves the old folder as `previous` alone: readers ask `whole`.
    Raises StorageError.

    Args:
        keep_previous: the folder that was there stays beside the new one, as a second generation.
    """
    unfinished = folder.with_name(folder.name + UNFINISHED)
    try:
        with storing(folder):
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        for name, data in files.items():
            write_atomically(unfinished / name, data)
        reached("folder.written")
        with storing(folder):
            _put_in_place(unfinished, folder)
            sync_folder(folder.parent)
    except StorageError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if not keep_previous:
        shutil.rmtree(previous(folder), ignore_errors=True)


def previous(folder: Path) -> Path:
    """Where the generation before this folder's lies."""
    return folder.with_name(folder.name + PREVIOUS)


def whole(folder: Path) -> Path:
    """The folder; or the generation before it, where a crash came between the two renames."""
    before = previous(folder)
    return before if before.is_dir() and not folder.exists() else folder


def _put_in_place(unfinished: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(previous(folder), ignore_errors=True)
        folder.replace(previous(folder))
        reached("folder.set_aside")
    unfinished.replace(folder)
    reached("folder.renamed")


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
