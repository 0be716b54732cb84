"""The live page of a real server on loopback: what it shows, who may press its buttons, and what
slow readers cost."""

import asyncio
import html
import http.client
import json
import logging
import re
import resource
import socket
import statistics
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from patience import HANGS_S
from ports import free_ports
from prometheus_client.parser import text_string_to_metric_families

from distilfleet.cli import fleet as cli_fleet
from distilfleet.core.errors import ConfigError
from distilfleet.net.address import Address
from distilfleet.net.agent import Agent
from distilfleet.net.enrolment import enrol
from distilfleet.net.keys import Token
from distilfleet.net.metrics import Totals
from distilfleet.service import client
from distilfleet.service import server as serve
from distilfleet.service.enrol import create_token
from distilfleet.service.fleet_file import FleetFolder, fleet_folder
from distilfleet.service.web import http_server
from distilfleet.service.web import page_cache as board
from distilfleet.service.web import site as console
from distilfleet.service.web.site import access

pytestmark = pytest.mark.net
DEVICES = {f"ward-{i}-bed": kind for i, kind in enumerate(("rpi-4b", "rpi-5", "jetson-nano"))}
RUN = "koala-20261121-100000-000001"
LINE = {
    "round": 1,
    "large_accuracy": 0.625,
    "small_accuracy": 0.5,
    "up_bytes": 3000,
    "down_bytes": 5000,
    "device_energy_j": 7.0,
    "server_energy_j": 11.0,
    "elapsed_s": 2.0,
    "wall_s": 2.0,
    "devices": 2,
    "asked": 3,
    "jobs": 3,
    "missed": 1,
    "missed_jobs": [["ward-2-bed", "rejected: holds NaN"]],
}


@dataclass
class Site:
    file: Path
    address: str
    session_server: Any
    loop: Any
    totals: Totals

    @property
    def here(self) -> FleetFolder:
        return fleet_folder(self.file)

    @property
    def port(self) -> int:
        return urlsplit(self.address).port

    def get(self, path: str, **headers: str) -> "Answer":
        return self.ask("GET", path, None, headers)

    def press(self, path: str, proof: str, **headers: str) -> "Answer":
        body = urlencode({"proof": proof})
        kind = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://localhost:{self.port}",
        }
        return self.ask(
            "POST",
            path,
            body,
            {**kind, **{name.replace("_", "-"): v for name, v in headers.items()}},
        )

    def ask(self, verb: str, path: str, body: str | None, headers: dict[str, str]) -> "Answer":
        with closing(
            http.client.HTTPConnection("localhost", self.port, timeout=HANGS_S)
        ) as connection:
            connection.request(verb, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())

    @property
    def proof(self) -> str:
        return re.search('name="proof" value="([^"]+)"', self.get("/").body)[1]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


@contextmanager
def served(folder: Path, *lines: str):
    sessions, enrolment = free_ports(2)
    own = [
        f'address = "localhost:{sessions}"',
        f'enrol_address = "localhost:{enrolment}"',
        *lines,
        "[devices]",
    ]
    file, totals = folder / "fleet.toml", Totals()
    file.write_text("\n".join([*own, *(f'{name} = "{kind}"' for name, kind in DEVICES.items())]))
    with serve.online(fleet_folder(file), totals) as (session_server, loop, address):
        yield Site(file, address, session_server, loop, totals)


@pytest.fixture
def site(tmp_path):
    with served(tmp_path, 'page = "localhost:0"') as site:
        yield site


def recorded(site: Site, rounds: int, queued: bool = True) -> Path:
    """A run as the server would have it, by its files."""
    queue = site.here.queue
    folder = queue.record(RUN)
    folder.mkdir(parents=True, exist_ok=True)
    about = (
        'schema = 1\nrecipe = "koala"\nrounds = 4\nseed = 7\ndisclosure = "weights: of small '
        'models"\n'
    )
    (folder / "run.toml").write_text(
        about
        + '[settings]\nfleet = "fleet.toml"\n[data]\nname = "digits"\n[method]\ntitle = "KOALA"\n'
    )
    shown = [{"id": name, "kind": kind, "samples": 9} for name, kind in DEVICES.items()]
    (folder / "fleet.json").write_text(
        json.dumps({"total": len(DEVICES), "kinds": {}, "shown": shown})
    )
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({**LINE, "round": i + 1}) + "\n" for i in range(rounds))
    )
    if queued:
        queue.ask(RUN, {"recipe": "koala"})
    return folder


