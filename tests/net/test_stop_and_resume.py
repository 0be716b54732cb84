"""Runs of a real server are stopped and resumed, from its page and the command line, and lose
nothing."""

import re
import signal
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from fleets import KINDS, Processes, kill
from patience import HANGS_S
from ports import free_ports
from test_real_fleet import until

from distilfleet.cli.main import main
from distilfleet.recipes.fedavg import Flags as FedAvg
from distilfleet.recipes.fedmd import Flags as FedMD
from distilfleet.recipes.flags import Common
from distilfleet.recipes.simulate import simulate
from distilfleet.record.checkpoint import read_checkpoint
from distilfleet.record.history import read_about, read_fleet
from distilfleet.record.queue import Queue
from distilfleet.service import client

pytestmark = [pytest.mark.net, pytest.mark.slow]
ROUNDS = 4


def flags(rounds: int = ROUNDS) -> FedMD:
    return FedMD(
        common=Common(rounds=rounds, devices=len(KINDS), device_kinds=KINDS, cohorts="off")
    )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    (port,) = free_ports(1)
    processes = Processes(
        tmp_path_factory.mktemp("fleet"), {"page": f'"localhost:{port}"'}, forked=True
    )
    processes.start_server()
    until((processes.folder / "fleet-state" / "authority" / "identity.sqlite").exists)
    for number in range(len(KINDS)):
        processes.start_agent(number, new=True)
    yield processes
    processes.stop()


