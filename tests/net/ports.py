"""Ports of loopback that nobody has, and that nobody gets by chance before they are used.

The kernel hands out ports of its own range to whoever connects or asks for any, so these are below
it; and each is given once, to whichever test process asks, until all others were.
"""

import errno
import fcntl
import socket
import tempfile
from pathlib import Path

NO_PAGE = {"page": '""'}
"""Of a fleet file: that of the server's own default is one for all servers of this machine."""
FIRST, MOST = 15_000, 30_000
GIVEN = Path(tempfile.gettempdir()) / "distilfleet-tests-last-port"
KERNELS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    with GIVEN.open("a+") as given:
        fcntl.flock(given, fcntl.LOCK_EX)
        given.seek(0)
        ports, last = [], int(given.read() or FIRST)
        while len(ports) < count:
            last = last + 1 if last < _end() else FIRST
            ports += [last] if _is_free(last) else []
        given.truncate(0)
        given.write(str(last))
    return ports


def _end() -> int:
    return min(MOST, int(KERNELS.read_text().split()[0]) - 1) if KERNELS.exists() else MOST


def _is_free(port: int) -> bool:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as one:
                one.bind((host, port))
        except OSError as fault:
            if family == socket.AF_INET or fault.errno == errno.EADDRINUSE:
                return False
    return True