def until(ready, seconds: float = HANGS_S) -> None:
    end_s = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.05)


@contextmanager
def joined(site: Site, name: str, folder: Path):
    """A real agent, over TLS, in the server's loop."""
    token = Token.read(create_token(site.here, name, 600.0))
    device = site.here.devices[name]

    async def join() -> "asyncio.Task[None]":
        badge = await enrol(token, folder)
        return asyncio.create_task(
            Agent(
                badge=badge, folder=folder, device=device, build=None, battery_share=lambda: 0.42
            ).serve()
        )

    task = asyncio.run_coroutine_threadsafe(join(), site.loop).result(HANGS_S)
    try:
        yield
    finally:
        site.loop.call_soon_threadsafe(task.cancel)
        until(task.done)


# --- what it shows --------------------------------------------------------------------------------


def test_the_page_shows_roster_run_and_queue_and_loads_nothing(site):
    recorded(site, rounds=2)
    answer = site.get("/")
    assert answer.status == 200
    for words in (
        *DEVICES,
        RUN,
        "KOALA on digits",
        "Under way: 2 of 4 rounds",
        "62.5 %",
        "holds NaN",
        "0 of 3 devices",
    ):
        assert words in answer.body
    assert not re.search(r"(?:src|href)=\"(?!/runs/)|url\(|@import", answer.body)
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in html.unescape(answer.body)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    report = site.get(f"/runs/{RUN}")
    assert report.status == 200
    assert "sandbox allow-scripts" in report.headers["Content-Security-Policy"]
    assert site.get("/runs/..%2F..%2Fauthority").status == 404
    assert site.get("/nothing").status == 404


WAITS = (
    "round 3 waits for devices: 0 of 3 have answered, and the round needs 1 of its 3 devices. Not "
    "here: <b>ward"
)


def test_the_page_says_what_a_run_waits_for_and_that_it_goes_on(site):
    recorded(site, rounds=2)
    queue = site.here.queue
    queue.tell_waits(RUN, WAITS)
    body = site.get("/").body
    assert f"waiting for devices: {html.escape(WAITS)}" in body
    assert "<b>ward" not in body
    with closing(Events(site)) as events:
        assert "waiting for devices" in events.next()["slots"]["runs"]
        queue.tell_waits(RUN, "")
        slots = events.next()["slots"]
    assert "waiting for devices" not in slots["runs"]
    assert "Under way: 2 of 4 rounds" in site.get("/").body


def test_who_follows_a_run_hears_what_it_waits_for_and_that_it_goes_on(site, capsys):
    queue, heard = site.here.queue, []
    recorded(site, rounds=2)
    queue.tell_waits(RUN, WAITS)

    def hear(words: str) -> None:
        heard.append(words)
        cli_fleet._tell_waits(words)
        if words:
            queue.tell_waits(RUN, "")
        else:
            queue.close(RUN, "")

    assert [line["round"] for line in client.follow(site.here, RUN, hear)] == [1, 2]
    assert heard == [WAITS, ""]
    assert capsys.readouterr().out == f"Waiting: {WAITS}\nThe wait is over: the run goes on.\n"


def test_events_tell_of_a_device_that_comes_and_of_a_round(site, tmp_path):
    folder = recorded(site, rounds=1)
    with closing(Events(site)) as events:
        first = events.next()
        assert set(first["slots"]) >= {"top", "roster", "results", "runs"}
        with joined(site, "ward-1-bed", tmp_path / "agent"):
            roster = events.until("roster", "1 of 3 devices are here: 1 idle")
            events.until("roster", "42.0 %")
            assert "results" not in roster["slots"], "a device that comes changes no chart"
        with (folder / "metrics.jsonl").open("a") as metrics:
            metrics.write(json.dumps({**LINE, "round": 2, "large_accuracy": 0.875}) + "\n")
        assert "87.5 %" in events.until("top", "2 of 4 rounds")["slots"]["story"]


