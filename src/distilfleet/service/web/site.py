"""The live page of a server over plain HTTP: the page, its events, its buttons, and metrics.

It has threads of its own, a bounded number of them (`http_server`), and asks the fleet for what it
shows only while somebody looks. A reader that does not keep up is dropped; nothing is kept for it,
because each time it gets what is new by then.

Who may come in: on loopback whoever is on this machine; elsewhere who has the token. A name in
`Host` that is not ours is refused, so that no foreign page reaches us by a name of its own (DNS
rebinding), and a button counts only if it was pressed on a page of this process.
"""

import hashlib
import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote

from ...core.errors import ConfigError
from ...net.address import Address, host_of, is_ip
from ...record.queue import Queue
from .http_server import Connections, DeniedError, HttpServer, Request, listening
from .page_cache import EVERY_S, PageCache, PageCaches

log = logging.getLogger(__name__)
ALIVE_S = 15.0
"""A reader hears something at least so often."""
WRITE_S = 5.0
"""A reader that takes longer for one message is dropped."""
MOST_READERS = 16
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
_RUN = re.compile(r"\w[\w.~-]{0,199}")
METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may come in."""

    address: Address
    token: str = ""
    proof: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """A secret of this process, in each of its buttons."""

    @property
    def cookie(self) -> str:
        """Stands for the token in a browser, and outlives this process."""
        return hashlib.sha256(f"page of a fleet {self.token}".encode()).hexdigest()

    def check_host(self, headers: Mapping[str, str]) -> None:
        """An address is no name that somebody else could have pointed here. Raises DeniedError."""
        name = _hostname(headers.get("Host", ""))
        if name not in ("localhost", self.address.host) and not is_ip(name):
            raise DeniedError(421, f"this server is not {name or 'nameless'}")

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Raises DeniedError."""
        shown = headers.get("Authorization", "").removeprefix("Bearer ")
        if self.token and not _same(shown, self.token) and not _same(_cookie(headers), self.cookie):
            raise DeniedError(401, "open /?token=TOKEN once, with page_token of the fleet file")

    def check_press(self, headers: Mapping[str, str], proof: str) -> None:
        """That a button was pressed on a page of ours. Raises DeniedError."""
        ours = {f"{scheme}://{headers.get('Host', '')}" for scheme in ("http", "https")}
        if (
            headers.get("Origin") not in ours
            or headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"
        ):
            raise DeniedError(403, "this button was not pressed on the server's own page")
        if not _same(proof, self.proof):
            raise DeniedError(403, "this page is older than the server: load it again")


def access(page: Address, token: str) -> Access:
    """Where the page is. Raises ConfigError if that would be open to others, or is no address
    here."""
    try:
        found = {
            entry[4][0]
            for entry in socket.getaddrinfo(page.host, page.port, type=socket.SOCK_STREAM)
        }
    except OSError as fault:
        problem = f"is no address here ({fault.strerror}); write HOST:PORT, or nothing for no page"
        raise ConfigError(f"page = '{page}' {problem}") from None
    if token and len(token) < LEAST_TOKEN:
        raise ConfigError(
            f"page_token has {len(token)} characters; at least {LEAST_TOKEN} are needed"
        )
    if not token and not all(ip_address(str(address)).is_loopback for address in found):
        raise ConfigError(
            f"page = '{page}' can be reached from other machines, so it needs page_token, a secret "
            f"of at least {LEAST_TOKEN} characters. Or keep it on localhost and look at it through "
            f"a tunnel: ssh -L {page.port}:localhost:{page.port} SERVER"
        )
    return Access(address=page, token=token)


def _hostname(said: str) -> str:
    """Of a Host header, with or without a port. Raises DeniedError."""
    if not said:
        return ""
    with suppress(ConfigError):
        return host_of(said)
    try:
        return Address.read(said, least_port=0).host
    except ConfigError:
        raise DeniedError(400, "this is no name of a server") from None


@dataclass(slots=True)
class Site:
    """All that a request can ask for."""

    access: Access
    boards: PageCaches
    queue: Queue
    metrics: Callable[[], bytes]
    report: Callable[[str], bytes]
    """The page of a run that has a record."""
    connections: Connections = field(default_factory=Connections)
    readers: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MOST_READERS))
    closing: threading.Event = field(default_factory=threading.Event)


