"""Anything that a stranger may say to the page's port, from raw sockets: a refusal in a line, and
nothing else."""

import logging
import re
import socket
import threading
import time
from contextlib import ExitStack, closing, suppress

import pytest
from patience import HANGS_S
from prometheus_client.parser import text_string_to_metric_families
from test_live_page import served, until

from distilfleet.service.web import http_server

pytestmark = pytest.mark.net
TOKEN = "a secret of the ward"
LONG = b"x" * (http_server.MOST_HEAD_BYTES + 5000)
PLAIN = b"Host: localhost\r\nConnection: close\r\n"
MALFORMED = {
    "an open bracket as Host": b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
    "a Host that is no address": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "a Host with a port that is none": b"GET / HTTP/1.1\r\nHost: localhost:99999\r\n\r\n",
    "a Host with a user": b"GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n",
    "a Host of other letters": "GET / HTTP/1.1\r\nHost: l\u00f6calhost\r\n\r\n".encode(),
    "a Host of bytes": b"GET / HTTP/1.1\r\nHost: \xff\xfe\x80:\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "another Host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "no words": b"\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "four words": b"GET / HTTP/1.1 more\r\n\r\n",
    "a version that is none": b"GET / HTTP/x.y\r\n" + PLAIN + b"\r\n",
    "a version with many digits": b"GET / HTTP/1." + b"9" * 5000 + b"\r\n" + PLAIN + b"\r\n",
    "a version to come": b"GET / HTTP/9.1\r\n" + PLAIN + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n",
    "bytes": bytes(range(256)) + b"\r\n\r\n",
    "another method": b"BREW / HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "a method with a bracket": b"GET[ / HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "a proxy's method": b"CONNECT evil.example:443 HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "all that there is": b"OPTIONS * HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "an absolute address": b"GET http://evil.example/ HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "an address that is none": b"GET http://[ HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "a path without a slash": b"GET x HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "percents of nothing": b"GET /runs/%zz%%%2 HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "a zero byte": b"GET /runs/%00 HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "half a letter": b"GET /runs/%ff%c3?find=%ff&token=%ed%a0%80 HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "a way out": b"GET /runs/..%2f..%2fauthority HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "a name that is too long": b"GET /runs/" + b"a" * 5000 + b" HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "a long first line": b"GET /" + LONG + b" HTTP/1.1\r\n" + PLAIN + b"\r\n",
    "a long header": b"GET / HTTP/1.1\r\n" + PLAIN + b"X: " + LONG + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + PLAIN + b"X: y\r\n" * 2000 + b"\r\n",
    "two hundred headers": b"GET / HTTP/1.1\r\n" + PLAIN + b"X: y\r\n" * 200 + b"\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
    "a folded Host": b"GET / HTTP/1.1\r\nHost:\r\n [\r\n\r\n",
    "no end": b"GET / HTTP/1.1\r\n" + PLAIN,
    "a token that is none": b"GET / HTTP/1.1\r\n" + PLAIN + b"Authorization: Bearer \xff\r\n\r\n",
    "a cookie that is none": b"GET / HTTP/1.1\r\n"
    + PLAIN
    + b'Cookie: distilfleet="\\377; a=[;;=\r\n\r\n',
    "a cookie of bytes": b"GET / HTTP/1.1\r\n" + PLAIN + b"Cookie: \xff\x00=\xfe\r\n\r\n",
}
KEY = f"Authorization: Bearer {TOKEN}\r\n".encode()
BUTTON = b"POST /runs/x/stop HTTP/1.1\r\n" + PLAIN + KEY
PRESSED = {
    "a length of other digits": BUTTON + b"Content-Length: \xb2\r\n\r\n",
    "a length below nothing": BUTTON + b"Content-Length: -5\r\n\r\n",
    "a length with a sign": BUTTON + b"Content-Length: +5\r\n\r\nabcde",
    "a length of 5000 digits": BUTTON + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a length that is large": BUTTON + b"Content-Length: 999999\r\n\r\n",
    "two lengths": BUTTON + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "no length": BUTTON + b"\r\n",
    "pieces": BUTTON + b"Transfer-Encoding: chunked\r\n\r\n5\r\nproof\r\n0\r\n\r\n",
    "pieces and a length": BUTTON + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nproof",
    "less than was said": BUTTON + b"Content-Length: 50\r\n\r\nproof=",
    "nothing": BUTTON + b"Content-Length: 0\r\n\r\n",
    "bytes": BUTTON + b"Content-Length: 5\r\n\r\n\xff\x00%%&",
    "a form of semicolons": BUTTON + b"Content-Length: 4000\r\n\r\n" + b"a&=;" * 1000,
    "no button": BUTTON.replace(b"/runs/x/stop", b"/") + b"Content-Length: 0\r\n\r\n",
}


def answer(port: int, words: bytes) -> bytes:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=HANGS_S)) as one:
        said = b""
        with suppress(OSError):  # refused before all of it was read
            one.sendall(words)
            one.shutdown(socket.SHUT_WR)
        try:
            while more := one.recv(65536):
                said += more
        except ConnectionResetError:
            pass
        return said


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(
        tmp_path_factory.mktemp("fleet"), 'page = "localhost:0"', f'page_token = "{TOKEN}"'
    ) as site:
        yield site


