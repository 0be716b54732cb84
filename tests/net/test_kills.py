"""`kill -9` of server and agents, at every named point and at random times, changes no bit of the weights."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from random import Random

import msgspec
import pytest
from fleets import free_ports
from supervised import AT_RANDOM, Kept, keep_running

import distilfleet
from cli_runs import table
from distilfleet.core.failpoint import VARIABLE
from distilfleet.net.agent import Badge, keys_of
from distilfleet.net.identity import Authority, belongs, new_key, request_for, write_private
from distilfleet.net.journal import SqliteJournal
from distilfleet.recipes import serve
from distilfleet.recipes.flags import Common, Smalls, Training
from distilfleet.recipes.koala import Flags
from distilfleet.recipes.simulate import simulate
from distilfleet.recipes.split import Split, split

SOURCES = sorted(Path(distilfleet.__file__).parent.rglob("*.py"))
KINDS = ("rpi-4b", "jetson-nano", "rpi-5")
ROUNDS = 14
SERVER = (
    *("run.created", "server.listening", "session.entered", "run.opened", "round.begun", "wave.started"),
    *("upload.chunk", "wave.over", "wave.recorded", "round.appended", "file.written", "file.synced", "file.renamed"),
    *("checkpoint.written", "checkpoint.kept", "round.committed", AT_RANDOM, AT_RANDOM, "models.written", "run.done"),
)
"""In this order, one per life."""
AGENTS = (
    ("agent.keyed", "agent.certified", "agent.enrolled", "run.joined", "job.begun", "job.done", AT_RANDOM),
    ("answer.kept", "answer.sent", "answer.received", "settle.heard", "answer.settled", AT_RANDOM),
    (AT_RANDOM,) * 4,
)
ELSEWHERE = {"run.submitted", "agent.renewed"}
"""Each has its own test below."""


def points(source: str) -> set[str]:
    """Names that a file passes to `reached` of `core.failpoint`."""
    if "failpoint import reached" not in source:
        return set()
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "reached"]
    return {ast.literal_eval(call.args[0]) for call in named}


def test_every_point_has_a_drill():
    drilled = {*SERVER, *(point for agent in AGENTS for point in agent), *ELSEWHERE} - {AT_RANDOM}
    assert set().union(*(points(file.read_text()) for file in SOURCES)) == drilled
    assert points("from x.failpoint import reached\nreached('new.one')") == {"new.one"}


def flags(data: Path) -> Flags:
    return Flags(
        common=Common(data=str(data), rounds=ROUNDS, devices=len(KINDS), device_kinds=KINDS, cohorts="off"),
        smalls=Smalls(small=("mlp-xs", "mlp-s"), mode="heterogeneous"),
        training=Training(local_passes=1),
        large="mlp-l",
        wire="soft-labels",
        mixtures=8,
    )


def weights(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run / "models").iterdir()}


class Fleet:
    """A folder with a fleet file, data, and processes that are kept running."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.file, self.rng = folder, folder / "fleet.toml", Random(0)
        sessions, enrolment = free_ports(2)
        lines = [f'address = "localhost:{sessions}"', f'enrol_address = "localhost:{enrolment}"', "[devices]"]
        self.file.write_text("\n".join([*lines, *(f'device-{i} = "{kind}"' for i, kind in enumerate(KINDS))]))
        split(Split(data=str(data), devices=len(KINDS), out=folder / "data"))
        self.run = serve.submit(self.file, "koala", flags(data))
        self.path, self.state = serve.page_of(self.file, self.run).parent, folder / "fleet-state"

    def kept(self) -> list[Kept]:
        return [self._server(), *(self._agent(number, points) for number, points in enumerate(AGENTS))]

    def _server(self) -> Kept:
        words = ["serve", str(self.file)]
        return Kept("server", words, self.folder / "serve.log", iter(SERVER), self.rng, self.check_committed)

    def _agent(self, number: int, points: tuple[str, ...]) -> Kept:
        name = f"device-{number}"
        token = serve.create_token(self.file, name, 3600.0)
        own = ["--data", str(self.folder / "data" / f"{name}.npz"), "--state", str(self.folder / name)]
        return Kept(name, ["agent", "--token", token, *own], self.folder / f"{name}.log", iter(points), self.rng)

    def check_committed(self) -> None:
        """What the journal has as committed is on disk."""
        with closing(SqliteJournal(self.state / "journal.sqlite")) as journal:
            committed = journal.committed(self.run)
        newest = max((int(file.stem[-8:]) for file in self.path.glob("checkpoints/round-*.safetensors")), default=0)
        assert newest >= committed

    def finished(self) -> bool:
        return (self.state / "done" / f"{self.run}.json").exists() and not any((self.state / "queue").iterdir())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz")


