"""The C library's heap, where a process has glibc: it keeps what is freed unless it is told
otherwise.

Messages of a mebibyte come and go; without this, a server that once had many at a time stays as
large as it was then.
"""

import ctypes
from dataclasses import dataclass

M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
"""The numbers of two settings in malloc.h."""
SERVER_ARENAS = 2
AGENT_ARENAS = 1
LARGE_BYTES = 256 << 10
"""A block of this size or more has pages of its own, which go back to the system when it is
freed."""
EVERY_BYTES = 32 << 20


def settle_heap(arenas: int) -> None:
    """Once, at the start of a process."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(M_ARENA_MAX, arenas)


@dataclass(slots=True)
class HeapTrim:
    """Gives free pages back after so many bytes have come or gone."""

    since_bytes: int = 0

    def moved(self, size_bytes: int) -> None:
        """Takes a few milliseconds when it is time to give something back."""
        self.since_bytes += size_bytes
        if self.since_bytes < EVERY_BYTES:
            return
        self.since_bytes, library = 0, ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
