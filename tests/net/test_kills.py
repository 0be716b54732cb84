"""`kill -9` of server and agents, at every named point and at random times, changes no bit of the
weights."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from supervised import AT_RANDOM, Fleet, check, flags, running

import distilfleet
from cli_runs import table
from distilfleet.core.failpoint import VARIABLE
from distilfleet.net.identity import Authority, belongs, new_key, request_for
from distilfleet.net.keys import Badge, write_private
from distilfleet.net.renewal import keys_of
from distilfleet.recipes.simulate import simulate

SOURCES = sorted(Path(distilfleet.__file__).parent.rglob("*.py"))
ROUNDS = 14
SERVER = (
    *(
        "run.created",
        "server.listening",
        "session.entered",
        "run.opened",
        "round.begun",
        "wave.started",
    ),
    *(
        "upload.chunk",
        "wave.over",
        "wave.recorded",
        "round.appended",
        "file.written",
        "file.synced",
        "file.renamed",
    ),
    *(
        "checkpoint.written",
        "checkpoint.kept",
        "round.committed",
        AT_RANDOM,
        AT_RANDOM,
        "models.written",
        "run.done",
    ),
)
"""In this order, one per life."""
AGENTS = (
    (
        "agent.keyed",
        "agent.certified",
        "agent.enrolled",
        "run.joined",
        "job.begun",
        "job.done",
        AT_RANDOM,
    ),
    ("answer.kept", "answer.sent", "answer.received", "settle.heard", "answer.settled", AT_RANDOM),
    (AT_RANDOM,) * 4,
)
FOLDERS = {"folder.written", "folder.set_aside", "folder.renamed"}
"""Of folders that are swapped in: `tests/deploy/test_model_folders.py` kills at each."""
ELSEWHERE = {"run.submitted", "agent.renewed", *FOLDERS}
"""Each has its own test, below or there."""


def points(source: str) -> set[str]:
    """Names that a file passes to `reached` of `core.failpoint`."""
    if "failpoint import reached" not in source:
        return set()
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [
        call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "reached"
    ]
    return {ast.literal_eval(call.args[0]) for call in named}


def test_every_point_has_a_drill():
    drilled = {*SERVER, *(point for agent in AGENTS for point in agent), *ELSEWHERE} - {AT_RANDOM}
    assert set().union(*(points(file.read_text()) for file in SOURCES)) == drilled
    assert points("from x.failpoint import reached\nreached('new.one')") == {"new.one"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz")


@pytest.mark.net
def test_no_kill_changes_a_bit(data, tmp_path):
    fleet = Fleet(tmp_path, data, flags(data, ROUNDS))
    agents = [fleet.agent(number, points) for number, points in enumerate(AGENTS)]
    simulate("koala", flags(data, ROUNDS), tmp_path / "simulated")
    with running([fleet.server(SERVER), *agents]) as kept:
        check(fleet, kept, tmp_path / "simulated")
    assert [one.killed_at for one in kept] == [list(SERVER), *(list(agent) for agent in AGENTS)]


def killed(script: str, point: str, *words: str) -> None:
    """A program of a few lines that dies at this point."""
    environment = {**os.environ, VARIABLE: point, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_run_that_was_handed_over_is_with_the_server(data, tmp_path):
    (tmp_path / "fleet.toml").write_text(
        'address = "localhost:1"\nenrol_address = "localhost:2"\n[devices]\npi = "rpi-5"'
    )
    words = [
        "run",
        "fedavg",
        "--fleet",
        str(tmp_path / "fleet.toml"),
        "--data",
        str(data),
        "--small",
        "mlp-xs",
    ]
    killed("from distilfleet.cli.main import main; main()", "run.submitted", *words)
    (asked,) = (tmp_path / "fleet-state" / "queue").iterdir()
    assert json.loads(asked.read_text())["recipe"] == "fedavg"


RENEW = """
import asyncio, sys, time
from pathlib import Path
from distilfleet.net import enrolment
from distilfleet.net.identity import Authority

folder = Path(sys.argv[1])
authority = Authority(folder / "authority")

async def call(_address, _keys, _name, request, _timeout_s):
    return authority.sign("pi", request, time.time())

enrolment.call = call
asyncio.run(enrolment.renew(enrolment.badge_of(folder), folder))
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
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert "is POINT:PASS" in done.stderr