def ask(fleet: Processes, verb: str, path: str, body: str | None = None) -> tuple[int, str]:
    host = str(fleet.settings["page"]).strip('"')
    with closing(HTTPConnection(host, timeout=HANGS_S)) as connection:
        connection.request(verb, path, body, {"Origin": f"http://{host}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def press(fleet: Processes, path: str) -> int:
    _, source = ask(fleet, "GET", "/")
    proof = re.search('name="proof" value="([^"]+)"', source)[1]
    return ask(fleet, "POST", path, urlencode({"proof": proof}))[0]


def all_are_here(fleet: Processes) -> bool:
    with suppress(ConnectionError):  # the server is starting
        return f"{len(KINDS)} of {len(KINDS)} devices are here" in ask(fleet, "GET", "/")[1]
    return False


@contextmanager
def in_its_first_round(fleet: Processes, recipe: str, asked: Any):
    """A run that waits for its second answer, since that device stands still: a stop comes after
    this round."""
    until(lambda: all_are_here(fleet))
    late = fleet.agents["device-1"]
    late.send_signal(signal.SIGSTOP)
    try:
        run = client.submit(fleet.here, recipe, asked)
        until(lambda: "Round 1: 1 of 2 answers are in" in ask(fleet, "GET", "/")[1])
        yield run
    finally:
        late.send_signal(signal.SIGCONT)


def rounds(fleet: Processes, run: str) -> int:
    file = fleet.folder / "fleet-state" / "runs" / run / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def state_of(folder: Path) -> dict[str, bytes]:
    """What the server knows after the last round: in FedMD it hangs on what each device has learnt
    so far."""
    arrays = read_checkpoint(folder / "checkpoints").arrays
    assert any(array.size for array in arrays.values())
    return {
        name: array.tobytes() for name, array in arrays.items() if not name.startswith("fleet/")
    }


def state(fleet: Processes, run: str) -> str:
    return fleet.here.queue.entry(run).state


def test_stopped_on_the_page_and_resumed_on_the_command_line_gives_the_same_weights(
    fleet, tmp_path, capsys
):
    simulate("fedmd", flags(), tmp_path / "simulated")
    with in_its_first_round(fleet, "fedmd", flags()) as run:
        assert press(fleet, f"/runs/{run}/stop") == 303
    with pytest.raises(client.StoppedError, match=r"was stopped after round 1;"):
        list(client.follow(fleet.here, run))
    assert "Stopped: " in ask(fleet, "GET", "/")[1]

    kill(fleet.server)
    fleet.start_server()
    other = client.submit(fleet.here, "fedmd", flags(rounds=1))
    list(client.follow(fleet.here, other))
    assert (state(fleet, run), state(fleet, other)) == ("stopped", "finished")
    assert rounds(fleet, run) == 1

    with pytest.raises(SystemExit) as done:
        main(["runs", "resume", run, "--fleet", str(fleet.file)])
    assert done.value.code == 0
    assert [line["round"] for line in client.follow(fleet.here, run)] == [1, 2, 3, 4]
    assert state_of(client.page_of(fleet.here, run).parent) == state_of(tmp_path / "simulated")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["runs", "--fleet", str(fleet.file)])
    assert re.search(rf"{run} +finished +4 of 4", capsys.readouterr().out)


def test_who_follows_a_run_is_told_that_it_was_stopped(fleet, capsys):
    first, queue = client.submit(fleet.here, "fedmd", flags(rounds=100_000)), fleet.here.queue
    until(lambda: state(fleet, first) == "under way")
    stopper = threading.Thread(target=stop_what_waits, args=[queue])
    stopper.start()
    with pytest.raises(SystemExit) as done:
        main(["run", "fedmd", "--fleet", str(fleet.file), "--rounds", "2"])
    stopper.join()
    assert done.value.code == 130
    said = (
        r"Stopped: fedmd-\S+ was stopped after round 0; it goes on with: distilfleet runs resume "
        r"fedmd-"
    )
    assert re.search(said, capsys.readouterr().out)
    queue.stop(first)
    until(lambda: state(fleet, first) == "stopped")
    assert queue.waiting() == []


def stop_what_waits(queue: Queue) -> None:
    until(lambda: len(queue.waiting()) == 2)
    queue.stop(queue.waiting()[1])


def test_a_run_that_goes_on_by_another_fleet_file_says_so_and_shows_the_new_roster(fleet):
    before = fleet.file.read_text()
    with in_its_first_round(fleet, "fedmd", flags()) as run:
        fleet.here.queue.stop(run)
    until(lambda: state(fleet, run) == "stopped")
    kill(fleet.server)
    without = before.replace('device-1 = "jetson-nano"', "")
    fleet.file.write_text(without)
    fleet.start_server()
    fleet.here.queue.resume(run)
    assert [line["round"] for line in client.follow(fleet.here, run)] == [1, 2, 3, 4]
    folder = client.page_of(fleet.here, run).parent
    assert (
        read_about(folder)["notes"][-1] == "From round 2 on by another fleet file: gone: device-1."
    )
    assert (read_fleet(folder)["total"], list(read_fleet(folder)["devices"])) == (1, ["device-0"])
    shown = ask(fleet, "GET", "/")[1]
    assert "by another fleet file: gone: device-1." in shown
    assert "1 of 1 devices are here" in shown
    fleet.file.write_text(before)
    kill(fleet.server)
    kill(fleet.agents["device-1"])  # which was told to come again in a minute
    fleet.start_server()
    fleet.start_agent(1)


def test_a_run_that_waits_too_long_for_a_device_lets_the_next_go_and_goes_on_when_it_is_back(
    tmp_path,
):
    one_waits = {"page": '""', "patience_s": 1, "longest_s": 2}
    fleet, asked = Processes(tmp_path, one_waits, forked=True), flags(rounds=2)
    try:
        fleet.start_server()
        until((fleet.folder / "fleet-state" / "authority" / "identity.sqlite").exists)
        fleet.start_agent(0, new=True)
        needs_all = replace(asked, common=replace(asked.common, minimum=len(KINDS)))
        first = client.submit(fleet.here, "fedmd", needs_all)
        until(lambda: state(fleet, first) == "waiting for devices")
        second = client.submit(fleet.here, "fedmd", asked)
        until(lambda: state(fleet, second) == "finished")
        assert rounds(fleet, first) == 0
        until(lambda: state(fleet, first) == "waiting for devices")
        fleet.start_agent(1, new=True)
        until(lambda: state(fleet, first) == "finished")
        assert [line["devices"] for line in client.follow(fleet.here, first)] == [2, 2]
    finally:
        fleet.stop()


def test_a_run_whose_data_changed_fails_in_words_and_goes_on_when_they_are_back(fleet):
    data, queue = fleet.folder / "own.npz", fleet.here.queue
    whole = (fleet.folder / "data" / "server.npz").read_bytes()
    data.write_bytes(whole)
    common = replace(flags(6).common, data=str(data))
    with in_its_first_round(fleet, "fedavg", FedAvg(common=common, who="small")) as run:
        queue.stop(run)
    until(lambda: queue.entry(run).state == "stopped")
    with np.load(data) as held:
        np.savez(data, **{**held, "prepared_x": held["prepared_x"][::-1]})
    queue.resume(run)
    until(lambda: queue.entry(run).state == "failed")
    assert f"trained on {data} as it was when the run began" in queue.entry(run).error
    until(lambda: not queue.waiting())
    data.write_bytes(whole)
    queue.resume(run)
    until(lambda: queue.entry(run).state == "finished")
    assert rounds(fleet, run) == 6