def test_a_roster_shows_what_is_looked_for(site, tmp_path):
    with joined(site, "ward-1-bed", tmp_path / "agent"):
        until(lambda: "1 of 3 devices are here" in site.get("/").body)
        found = {
            words: site.get(f"/?{urlencode({'find': words})}").body
            for words in ("AWAY", "rpi idle", "none<b>")
        }
        with closing(Events(site, "?find=away")) as events:
            roster = events.next()["slots"]["roster"]
    assert "fit “away”" in found["AWAY"] and "<th>ward-1-bed" not in found["AWAY"]
    assert [
        name in found["rpi idle"].split('id="roster"')[1].split("</table>")[0] for name in DEVICES
    ] == [
        False,
        True,
        False,
    ]
    assert "none&lt;b&gt;" in found["none<b>"]
    assert "ward-0-bed" in roster and "ward-1-bed" not in roster


class Events:
    """A reader of server-sent events."""

    def __init__(self, site: Site, query: str = "", buffer_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self.socket.settimeout(HANGS_S)
        self.socket.connect(("127.0.0.1", site.port))
        self.socket.sendall(
            f"GET /events{query} HTTP/1.1\r\nHost: localhost:{site.port}\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")

    def next(self) -> dict[str, Any]:
        while not (line := self.file.readline()).startswith(b"data: "):
            assert line, "the events ended"
        return json.loads(line.removeprefix(b"data: "))

    def until(self, slot: str, words: str) -> dict[str, Any]:
        while words not in (event := self.next())["slots"].get(slot, ""):
            pass
        return event

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_metrics_are_counted_and_name_no_device(site, tmp_path):
    site.totals.add(
        {**LINE, "missed": 3, "jobs": 5, "missed_jobs": [["ward-2-bed", "my own: reason"]]}, 1.5
    )
    with joined(site, "ward-0-bed", tmp_path / "agent"):
        until(lambda: "distilfleet_sessions_open 1.0" in site.get("/metrics").body)
        text = site.get("/metrics").body
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["distilfleet_devices", "idle"] == 1
    assert found["distilfleet_devices", "away"] == 2
    assert found["distilfleet_jobs_answered_total",] == 2
    assert found["distilfleet_jobs_missed_total", "other"] == 3
    assert found["distilfleet_energy_joules_total", "server"] == 11
    assert found["distilfleet_round_seconds_sum",] == 1.5
    assert found["distilfleet_rounds_total",] == 1
    assert found["distilfleet_traffic_bytes_total", "down"] > 0
    assert found["process_resident_memory_bytes",] > 1e6
    assert "ward" not in text and "my own" not in text


# --- who may do what ------------------------------------------------------------------------------


def test_a_name_that_is_not_ours_is_refused(site):
    for host in ("evil.example", f"evil.example:{site.port}", "localhost.evil.example", ""):
        assert site.get("/", Host=host).status == 421
    for host in ("localhost:9", f"127.0.0.1:{site.port}", f"[::1]:{site.port}"):
        assert site.get("/", Host=host).status == 200


def test_a_button_counts_only_on_the_servers_own_page(site):
    recorded(site, rounds=1)
    stop, proof = f"/runs/{RUN}/stop", site.proof
    queue = site.here.queue
    for refused in (
        site.press(stop, proof, Origin="http://evil.example"),
        site.press(stop, proof, Origin="null"),
        site.press(stop, proof, Sec_Fetch_Site="cross-site"),
        site.press(stop, "x" + proof),
        site.press(stop, ""),
        site.ask("POST", stop, urlencode({"proof": proof}), {}),
    ):
        assert refused.status == 403
    assert site.get(stop).status == 404
    assert site.ask("POST", stop, "x" * 5000, {}).status == 413
    assert not queue.to_stop(RUN)
    assert site.press(stop, proof).status == 303
    assert queue.to_stop(RUN)
    assert "Stopping after this round" in site.get("/").body
    assert site.press(f"/runs/{RUN}/resume", proof).status == 303
    assert not queue.to_stop(RUN)
    assert site.press("/runs/..%2Fauthority%2Fx/stop", proof).status == 409
    assert site.press("/runs/koala-0/stop", proof).status == 409


def test_beyond_loopback_only_with_a_token(tmp_path):
    for page in ("0.0.0.0:7480", "192.0.2.1:7480"):
        with pytest.raises(ConfigError, match="needs page_token"):
            access(Address.read(page), "")
        assert access(Address.read(page), "a secret of the ward").address.port == 7480
    with pytest.raises(ConfigError, match="at least 16"):
        access(Address.read("0.0.0.0:7480"), "secret")
    for page in ("7480", "localhost:", "localhost:x", "no such host:7480"):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            access(Address.read(page), "")
    with (
        pytest.raises(ConfigError, match="needs page_token"),
        served(tmp_path, 'page = "0.0.0.0:0"'),
    ):
        pass


def test_a_token_opens_the_page_once_and_for_all(tmp_path):
    with served(tmp_path, 'page = "localhost:0"', 'page_token = "a secret of the ward"') as site:
        for path in ("/", "/events", "/metrics", "/runs/x", "/?token=a+secret+of+the+war"):
            assert site.get(path).status == 401
        opened = site.get("/?token=a+secret+of+the+ward")
        assert opened.status == 303
        cookie, *rules = opened.headers["Set-Cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict"} <= set(rules) and "secret" not in cookie
        assert site.get("/", Cookie=cookie).status == 200
        assert site.get("/", Cookie=cookie[:-1]).status == 401
        assert site.get("/metrics", Authorization="Bearer a secret of the ward").status == 200


def test_a_fleet_goes_without_its_page_if_the_port_is_taken(tmp_path, caplog):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        own = f'page = "localhost:{taken.getsockname()[1]}"'
        with caplog.at_level(logging.WARNING), served(tmp_path, own) as site:
            assert site.address == ""
    assert "no live page" in caplog.text
    with served(tmp_path, 'page = ""') as site:
        assert site.address == ""


# --- what slow readers cost -----------------------------------------------------------------------


def test_readers_that_stall_are_dropped_and_hold_no_memory(site, monkeypatch):
    for module in (board, console):
        monkeypatch.setattr(module, "EVERY_S", 0.01)
    monkeypatch.setattr(board, "SHARE", 1.0)
    monkeypatch.setattr(console, "WRITE_S", 1.0)
    folder = recorded(site, rounds=300)
    stalled = [Events(site, buffer_bytes=4096) for _ in range(console.MOST_READERS)]
    assert all(b"200 OK" in one.file.readline() for one in stalled)
    assert site.get("/events").status == 503
    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    took_s, ended = [], threading.Event()

    def write_rounds() -> None:
        for place_ in range(301, 1000):
            with (folder / "metrics.jsonl").open("a") as metrics:
                metrics.write(json.dumps({**LINE, "round": place_}) + "\n")
            if ended.wait(0.02):
                return

    writer = threading.Thread(target=write_rounds)
    writer.start()
    try:
        until(lambda: threading.active_count() < console.MOST_READERS)
        for _ in range(20):
            began_s = time.monotonic()
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), site.loop).result(HANGS_S)
            took_s.append(time.monotonic() - began_s)
    finally:
        ended.set()
        writer.join()
        for one in stalled:
            one.close()
    grown_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before_bytes
    assert grown_bytes < 64e6
    assert statistics.median(took_s) < console.WRITE_S, "nobody waits for who does not read"
    assert site.get("/").status == 200


def test_idle_connections_leave_room_for_the_fleet_and_for_whoever_asks(site):
    idle = [
        socket.create_connection(("127.0.0.1", site.port))
        for _ in range(2 * http_server.MOST_CONNECTIONS)
    ]
    try:
        assert [site.get("/").status for _ in range(3)] == [200] * 3
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), site.loop).result(HANGS_S)
    finally:
        for one in idle:
            one.close()
