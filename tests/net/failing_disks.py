"""Disks that fail for real: no file grows, a file system is full, or the kernel refuses every
`fsync`.

Each is a function of a process and the folder that it writes to; what it returns mends the disk
again.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distilfleet.cli.main import main

LIMIT_BYTES = 16 << 10
DISK = "size=8m,mode=0700"
CALLS = {"x86_64": (317, 74, 75), "aarch64": (277, 82, 83)}
"""By processor, the kernel's numbers of seccomp, fsync and fdatasync."""
Mend = Callable[[], None]


def no_room(pid: int, folder: Path) -> Mend:
    """From now on no file of this process grows; a new one has room again."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))
    return lambda: None


def full(pid: int, folder: Path) -> Mend:
    """No byte is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as out:
        try:
            while out.write(bytes(4096)):
                pass
        except OSError as fault:
            assert fault.errno == errno.ENOSPC
    return ballast.unlink


def unsynced(pid: int, folder: Path) -> Mend:
    """No `fsync` of this process succeeds; those of a new one do."""
    os.kill(pid, signal.SIGUSR1)
    return lambda: None


def refusable(words: list[str]) -> None:
    """The command line, with a kernel that can be told to fail it."""
    signal.signal(signal.SIGUSR1, lambda *_: refuse_to_sync())
    main(words)


def refuse_to_sync() -> None:
    """From now on the kernel answers `fsync` of every thread of this process with EIO: a filter of
    system calls."""
    seccomp, *syncs = CALLS[platform.machine()]
    load, jump_if_equal, give, fail, allow = 0x20, 0x15, 0x06, 0x00050000 | errno.EIO, 0x7FFF0000
    code = [
        (load, 0, 0, 0),
        *((jump_if_equal, len(syncs) - at, 0, number) for at, number in enumerate(syncs)),
        (give, 0, 0, allow),
        (give, 0, 0, fail),
    ]
    steps = b"".join(struct.pack("=HBBI", *step) for step in code)
    libc, kept = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(steps, len(steps))
    program = struct.pack("@HP", len(code), ctypes.addressof(kept))
    no_new_privileges, set_filter, all_threads = 38, 1, 1
    libc.prctl(no_new_privileges, 1, 0, 0, 0)
    if libc.syscall(seccomp, set_filter, all_threads, program):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own. Skips where nobody may mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