@pytest.mark.parametrize(
    "words", [*MALFORMED.values(), *PRESSED.values()], ids=[*MALFORMED, *PRESSED]
)
def test_what_is_no_request_is_refused_in_a_line(site, words, caplog):
    said = answer(site.port, words)
    assert re.match(rb"HTTP/1\.1 4\d\d ", said), said[:300]
    head, _, body = said.partition(b"\r\n\r\n")
    assert body.count(b"\n") == 1 and b"nosniff" in head and b"<" not in body
    assert "fault of ours" not in caplog.text


def test_refusals_are_counted_and_fill_no_log(site, caplog):
    site_refusals = {}
    for _ in range(200):
        answer(site.port, MALFORMED["an open bracket as Host"])
    page = site.get("/metrics", Authorization=f"Bearer {TOKEN}").body
    for family in text_string_to_metric_families(page):
        site_refusals |= {
            sample.labels["status"]: sample.value
            for sample in family.samples
            if sample.name == "distilfleet_page_requests_refused_total"
        }
    assert site_refusals["400"] >= 200
    assert len(caplog.records) <= 2
    assert all(record.levelno <= logging.WARNING for record in caplog.records)


def test_who_says_nothing_is_no_fault(site, caplog):
    assert answer(site.port, b"") == b""
    assert not caplog.records


def test_who_drips_is_cut_off_in_time_and_keeps_nobody_out(site, monkeypatch):
    monkeypatch.setattr(http_server, "REQUEST_S", 1.0)
    began_s = time.monotonic()
    ended = threading.Event()
    heads = (b"GET / HTTP/1.1\r\nX: ", BUTTON + b"Content-Length: 4000\r\n\r\n")
    with ExitStack() as opened:
        drips = [
            opened.enter_context(
                closing(socket.create_connection(("127.0.0.1", site.port), timeout=HANGS_S))
            )
            for _ in range(3 * http_server.MOST_WAITING)
        ]
        for at, one in enumerate(drips):
            one.sendall(heads[at % 2])

        def drip() -> None:
            while not ended.wait(0.2):
                for one in drips:
                    with suppress(OSError):
                        one.sendall(b"y")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            asked_s = time.monotonic()
            assert [site.get("/", Authorization=f"Bearer {TOKEN}").status for _ in range(5)] == [
                200
            ] * 5
            assert time.monotonic() - asked_s < 10.0
            until(
                lambda: (
                    not any(
                        thread.name.startswith("Thread") and "process_request" in thread.name
                        for thread in threading.enumerate()
                    )
                )
            )
        finally:
            ended.set()
            dripping.join()
    assert time.monotonic() - began_s < 30.0


def test_the_page_is_at_all_addresses_of_its_name(tmp_path, monkeypatch):
    real = socket.getaddrinfo

    def both(host, port, *rest, **more):
        """As where localhost has two addresses."""
        hosts = ("127.0.0.1", "::1") if host == "localhost" else (host,)
        return [found for one in hosts for found in real(one, port, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with served(tmp_path, 'page = "localhost:0"') as site:
        for host in ("127.0.0.1", "::1"):
            with closing(socket.create_connection((host, site.port), timeout=HANGS_S)) as one:
                one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert one.recv(20).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("page", ["[::1]:0", "127.0.0.1:0", "LOCALHOST.:0"])
def test_a_page_at_an_address_in_any_spelling(tmp_path, page):
    with served(tmp_path, f'page = "{page}"') as site, closing(socket.socket()):
        host = site.address.removeprefix("http://").rpartition(":")[0].strip("[]")
        with closing(socket.create_connection((host, site.port), timeout=HANGS_S)) as one:
            one.sendall(
                "GET / HTTP/1.1\r\nHost: "
                f"{site.address.removeprefix('http://').strip('/')}\r\n\r\n".encode()
            )
            assert one.recv(20).startswith(b"HTTP/1.1 200")
