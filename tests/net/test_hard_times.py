"""Full disks, two of one kind, processes that stop and come back, liars and babblers, as processes
over mutual TLS."""

import ast
import os
import re
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import rogue
from failing_disks import full, no_room, refusable, small_disk, unsynced
from supervised import Fleet, Kept, flags, keep_running, running, weights

from cli_runs import table
from distilfleet.core.disk import REMEDY
from distilfleet.core.errors import RecordError
from distilfleet.net import server_side as session
from distilfleet.recipes.flags import Smalls
from distilfleet.recipes.simulate import simulate
from distilfleet.service import server as serve
from distilfleet.service.agent import AgentFlags, join

NET = Path(session.__file__).parent
ROUNDS = 8
BEATS = {"beat_s": 1.0}
"""A device is away after three."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz")


@pytest.fixture(scope="module")
def simulated(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("simulated") / "run"
    simulate("koala", flags(data, ROUNDS), path)
    return path


def with_deadline(data: Path, rounds: int, deadline_s: float):
    asked = flags(data, rounds)
    return replace(asked, common=replace(asked.common, deadline_s=deadline_s))


def ended(one: Kept) -> bool:
    return one.process.exitcode is not None


@contextmanager
def stopped(one: Kept):
    os.kill(one.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(one.process.pid, signal.SIGCONT)


@contextmanager
def shared(_folder: Path):
    """The disk of everybody else."""
    yield


DISKS = {
    "a quota, and no fsync succeeds": (
        shared,
        {no_room: "File too large|disk I/O", unsynced: "Input/output|disk I/O"},
    ),
    "the file system is full": (small_disk, {full: "No space left|full"}),
}


@pytest.mark.net
@pytest.mark.parametrize("disk", DISKS)
def test_a_disk_that_fails_ends_server_and_agent_with_one_message_and_loses_nothing(
    disk, data, simulated, tmp_path
):
    mounted, ways = DISKS[disk]
    server_state, agent_state = tmp_path / "fleet-state", tmp_path / "device-0"
    with mounted(server_state), mounted(agent_state):
        fleet = Fleet(tmp_path, data, flags(data, ROUNDS))
        kept = [
            replace(one, program=refusable)
            for one in (fleet.server(), *(fleet.agent(n) for n in range(3)))
        ]
        with running(kept):
            for fail, said in ways.items():
                for hurt, folder in ((kept[0], server_state), (kept[1], agent_state)):
                    before = len(fleet.rounds())
                    keep_running(kept, lambda before=before: len(fleet.rounds()) > before)
                    told = what_it_says(
                        hurt, [one for one in kept if one is not hurt], fail, folder
                    )
                    assert re.fullmatch(
                        rf"distilfleet: {folder}/\S+ cannot be written: .*({said}).*", told
                    )
                    assert REMEDY in told
                    hurt.start()
            keep_running(kept, fleet.finished)
        assert fleet.rounds() == list(range(1, ROUNDS + 1))
        assert weights(fleet.path) == weights(simulated)


def what_it_says(hurt: Kept, others: list[Kept], fail, folder: Path) -> str:
    """The one message with which it ends when its disk fails; then that is mended."""
    already = hurt.log.read_text()
    mend = fail(hurt.process.pid, folder)
    keep_running(others, lambda: ended(hurt))
    mend()
    assert hurt.process.exitcode == 2
    log = hurt.log.read_text().removeprefix(already)
    assert f'File "{NET.parent}' not in log, (
        "a traceback of ours; gRPC may log that it cancelled a stream"
    )
    (told,) = [line for line in log.splitlines() if line.startswith("distilfleet: ")]
    return told


@pytest.mark.net
def test_who_stops_and_comes_back_changes_no_bit_and_keeps_a_second_one_out(
    data, simulated, tmp_path
):
    """An agent, then the server, for longer than their leases; the other end hears nothing
    meanwhile."""
    fleet = Fleet(tmp_path, data, flags(data, ROUNDS), BEATS)
    with running([fleet.server(), *(fleet.agent(number) for number in range(3))]) as kept:
        for one in (kept[1], kept[0]):
            before = len(fleet.rounds())
            keep_running(kept, lambda before=before: len(fleet.rounds()) > before)
            with stopped(one):
                until_s = time.monotonic() + 4 * BEATS["beat_s"]
                keep_running(kept, lambda until_s=until_s: time.monotonic() > until_s)
                with pytest.raises(RecordError, match="is in use by another"):
                    serve.serve(fleet.here)
                with pytest.raises(RecordError, match="is in use by another"):
                    join(AgentFlags(data="digits", state=tmp_path / "device-0"))
        keep_running(kept, fleet.finished)
    assert fleet.rounds() == list(range(1, ROUNDS + 1))
    assert weights(fleet.path) == weights(simulated)


@pytest.mark.net
def test_a_stalled_agent_holds_no_round_up_past_its_deadline_and_takes_part_again(data, tmp_path):
    fleet = Fleet(tmp_path, data, with_deadline(data, 60, 1.0))
    with running([fleet.server(), *(fleet.agent(number) for number in range(3))]) as kept:
        keep_running(kept, lambda: fleet.lines()[-1:] and fleet.lines()[-1]["devices"] == 3)
        with stopped(kept[1]):
            began = len(fleet.rounds())
            keep_running(kept, lambda: len(fleet.rounds()) >= began + 3)
        late = fleet.lines()[began + 1 : began + 3]
        assert [line["missed_jobs"] for line in late if line["devices"] == 2] == [
            [["device-0", "deadline"]]
        ] * 2
        back = len(fleet.rounds())
        keep_running(kept, lambda: any(line["devices"] == 3 for line in fleet.lines()[back:]))


@pytest.mark.net
def test_liars_and_babblers_neither_end_nor_hold_up_a_round(data, tmp_path):
    asked = replace(with_deadline(data, 3, 1.0), wire="weights", smalls=Smalls(small=("mlp-xs",)))
    fleet = Fleet(tmp_path, data, asked)
    rogues = [
        replace(fleet.agent(1), program=partial(rogue.lie, "nan")),
        replace(fleet.agent(2), program=rogue.babble),
    ]
    with running([fleet.server(), fleet.agent(0), *rogues]) as kept:
        keep_running(kept, fleet.finished)
    lines = fleet.lines()
    assert [line["round"] for line in lines] == [1, 2, 3]
    missed = [dict(line["missed_jobs"]) for line in lines]
    assert missed[-1].keys() == {"device-1", "device-2"}
    assert all(one["device-2"] in ("deadline", "offline") for one in missed)
    assert all(one["device-1"].startswith("rejected: ") for one in missed[1:])
    assert "refused: protocol" in (tmp_path / "serve.log").read_text()


WALL = ("time.time", "datetime.now", "time.localtime")


def wall_clocks(source: str) -> set[str]:
    """Functions that look at the clock on the wall, which may jump."""
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {
        function.name
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in WALL
    }


def test_a_clock_that_jumps_moves_no_lease_and_no_deadline():
    """Certificates, tokens and hours of the day have to do with the clock on the wall; the rest is
    monotonic."""
    found = {file.name: wall_clocks(file.read_text()) for file in sorted(NET.glob("*.py"))}
    assert {name: names for name, names in found.items() if names} == {
        "agent.py": {"_renew_if_due", "_check", "today"},
        "session_server.py": {"_tick"},  # certificates that have run out
        "identity.py": {"_self_signed"},
    }
    assert wall_clocks("def f():\n    return time.time() + 1") == {"f"}
