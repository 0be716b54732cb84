"""Where answers wait for the end of their wave: in memory up to a limit, beyond it in a file of
this process alone.

A wave of a hundred devices may bring a hundred models before the first is averaged. Journal and
checkpoint do not need them: after a crash devices give their answers again. So what is spooled may
be lost with the process, and must be: it is what single devices answered.

- `Spool.keep` returns a reply that looks the same to whoever reads it. Its arrays are in memory
  while `most_bytes` suffices, and else a `Spooled`, a mapping that reads an array anew at each
  look. A rule of aggregation that goes through the devices one by one holds one array at a time.
- `Spool.let_go` is called when the wave is over and its replies go on to the round. It counts
  memory alone. Room in the file is free again when nobody holds the `Spooled` any more: a finalizer
  gives it back, in whichever thread drops the last reference, possibly in the middle of a `put` of
  the same thread. Hence the lock may be taken twice.
- A full disk is no fault of a run: the answer stays in memory then, with a warning.

The file
--------

It has no name, so that nothing of it is left when the process ends, however it ends. What is in it
is sealed with AES-GCM under a key that exists in this process's memory alone: no single device's
answer can be read from the disk, and a disk that changes a byte is found out.

    array = piece 0 | tag | piece 1 | tag ...    pieces of PIECE_BYTES, the last one shorter; tags
                                                 of 16 bytes
    answer = array | array ...                   one after another, from a place that `_allocate`
                                                 finds

The nonce of a piece is its number among all that were ever sealed under this key, which never
repeats. It is kept with the array's place in memory, so that a piece that was moved or is of an
earlier answer does not open.

Free places are kept by their exact size: the answers of a wave are of one size, so that the next
wave's fit where the last one's were. When nothing in the file is held any more, it is cut to
nothing.
"""

import errno
import logging
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..core.errors import StorageError
from ..core.types import Arrays, Reply
from ..core.wire import encoded_bytes

log = logging.getLogger(__name__)
KEEP_BYTES = 64 << 20
PIECE_BYTES = 64 << 20
"""So many bytes are sealed at once."""
TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where one array lies, and under which numbers its pieces are sealed."""

    dtype: np.dtype
    shape: tuple[int, ...]
    at: int
    size_bytes: int
    first: int


class Spooled(Mapping[str, np.ndarray]):
    """Arrays in the file; each look at one reads it anew."""

    __slots__ = ("__weakref__", "_entries", "_file")

    def __init__(self, sealed_file: "SealedFile", entries: Mapping[str, _Entry]) -> None:
        self._file = sealed_file
        self._entries = entries

    def __getitem__(self, name: str) -> np.ndarray:
        return self._file.read(self._entries[name])

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class SealedFile:
    """The file. Room in it is used again when nobody holds the arrays any more, in whichever thread
    that happens."""

    def __init__(self, folder: Path | None = None) -> None:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        self._seal = AESGCM(AESGCM.generate_key(256))
        self._lock = threading.RLock()
        """May be asked for twice by one thread: whenever it makes something, it may also clear
        something away."""
        self._number = 0
        self._end = 0
        self._free: dict[int, list[int]] = {}
        """By size, where there was something of it."""
        self._live = 0

    def put(self, arrays: Arrays) -> Spooled:
        """Raises OSError if the disk is full."""
        sizes = [_sealed_bytes(array.nbytes) for array in arrays.values()]
        size_bytes = sum(sizes)
        entries = dict[str, _Entry]()
        with self._lock:
            self._live += 1
            at = place = self._allocate(size_bytes)
            try:
                for (name, array), sealed_bytes in zip(arrays.items(), sizes, strict=True):
                    entries[name] = self._write(array, place)
                    place += sealed_bytes
            except OSError:
                self._release(at, size_bytes)
                raise
        kept = Spooled(self, entries)
        weakref.finalize(kept, self._release, at, size_bytes).atexit = False
        return kept

    def read(self, entry: _Entry) -> np.ndarray:
        """Raises StorageError if the disk does not give back what was written."""
        if not entry.size_bytes:
            return np.empty(entry.shape, entry.dtype)
        pieces = []
        at = entry.at
        for number, start in enumerate(range(0, entry.size_bytes, PIECE_BYTES), entry.first):
            sealed_bytes = min(PIECE_BYTES, entry.size_bytes - start) + TAG_BYTES
            pieces.append(self._open(number, os.pread(self._file, sealed_bytes, at)))
            at += sealed_bytes
        return np.frombuffer(b"".join(pieces), entry.dtype).reshape(entry.shape)

    def _open(self, number: int, sealed: bytes) -> bytes:
        try:
            return self._seal.decrypt(_nonce(number), sealed, None)
        except InvalidTag:
            raise StorageError(
                "the disk lost or changed an answer; start the server again"
            ) from None

    def _write(self, array: np.ndarray, at: int) -> _Entry:
        entry = _Entry(array.dtype, array.shape, at, array.nbytes, self._number)
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for start in range(0, array.nbytes, PIECE_BYTES):
            sealed = self._seal.encrypt(
                _nonce(self._number), flat[start : start + PIECE_BYTES].data, None
            )
            self._number += 1
            if os.pwrite(self._file, sealed, at) < len(sealed):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            at += len(sealed)
        return entry

    def _allocate(self, size_bytes: int) -> int:
        """Answers of a wave are of one size, so that an exact fit is the usual one."""
        if self._free.get(size_bytes):
            return self._free[size_bytes].pop()
        at = self._end
        self._end = self._end + size_bytes
        return at

    def _release(self, at: int, size_bytes: int) -> None:
        with self._lock:
            self._live -= 1
            self._free.setdefault(size_bytes, []).append(at)
            if not self._live:
                self._free = {}
                self._end = 0
                os.ftruncate(self._file, 0)


@dataclass(slots=True)
class Spool:
    """Keeps answers: as they are while there is memory for them, else in a sealed file."""

    folder: Path | None = None
    """The folder of the file. It should not be in memory itself, as /tmp often is."""
    most_bytes: int = KEEP_BYTES
    kept_bytes: int = 0
    sealed_file: SealedFile | None = field(default=None)

    def keep(self, reply: Reply) -> Reply:
        """The same, to whoever looks at it."""
        size_bytes = encoded_bytes(reply.arrays)
        if self.kept_bytes + size_bytes > self.most_bytes:
            self.sealed_file = self.sealed_file or SealedFile(self.folder)
            try:
                return replace(reply, arrays=self.sealed_file.put(reply.arrays))
            except OSError as fault:
                log.warning("an answer stays in memory: %s", fault)
        self.kept_bytes += size_bytes
        return reply

    def let_go(self, reply: Reply) -> None:
        """It goes on to the round, which looks at it and drops it."""
        if not isinstance(reply.arrays, Spooled):
            self.kept_bytes -= encoded_bytes(reply.arrays)


def _sealed_bytes(size_bytes: int) -> int:
    return size_bytes + -(-size_bytes // PIECE_BYTES) * TAG_BYTES


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")
