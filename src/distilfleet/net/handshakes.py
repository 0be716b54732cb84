"""How TLS handshakes are set in gRPC, which is imported here first, and why they fail.

gRPC reads its settings from the environment, once, when it is imported. Its Python interface has no
lowest TLS version: TLS 1.2 is left one cipher that needs an RSA certificate, and `identity` issues
elliptic-curve ones, so that no TLS 1.2 handshake can succeed. A test holds this.

gRPC's core checks certificates itself and tells C's standard error alone. So a pipe takes the place
of C's `stderr`, and the lines that say why are asked for. Python's own `sys.stderr` stays what it
is, and whatever other libraries write goes on to file descriptor 2. Who sets GRPC_VERBOSITY wants
the lines as they are: then nothing is caught and nothing counted, as on systems without glibc.

Not told by gRPC, and so not counted: who connects and says nothing until the time for handshakes is
over, who finds all connections taken, and a device that turns away from a certificate that it does
not trust. Its own log has that.
"""

import ctypes
import importlib
import os
import re
import sys
import threading
from collections import Counter
from functools import partial

CIPHERS = "ECDHE-RSA-AES256-GCM-SHA384"
"""The one cipher that TLS 1.2 is left, as GRPC_SSL_CIPHER_SUITES."""
REASONS = {
    "expired certificate": "certificate has expired",
    "certificate not yet valid": "certificate is not yet valid",
    "no certificate": "PEER_DID_NOT_RETURN_A_CERTIFICATE",
    "wrong purpose": "unsupported certificate purpose",
    "unknown authority": "BAD_SIGNATURE|signature failure|issuer certificate|self.signed",
    "TLS below 1.3": "NO_SHARED_CIPHER|UNSUPPORTED_PROTOCOL",
    "no TLS": "HTTP_REQUEST|WRONG_VERSION_NUMBER|HTTPS_PROXY_REQUEST",
    "another server's name": "No match found for server name",
}
_REASON = re.compile("|".join(f"({pattern})" for pattern in REASONS.values()))
_FAILED = re.compile(rb"Handshake failed|No match found for server name")
_OF_GRPC = re.compile(rb"[IWE]\d{4} \d\d:\d\d:\d\d")
_UNBUFFERED = 2

_failed: Counter[str] = Counter()
_lock = threading.Lock()


def take_failed() -> Counter[str]:
    """Handshakes that failed since the last call, by reason."""
    global _failed
    with _lock:
        failed = _failed
        _failed = Counter()
    return failed


def reason_of(line: str) -> str:
    """Of one of gRPC's lines."""
    found = _REASON.search(line)
    return "other fault" if found is None else tuple(REASONS)[int(found.lastindex or 1) - 1]


def count(reason: str) -> None:
    """One more handshake has failed for this reason."""
    with _lock:
        _failed[reason] += 1


def count_line(line: bytes) -> bool:
    """Count a line of C's standard error; whether it was gRPC's."""
    if not _OF_GRPC.match(line):
        return False
    if _FAILED.search(line):
        count(reason_of(line.decode(errors="replace")))
    return True


def _catch() -> bool:
    """Whether there is a C library that allows it."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # a full pipe loses lines and holds nobody up
    _make_stderr(libc, writing)
    threading.Thread(target=_listen, args=(reading,), daemon=True, name="handshakes").start()
    return True


def _make_stderr(libc: ctypes.CDLL, writing: int) -> None:
    """C's standard error writes there from now on, at once."""
    libc.fdopen.restype = ctypes.c_void_p
    libc.fdopen.argtypes = [ctypes.c_int, ctypes.c_char_p]
    libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    stream = libc.fdopen(writing, b"w")
    libc.setvbuf(stream, None, _UNBUFFERED, 0)
    ctypes.c_void_p.in_dll(libc, "stderr").value = stream


def _begin_anew(caught: bool) -> None:
    """A process that was forked has no thread that listens, and a lock that may be held by none
    that is left."""
    global _lock, _failed
    _lock = threading.Lock()
    _failed = Counter()
    if caught:
        _catch()


def _listen(reading: int) -> None:
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            if not count_line(line):
                os.write(2, line)


def _import_grpc() -> None:
    """Raises ImportError if that is too late."""
    quiet = "GRPC_VERBOSITY" not in os.environ
    ciphers = os.environ.get("GRPC_SSL_CIPHER_SUITES")
    if "grpc" in sys.modules and ciphers != CIPHERS:
        raise ImportError(
            "gRPC would allow TLS 1.2: import distilfleet.net before grpc, or set "
            f"GRPC_SSL_CIPHER_SUITES={CIPHERS}"
        )
    os.environ["GRPC_SSL_CIPHER_SUITES"] = CIPHERS
    if quiet:
        caught = _catch()
        os.environ["GRPC_VERBOSITY"] = "INFO" if caught else "NONE"
        os.register_at_fork(after_in_child=partial(_begin_anew, caught))
    importlib.import_module("grpc")
    if quiet:
        del os.environ["GRPC_VERBOSITY"]  # child processes have lines of their own


_import_grpc()
