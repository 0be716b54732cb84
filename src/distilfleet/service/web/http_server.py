"""What any stranger may say to the page's port: bounded in connections, seconds, bytes and lines of
the log.

A request is read whole, within a deadline, before anything of it is looked at. Connections that
have not said a whole request are dropped, the oldest first, when a new one comes: who drips bytes
keeps nobody out.
"""

import logging
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from ...core.errors import ConfigError, Error
from ...net.address import Address, all_of, why_not

log = logging.getLogger(__name__)
REQUEST_S = 5.0
"""A request that takes longer to come is refused."""
MOST_CONNECTIONS = 64
MOST_WAITING = 24
"""All connections; those of them that have not said a whole request."""
MOST_HEAD_BYTES = 16 << 10
MOST_BODY_BYTES = 4096
PLACE_S = 0.5
"""That a new connection waits for who was cut off to be gone."""
TOLD_S = 60.0
"""Between lines of the log about requests that are refused, and between tracebacks."""
LINGER_S = 0.05
MOST_PASSED = 16
"""Of a refused request, so many pieces are passed over, if they come so soon."""
BACKLOG = 128
_LENGTH = re.compile(r"[0-9]{1,6}")
_AS_REFUSED = {501: 405, 505: 400}
"""The library's answers to methods and versions that it does not know -> that the mistake is with
who asks."""


