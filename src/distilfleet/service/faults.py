"""What becomes of a run that raises, whatever it raises: it fails in words, and the server goes on
with the next.

Two things end a server: storage that cannot be written, and whoever stops it.
"""

import logging
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.disk import write_atomically
from ..core.errors import Error, FileError, StorageError
from ..record.queue import plain

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Set when somebody stops this process, which raises KeyboardInterrupt too.

    A run's own code may raise that by itself, or swallow it; so it alone says nothing.
    """
    asked = threading.Event()

    def stop(_number: int, _frame: Any) -> None:
        asked.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield asked
    except Exception as fault:
        if asked.is_set() and not isinstance(fault, StorageError):
            raise KeyboardInterrupt from fault
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ends_the_server(fault: BaseException, stopped: bool) -> bool:
    """Whether it is more than one run's fault. A signal may come out as anything: what it breaks
    raises its own."""
    return stopped or (isinstance(fault, StorageError) and not isinstance(fault, FileError))


def reason_of(fault: BaseException, file: Path) -> str:
    """Why a run failed, in a line. Where in the code is left in the file, unless it was raised on
    purpose."""
    if isinstance(fault, Error):
        return plain(str(fault))
    try:
        write_atomically(
            file, "".join(traceback.format_exception(fault)).encode(errors="backslashreplace")
        )
    except FileError as other:
        log.warning("%s", other)
    return plain(f"{type(fault).__name__}: {_words(fault)} (where: {file})")


def _words(fault: BaseException) -> str:
    """A run's own exception may not even have words."""
    if isinstance(fault, MemoryError):
        return "this machine has too little memory for it"
    try:
        return str(fault) or "raised without a word"
    except Exception as worse:
        return f"raised, and its words raise {type(worse).__name__}"
