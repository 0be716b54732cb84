"""The live page of a server over plain HTTP: the page, its events, its buttons, and metrics.

It has threads of its own, a bounded number of them, and asks the fleet for what it shows only while somebody looks. A
reader that does not keep up is dropped; nothing is kept for it, because each time it gets what is new by then.

Who may come in: on loopback whoever is on this machine; elsewhere who has the token. A name in `Host` that is not ours
is refused, so that no foreign page reaches us by a name of its own (DNS rebinding), and a button counts only if it was
pressed on a page of this process.
"""

import hashlib
import logging
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ..core.errors import ConfigError, Error
from ..record.queue import Queue
from .board import EVERY_S, Board, Boards

log = logging.getLogger(__name__)
ALIVE_S = 15.0
"""A reader hears something at least so often."""
READ_S, WRITE_S = 10.0, 5.0
"""A request that takes longer to come, and a reader that takes longer for one message, are dropped."""
MOST_CONNECTIONS, MOST_READERS = 32, 16
MOST_BODY_BYTES = 4096
SEND_BUFFER_BYTES = 256 << 10
LEAST_TOKEN = 16
"""Characters."""
COOKIE = "distilfleet"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HTML, TEXT, EVENTS = (f"text/{kind}; charset=utf-8" for kind in ("html", "plain", "event-stream"))
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class DeniedError(Error):
    """A request that is refused; `status` says how."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Who may come in."""

    host: str
    port: int
    token: str = ""
    proof: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """Of this process, in each of its buttons."""

    @property
    def cookie(self) -> str:
        """Stands for the token in a browser, and outlives this process."""
        return hashlib.sha256(f"page of a fleet {self.token}".encode()).hexdigest()

    def check_host(self, headers: Mapping[str, str]) -> None:
        """An address is no name that somebody else could have pointed here. Raises DeniedError."""
        name = (urlsplit(f"//{headers.get('Host', '')}").hostname or "").lower()
        if name not in ("localhost", self.host.lower()) and not _is_address(name):
            raise DeniedError(421, f"this server is not {name or 'nameless'}")

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Raises DeniedError."""
        shown = headers.get("Authorization", "").removeprefix("Bearer ")
        if self.token and not _same(shown, self.token) and not _same(_cookie(headers), self.cookie):
            raise DeniedError(401, "open /?token=TOKEN once, with page_token of the fleet file")

    def check_press(self, headers: Mapping[str, str], proof: str) -> None:
        """That a button was pressed on a page of ours. Raises DeniedError."""
        ours = {f"{scheme}://{headers.get('Host', '')}" for scheme in ("http", "https")}
        if headers.get("Origin") not in ours or headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise DeniedError(403, "this button was not pressed on the server's own page")
        if not _same(proof, self.proof):
            raise DeniedError(403, "this page is older than the server: load it again")


def door(page: str, token: str) -> Door:
    """Where the page is. Raises ConfigError if that would be open to others, or is no address."""
    host, _, port = page.rpartition(":")
    host = host.strip("[]")
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)}
    except (OSError, ValueError) as fault:
        told = f"is no address here ({fault}); write HOST:PORT, or nothing for no page"
        raise ConfigError(f"page = {page!r} {told}") from None
    if token and len(token) < LEAST_TOKEN:
        raise ConfigError(f"page_token has {len(token)} characters; at least {LEAST_TOKEN} are needed")
    if not token and not all(ip_address(str(address)).is_loopback for address in found):
        raise ConfigError(
            f"page = {page!r} can be reached from other machines, so it needs page_token, a secret of at least "
            f"{LEAST_TOKEN} characters. Or keep it on localhost and look at it through a tunnel: "
            f"ssh -L {port}:localhost:{port} SERVER"
        )
    return Door(host=host, port=int(port), token=token)


@dataclass(slots=True)
class Site:
    """All that a request can ask for."""

    door: Door
    boards: Boards
    queue: Queue
    metrics: Callable[[], bytes]
    report: Callable[[str], bytes]
    """The page of a run that has a record."""
    readers: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MOST_READERS))
    closing: threading.Event = field(default_factory=threading.Event)


# --- HTTP -------------------------------------------------------------------------------------------------------


class Http(ThreadingHTTPServer):
    """A thread for each connection, up to a limit."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, site: Site) -> None:
        self.site = site
        self.room = threading.Semaphore(MOST_CONNECTIONS)
        found = socket.getaddrinfo(site.door.host, site.door.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = min(found, key=lambda entry: entry[0])  # 127.0.0.1 before ::1
        self.address_family = family
        super().__init__(address[:2], Handler)  # type: ignore[arg-type]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.room.acquire(blocking=False):
            with suppress(OSError):
                request.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            log.exception("page: a fault of ours")


class Handler(BaseHTTPRequestHandler):
    """One request, one connection."""

    server: Http
    protocol_version = "HTTP/1.1"
    timeout = READ_S

    def do_GET(self) -> None:
        self._guarded(self._get)

    def do_POST(self) -> None:
        self._guarded(self._post)

    def version_string(self) -> str:
        return "distilfleet"

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002
        log.debug("page: " + format, *words)

    def _guarded(self, answer: Callable[[Site], None]) -> None:
        try:
            self.server.site.door.check_host(self._headers)
            answer(self.server.site)
        except DeniedError as fault:
            self._say(fault.status, TEXT, f"{fault}\n".encode())
        except TimeoutError:
            self._say(503, TEXT, b"the fleet is busy; try again\n")
        except Error as fault:
            self._say(409, TEXT, f"{fault}\n".encode())

    @property
    def _headers(self) -> Mapping[str, str]:
        return {name.title(): value for name, value in self.headers.items()}

    def _get(self, site: Site) -> None:
        path, _, query = self.path.partition("?")
        asked = parse_qs(query)
        token = asked.get("token", [""])[0]
        if token and _same(token, site.door.token):
            cookie = f"{COOKIE}={site.door.cookie}; HttpOnly; SameSite=Strict; Path=/"
            self._say(303, TEXT, b"", {"Location": "/", "Set-Cookie": cookie})
            return
        site.door.check_token(self._headers)
        board = site.boards.of(asked.get("find", [""])[0])
        if path == "/":
            self._say(200, HTML, board.page())
        elif path == "/events":
            self._events(site, board)
        elif path == "/metrics":
            self._say(200, METRICS, site.metrics())
        elif path.startswith("/runs/"):
            # scripts there may show figures, and touch nothing of ours
            sandbox = {"Content-Security-Policy": "frame-ancestors 'none'; sandbox allow-scripts"}
            self._say(200, HTML, site.report(unquote(path.removeprefix("/runs/"))), sandbox)
        else:
            raise DeniedError(404, "there is no such page")

    def _post(self, site: Site) -> None:
        site.door.check_token(self._headers)
        size = self._headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > MOST_BODY_BYTES:
            raise DeniedError(413, "a button sends less")
        said = parse_qs(self.rfile.read(int(size)).decode("ascii", "replace"))
        site.door.check_press(self._headers, said.get("proof", [""])[0])
        match self.path.split("/"):
            case ["", "runs", name, "stop"]:
                site.queue.stop(unquote(name))
            case ["", "runs", name, "resume"]:
                site.queue.resume(unquote(name))
            case _:
                raise DeniedError(404, "there is no such button")
        site.boards.renew()
        self._say(303, TEXT, b"", {"Location": "/"})

    def _events(self, site: Site, board: Board) -> None:
        if not site.readers.acquire(blocking=False):
            raise DeniedError(503, f"{MOST_READERS} pages are open already")
        try:
            with suppress(OSError):
                self._send_events(site, board)
        finally:
            site.readers.release()

    def _send_events(self, site: Site, board: Board) -> None:
        """Until the reader is gone, or does not keep up, or the server ends."""
        self.connection.settimeout(WRITE_S)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._start(200, EVENTS, {"X-Accel-Buffering": "no"})
        seen, said_s = 0, time.monotonic()
        while not site.closing.is_set() and not _gone(self.connection):
            seen, event = board.news(seen)
            if event or time.monotonic() - said_s > ALIVE_S:
                self.wfile.write(event or b": still here\n\n")
                said_s = time.monotonic()
            site.closing.wait(EVERY_S)

    def _say(self, status: int, kind: str, body: bytes, more: Mapping[str, str] | None = None) -> None:
        with suppress(OSError):
            self._start(status, kind, {"Content-Length": str(len(body)), **(more or {})})
            self.wfile.write(body)

    def _start(self, status: int, kind: str, more: Mapping[str, str]) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Connection": "close", **more}.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def shown(site: Site) -> Iterator[str]:
    """The page, as long as this lasts; where it is. Empty if its port is taken: a fleet does not wait for its page."""
    try:
        http = Http(site)
    except OSError as fault:
        told = "no live page: %s:%d: %s. Another `page` in the fleet file moves it."
        log.warning(told, site.door.host, site.door.port, fault.strerror or fault)
        yield ""
        return
    thread = threading.Thread(target=http.serve_forever, name="page", daemon=True)
    thread.start()
    try:
        host = f"[{site.door.host}]" if ":" in site.door.host else site.door.host
        yield f"http://{host}:{http.server_port}/"
    finally:
        site.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()


def _gone(connection: socket.socket) -> bool:
    """Whether the reader has hung up."""
    connection.settimeout(0.0)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(WRITE_S)


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("Cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())