@pytest.mark.net
def test_no_kill_changes_a_bit(data, tmp_path):
    fleet = Fleet(tmp_path, data)
    kept = fleet.kept()
    try:
        for one in kept:
            one.start()
        keep_running(kept, lambda: fleet.finished() and not any(one.armed for one in kept))
    finally:
        for one in kept:
            one.stop()
    assert [one.killed_at for one in kept] == [list(SERVER), *(list(agent) for agent in AGENTS)]
    rounds = [json.loads(line)["round"] for line in (fleet.path / "metrics.jsonl").read_text().splitlines()]
    assert rounds == list(range(1, ROUNDS + 1))
    simulate("koala", flags(data), tmp_path / "simulated")
    assert weights(fleet.path) == weights(tmp_path / "simulated")


def killed(script: str, point: str, *words: str) -> None:
    """A program of a few lines that dies at this point."""
    environment = {**os.environ, VARIABLE: point, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_run_that_was_handed_over_is_with_the_server(data, tmp_path):
    (tmp_path / "fleet.toml").write_text(
        'address = "localhost:1"\nenrol_address = "localhost:2"\n[devices]\npi = "rpi-5"'
    )
    words = ["run", "fedavg", "--fleet", str(tmp_path / "fleet.toml"), "--data", str(data), "--small", "mlp-xs"]
    killed("from distilfleet.cli import main; main()", "run.submitted", *words)
    (asked,) = (tmp_path / "fleet-state" / "queue").iterdir()
    assert json.loads(asked.read_text())["recipe"] == "fedavg"


RENEW = """
import asyncio, sys, time
from pathlib import Path
from distilfleet.net import agent
from distilfleet.net.identity import Authority

folder = Path(sys.argv[1])
authority = Authority(folder / "authority")

async def call(_address, _keys, _name, request, _timeout_s):
    return authority.sign("pi", request, time.time())

agent.call = call
asyncio.run(agent.renew(agent.badge_of(folder), folder))
"""
"""A renewal whose certificate comes from a local authority."""


def test_a_device_that_dies_between_certificate_and_key_can_still_connect(tmp_path):
    authority, key = Authority(tmp_path / "authority"), new_key()
    with closing(authority):
        certificate = authority.sign("pi", request_for(key, "pi"), time.time())
        for name, pem in (("key", key), ("certificate", certificate), ("authority", authority.pem)):
            write_private(tmp_path / f"{name}.pem", pem)
    badge = Badge(address="localhost:1", enrol_address="localhost:2", device="pi", kind="rpi-5")
    write_private(tmp_path / "badge.json", msgspec.json.encode(badge))
    killed(RENEW, "agent.renewed", str(tmp_path))
    assert (tmp_path / "key.pem").read_bytes() == key
    assert (tmp_path / "certificate.pem").read_bytes() != certificate
    keys = keys_of(tmp_path)
    assert belongs(keys.key, keys.certificate)


def test_a_point_that_cannot_be_read_is_named():
    environment = {**os.environ, VARIABLE: "wave.over:often"}
    script = "from distilfleet.core.failpoint import reached; reached('wave.over')"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert "is POINT:PASS" in done.stderr