# --- HTTP -----------------------------------------------------------------------------------------


class PageServer(HttpServer):
    """A listening socket of a site."""

    def __init__(self, site: Site, where: Address) -> None:
        self.site = site
        super().__init__(where, site.connections, Handler)


class Handler(Request):
    """One request for a page, its events, its metrics, or a button."""

    server: PageServer

    @property
    def _headers(self) -> Mapping[str, str]:
        return {name.title(): value for name, value in self.headers.items()}

    def own_headers(self) -> Mapping[str, str]:
        return {**HEADERS, "Content-Type": TEXT}

    def get(self) -> None:
        site = self.server.site
        site.access.check_host(self._headers)
        self.server.connections.heard(self.connection)
        path, _, query = self.path.partition("?")
        fields = parse_qs(query)
        token = fields.get("token", [""])[0]
        if token and _same(token, site.access.token):
            cookie = f"{COOKIE}={site.access.cookie}; HttpOnly; SameSite=Strict; Path=/"
            self.say(303, b"", {"Location": "/", "Set-Cookie": cookie})
            return
        site.access.check_token(self._headers)
        self._show(path, site.boards.of(fields.get("find", [""])[0]))

    def _show(self, path: str, board: PageCache) -> None:
        site = self.server.site
        if path == "/":
            self.say(200, board.page(), {"Content-Type": HTML})
        elif path == "/events":
            self._events(site, board)
        elif path == "/metrics":
            self.say(200, site.metrics(), {"Content-Type": METRICS})
        elif path.startswith("/runs/"):
            # scripts there may show figures, and touch nothing of ours
            sandbox = {"Content-Security-Policy": "frame-ancestors 'none'; sandbox allow-scripts"}
            name = _run_name(path.removeprefix("/runs/"), 404)
            self.say(200, site.report(name), {"Content-Type": HTML, **sandbox})
        else:
            raise DeniedError(404, "there is no such page")

    def post(self) -> None:
        site = self.server.site
        site.access.check_host(self._headers)
        site.access.check_token(self._headers)
        said = parse_qs(self.body().decode("ascii", "replace"))
        site.access.check_press(self._headers, said.get("proof", [""])[0])
        match self.path.split("/"):
            case ["", "runs", name, "stop"]:
                site.queue.stop(_run_name(name, 409))
            case ["", "runs", name, "resume"]:
                site.queue.resume(_run_name(name, 409))
            case _:
                raise DeniedError(404, "there is no such button")
        site.boards.renew()
        self.say(303, b"", {"Location": "/"})

    def _events(self, site: Site, board: PageCache) -> None:
        if not site.readers.acquire(blocking=False):
            raise DeniedError(503, f"{MOST_READERS} pages are open already")
        try:
            with suppress(OSError):
                self._send_events(site, board)
        finally:
            site.readers.release()

    def _send_events(self, site: Site, board: PageCache) -> None:
        """Until the reader is gone, or does not keep up, or the server ends."""
        self.connection.settimeout(WRITE_S)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.begin(200, {"Content-Type": EVENTS, "X-Accel-Buffering": "no"})
        seen = 0
        said_s = time.monotonic()
        while not site.closing.is_set() and not _gone(self.connection):
            seen, event = board.news(seen)
            if event or time.monotonic() - said_s > ALIVE_S:
                self.wfile.write(event or b": still here\n\n")
                said_s = time.monotonic()
            site.closing.wait(EVERY_S)


@contextmanager
def shown(site: Site) -> Iterator[str]:
    """The page, as long as this lasts; where it is. Empty if its port is taken: a fleet does not
    wait for its page."""
    where = site.access.address
    with ExitStack() as opened:
        try:
            port = opened.enter_context(listening(where, partial(PageServer, site)))
        except ConfigError as fault:
            problem = (
                "no live page: %s. The fleet goes on without page and metrics; another `page` "
                "moves them."
            )
            log.warning(problem, fault)
            yield ""
            return
        opened.callback(site.closing.set)
        yield f"http://{Address(host=where.host, port=port)}/"


def _run_name(quoted: str, status: int) -> str:
    """Raises DeniedError for what cannot be one."""
    name = unquote(quoted)
    if not _RUN.fullmatch(name):
        raise DeniedError(status, "there is no such run")
    return name


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


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())