class DeniedError(Error):
    """A request that is refused; `status` says how."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(slots=True)
class Refusals:
    """Requests that were refused: counted all, and told now and then."""

    counts: Counter[int] = field(default_factory=Counter)
    """Answers by status."""
    due_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, status: int, who: str) -> None:
        with self.lock:
            self.counts[status] += 1
            if time.monotonic() < self.due_s:
                return
            self.due_s = time.monotonic() + TOLD_S
            by_code = ", ".join(
                f"{times} with {code}" for code, times in sorted(self.counts.items())
            )
        log.warning("page: requests refused so far: %s; the last from %s", by_code, who)


# --- connections ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Connections:
    """The connections of all listening sockets of a page."""

    refusals: Refusals = field(default_factory=Refusals)
    places: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(MOST_CONNECTIONS)
    )
    waiting: dict[socket.socket, None] = field(default_factory=dict)
    """Connections that have not said a whole request, the oldest first."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    fault_due_s: float = 0.0

    def enter(self, connection: socket.socket) -> bool:
        """Whether there is a place; perhaps that of another one, which then is cut off."""
        if not self.places.acquire(timeout=PLACE_S):
            return False
        with self.lock:
            oldest = next(iter(self.waiting)) if len(self.waiting) >= MOST_WAITING else None
            self.waiting[connection] = None
            if oldest is not None:
                del self.waiting[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        return True

    def heard(self, connection: socket.socket) -> None:
        """Its request is here: nobody takes its place any more."""
        with self.lock:
            self.waiting.pop(connection, None)

    def leave(self, connection: socket.socket) -> None:
        self.heard(connection)
        self.places.release()

    def fault(self) -> None:
        """One of ours, in the log once in a while: whoever finds one could fill the disk with
        it."""
        with self.lock:
            if time.monotonic() < self.fault_due_s:
                return
            self.fault_due_s = time.monotonic() + TOLD_S
        log.error("page: a fault of ours", exc_info=True)


class HttpServer(ThreadingHTTPServer):
    """One listening socket; a thread for each connection, up to a limit."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG

    def __init__(self, where: Address, connections: Connections, handler: type["Request"]) -> None:
        """Raises OSError if the address cannot be had."""
        self.address_family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        self.connections = connections
        super().__init__((where.host, where.port), handler)

    def server_bind(self) -> None:
        # :: is all of this machine; another address is itself alone
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self.server_address[0] != "::"
            )
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = (
            str(self.server_address[0]),
            int(self.server_address[1]),
        )

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.connections.enter(request):
            self.connections.refusals.add(503, str(client_address[0]))
            with suppress(OSError):
                request.settimeout(0.0)
                request.sendall(
                    b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.leave(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            self.connections.fault()


# --- one request ----------------------------------------------------------------------------------


class Request(BaseHTTPRequestHandler):
    """One request, one connection. Whoever serves says what `get` and `post` do."""

    server: HttpServer
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_S

    def do_GET(self) -> None:
        self.guarded(self.get)

    def do_POST(self) -> None:
        self.guarded(self.post)

    def get(self) -> None:
        raise DeniedError(405, "nothing is read here")

    def post(self) -> None:
        raise DeniedError(405, "nothing is done here")

    def handle(self) -> None:
        self.close_connection = True
        self.requestline = ""
        self.request_version = ""
        self.command = ""
        self.ends_s = time.monotonic() + REQUEST_S
        try:
            head, self.rest = self._head()
            if not head:
                return
            if not head.strip():
                raise DeniedError(400, "a request begins with words")
        except DeniedError as fault:
            self.refuse(fault)
            return
        self.rfile = BytesIO(head)
        self.handle_one_request()

    def _head(self) -> tuple[bytes, bytes]:
        """The first line and headers, and what came after them; nothing if the other end says
        nothing."""
        said = b""
        while b"\r\n\r\n" not in said and b"\n\n" not in said:
            if len(said) > MOST_HEAD_BYTES:
                raise DeniedError(431, "a request has shorter headers")
            more = self._more()
            if not more:
                if said:
                    raise DeniedError(400, "the request is not whole")
                return b"", b""
            said += more
        found = re.search(rb"\r?\n\r?\n", said)
        assert found is not None
        return said[: found.end()], said[found.end() :]

    def body(self) -> bytes:
        """All of it, within the deadline. Raises DeniedError."""
        sizes = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") is not None or len(sizes) != 1:
            raise DeniedError(411, "say with one Content-Length how long this is")
        if not _LENGTH.fullmatch(sizes[0].strip()):
            raise DeniedError(
                400 if not sizes[0].strip().isdecimal() else 413,
                "this is no length of a request here",
            )
        size_bytes = int(sizes[0])
        if size_bytes > MOST_BODY_BYTES:
            raise DeniedError(413, "a button sends less")
        while len(self.rest) < size_bytes:
            more = self._more()
            if not more:
                raise DeniedError(400, "the request is not whole")
            self.rest += more
        return self.rest[:size_bytes]

    def _more(self) -> bytes:
        """Bytes as they come; none at the end. Raises DeniedError when the time is up."""
        left_s = self.ends_s - time.monotonic()
        if left_s > 0:
            self.connection.settimeout(left_s)
            with suppress(TimeoutError):
                return bytes(self.connection.recv(4096))
        raise DeniedError(408, "the request took too long")

    def guarded(self, answer: Callable[[], None]) -> None:
        """Whatever goes wrong is an answer too, in a line."""
        try:
            self._check_form()
            answer()
        except DeniedError as fault:
            self.refuse(fault)
        except TimeoutError:
            self.say(503, b"the fleet is busy; try again\n")
        except Error as fault:
            self.say(409, f"{fault}\n".encode())
        except OSError:
            raise  # who asked is gone
        except Exception:
            self.server.connections.fault()
            self.say(500, b"a fault of ours; the log has it\n")

    def _check_form(self) -> None:
        """Raises DeniedError."""
        if self.request_version not in ("HTTP/1.0", "HTTP/1.1"):
            raise DeniedError(400, "this is not HTTP/1.1")
        if not self.path.startswith("/"):
            raise DeniedError(400, "a request names a path that begins with /")
        if len(self.headers.get_all("Host", [])) > 1:
            raise DeniedError(400, "a request has one Host")

    def refuse(self, fault: DeniedError) -> None:
        self.server.connections.refusals.add(fault.status, str(self.client_address[0]))
        self.say(fault.status, f"{fault}\n".encode())
        self._pass_over()

    def _pass_over(self) -> None:
        """What else is on its way: a system that throws it away would take the answer along."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER_S)
            for _ in range(MOST_PASSED):
                if not self.connection.recv(4096):
                    return

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The library's own refusals, as ours."""
        self.refuse(
            DeniedError(_AS_REFUSED.get(code, code), "this is no request that is understood here")
        )

    def say(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """An answer, unless the other end is gone."""
        self.server.connections.heard(self.connection)
        with suppress(OSError):
            self.connection.settimeout(REQUEST_S)
            self.begin(status, {"Content-Length": str(len(body)), **(headers or {})})
            self.wfile.write(body)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Status and headers. Raises OSError."""
        self.close_connection = True
        self.request_version = self.protocol_version
        self.send_response(status)
        for name, value in {**self.own_headers(), "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def own_headers(self) -> Mapping[str, str]:
        """Of every answer."""
        return {"Content-Type": "text/plain; charset=utf-8"}

    def version_string(self) -> str:
        return "distilfleet"

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002
        log.debug("page: " + format, *words)


# --- all listening sockets of a name --------------------------------------------------------------


@contextmanager
def listening(address: Address, make: Callable[[Address], HttpServer]) -> Iterator[int]:
    """Servers at all addresses of a host, as long as this lasts; their port. Raises ConfigError if
    none can be had."""
    servers = _servers(address, make)
    threads = [
        threading.Thread(target=one.serve_forever, name="page", daemon=True) for one in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield servers[0].server_port
    finally:
        for one in servers:
            one.shutdown()
            one.server_close()
        for thread in threads:
            thread.join()


def _servers(address: Address, make: Callable[[Address], HttpServer]) -> list[HttpServer]:
    servers = list[HttpServer]()
    lacking = list[str]()
    for one in all_of(address):
        where = replace(one, port=servers[0].server_port) if servers else one
        try:
            servers.append(make(where))
        except OSError as fault:
            lacking.append(why_not(where) or f"{where}: {fault.strerror or fault}")
    if not servers:
        raise ConfigError("; ".join(lacking))
    for why in lacking:
        log.warning("no live page at one address of %s: %s", address.host, why)
    return servers
