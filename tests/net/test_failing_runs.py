"""One run's fault is never another's: whatever it raises or has in its files, it alone fails, and
the next begins."""

import json
import re
import signal
from contextlib import suppress
from urllib.request import urlopen

import pytest
import raising
from fleets import KINDS, Processes, kill
from patience import HANGS_S
from ports import free_ports
from test_real_fleet import until

from cli_runs import Forked
from distilfleet.cli.main import main
from distilfleet.core.disk import write_atomically
from distilfleet.core.errors import ConfigError, FileError, RecordError, StorageError
from distilfleet.recipes.fedavg import Flags
from distilfleet.recipes.flags import Common
from distilfleet.service import client
from distilfleet.service.deaths import DEATHS_IN_FRONT, MOST_DEATHS
from distilfleet.service.faults import ends_the_server, reason_of, stoppable
from distilfleet.service.fleet_file import fleet_folder

RAISING = {
    "error": "RuntimeError: the third sensor [31mburns [0m (where: ",
    "memory": "MemoryError: this machine has too little memory for it (where: ",
    "leaves": "SystemExit: 3 (where: ",
    "interrupts": "KeyboardInterrupt: raised without a word (where: ",
    "cancels": "CancelledError: raised without a word (where: ",
    "stops": "RuntimeError: generator raised StopIteration (where: ",
    "closes": "GeneratorExit: raised without a word (where: ",
    "wordless": "WordlessError: raised, and its words raise ValueError (where: ",
    "no_file": "FileNotFoundError: [Errno 2] No such file or directory: 'calibration.csv' (where: ",
    "on_purpose": "no device meets the limit",
}
ROUND = "round-00000001"
DAMAGED = {
    "no-json": b"{",
    "a-list": b"[1]",
    "zeros": bytes(100),
    "no-text": b"\xff\xfe{}",
    "empty": b"",
    "no-recipe": b'{"settings": {}}',
    "other-types": b'{"recipe": 3, "settings": []}',
    "wrong-settings": b'{"recipe": "koala", "settings": {"rounds": "many"}}',
    "unknown-recipe": b'{"recipe": "koalas", "settings": {}}',
    "deep": b"[" * 100_000,
    "no-file-any-more": b'{"recipe": "gone.py:recipe", "settings": {}}',
}


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


def ask(fleet: Processes, how: str) -> str:
    flags = Flags(
        common=Common(rounds=3, devices=len(KINDS), device_kinds=KINDS, cohorts="off"),
        small="mlp-xs",
    )
    return client.submit(fleet.here, f"{raising.__file__}:{how}", flags)


@pytest.mark.net
@pytest.mark.slow
def test_whatever_a_run_raises_and_whatever_is_in_the_queue_the_next_run_finishes(fleet, capsys):
    queue = fleet.here.queue
    names = {ask(fleet, how): words for how, words in RAISING.items()}
    for name, content in DAMAGED.items():
        (queue.folder("queue") / f"{name}.json").write_bytes(content)
    (queue.folder("queue") / "folder.json").mkdir()
    (queue.folder("queue") / "dangling.json").symlink_to("nowhere")
    (queue.folder("queue") / "._of-another-system.json").write_bytes(b"\0")
    sound = ask(fleet, "sound")
    assert [line["round"] for line in client.follow(fleet.here, sound)] == [1, 2, 3]

    found = {entry.name: entry for entry in queue.entries()}
    for name, words in names.items():
        assert (found[name].state, found[name].error.partition("/")[0]) == ("failed", words)
        log = queue.state / "faults" / f"{name}.log"
        assert log.exists() == words.endswith("(where: ")
        assert not log.exists() or "in plan" in log.read_text()
    for name in (*DAMAGED, "folder", "dangling"):
        assert found[name].state == "failed"
        assert "\n" not in found[name].error
    assert queue.waiting() == []

    source = (
        urlopen(f"http://{fleet.settings['page'].strip(chr(34))}/", timeout=HANGS_S).read().decode()
    )
    assert source.count("failed: ") >= 10
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        main(["runs", "--fleet", str(fleet.file)])
    assert done.value.code == 0
    assert len(re.findall(r" failed +1 of 3  \S", capsys.readouterr().out)) == len(RAISING)


@pytest.mark.net
@pytest.mark.slow
def test_who_follows_a_run_that_fails_hears_why_and_it_can_be_resumed(fleet, capsys):
    words = [
        "run",
        f"{raising.__file__}:error",
        "--fleet",
        str(fleet.file),
        "--rounds",
        "3",
        "--small",
        "mlp-xs",
    ]
    with pytest.raises(SystemExit) as done:
        main(words)
    assert done.value.code == 1
    said = capsys.readouterr()
    assert "round 1/3" in said.out
    (line,) = said.err.splitlines()
    assert re.match(
        r"distilfleet: (raising-\S+) failed after round 1: RuntimeError: the third", line
    )

    run, queue = line.split()[1], fleet.here.queue
    kill(fleet.server)
    fleet.start_server()
    other = ask(fleet, "sound")
    list(client.follow(fleet.here, other))
    assert queue.entry(run).state == "failed", (
        "a server that starts does not try it again by itself"
    )

    with pytest.raises(SystemExit):
        main(["runs", "resume", run, "--fleet", str(fleet.file)])
    assert "after round 1" in capsys.readouterr().out
    with pytest.raises(client.FailedError, match="failed after round 1: RuntimeError"):
        list(client.follow(fleet.here, run))
    done = json.loads((queue.state / "done" / f"{run}.json").read_text())
    (queue.state / "done" / f"{run}.json").write_text(
        json.dumps({**done, "recipe": f"{raising.__file__}:sound"})
    )
    queue.resume(run)
    assert [line["round"] for line in client.follow(fleet.here, run)] == [1, 2, 3]


@pytest.mark.net
@pytest.mark.slow
def test_a_run_that_is_taken_out_of_the_queue_is_not_followed_for_ever(fleet):
    long = ask(fleet, "sound")
    queue = fleet.here.queue
    gone = ask(fleet, "sound")
    (queue.state / "queue" / f"{gone}.json").unlink(missing_ok=True)
    with pytest.raises(client.FailedError, match="is not with the server any more"):
        list(client.follow(fleet.here, gone))
    assert len(list(client.follow(fleet.here, long))) == 3


OWN_MODEL = """
from torch import nn


def net(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
"""


@pytest.mark.net
@pytest.mark.slow
def test_a_run_that_every_device_declines_fails_with_their_reason(fleet, tmp_path, capsys):
    (tmp_path / "nets.py").write_text(OWN_MODEL)
    small = ["--small", f"{tmp_path / 'nets.py'}:net"]
    with pytest.raises(SystemExit) as done:
        main(
            ["run", "fedavg", "--fleet", str(fleet.file), "--who", "small", "--rounds", "2", *small]
        )
    assert done.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert " failed after round 0: round 1 cannot be had: 2 of 2 devices do not do its job" in line
    assert "device-0, device-1: declined: " in line
    assert "is not of the zoo, and this device builds no others" in line


@pytest.mark.net
@pytest.mark.slow
def test_who_stops_following_is_told_that_the_run_goes_on_and_how_to_stop_it(tmp_path):
    file = tmp_path / "fleet.toml"
    file.write_text(
        'address = "localhost:1"\nenrol_address = "localhost:2"\n[devices]\npi = "rpi-5"'
    )
    following = Forked("run", "fedavg", "--small", "mlp-xs", "--fleet", file)
    name = following.stdout.readline().split()[0]
    # from here on it waits
    assert any(line.startswith("No server is running here") for line in following.stdout)
    following.send_signal(signal.SIGINT)
    _, said = following.communicate()
    assert following.returncode == 130
    assert said == (
        f"distilfleet: {name} goes on with the server; this stops it: distilfleet runs stop {name} "
        f"--fleet {file}\n"
    )
    assert fleet_folder(file).queue.waiting() == [name]


@pytest.mark.net
@pytest.mark.slow
def test_a_run_that_takes_the_process_with_it_gives_way_to_others_and_fails_at_last(fleet):
    queue, bad = fleet.here.queue, ask(fleet, "exits")
    sound = ask(fleet, "sound")
    for died in (DEATHS_IN_FRONT - 1, DEATHS_IN_FRONT):
        fleet.server.wait()
        assert queue.waiting() == [bad, sound]
        while queue.attempts(bad).died(ROUND) < died:
            queue.attempts(bad).begin(ROUND)
        fleet.start_server()
    assert [line["round"] for line in client.follow(fleet.here, sound)] == [1, 2, 3]
    fleet.server.wait()
    for _ in range(DEATHS_IN_FRONT + 1, MOST_DEATHS):
        queue.attempts(bad).begin(ROUND)
    fleet.start_server()
    with pytest.raises(
        client.FailedError,
        match=r"process died 20 times in a row in this run, and no round .* round 1",
    ):
        list(client.follow(fleet.here, bad))
    assert fleet.server.returncode is None
    queue.resume(bad)
    fleet.server.wait()
    assert queue.attempts(bad).died(ROUND) == 1, "whoever resumes it has all tries anew"


# --- without processes ----------------------------------------------------------------------------


def test_what_ends_a_server():
    assert ends_the_server(StorageError("the disk is full"), stopped=False)
    assert ends_the_server(KeyboardInterrupt(), stopped=True)
    assert ends_the_server(RuntimeError("cannot release un-acquired lock"), stopped=True), (
        "a signal came there"
    )
    for fault in (
        KeyboardInterrupt(),
        SystemExit(),
        MemoryError(),
        FileError("a folder"),
        RecordError("damaged"),
    ):
        assert not ends_the_server(fault, stopped=False)


def test_a_run_that_swallows_the_signal_does_not_keep_its_server():
    with stoppable() as stopped:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert stopped.is_set()
    with pytest.raises(KeyboardInterrupt), stoppable():
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("cannot release un-acquired lock")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_long_strange_reason_is_one_plain_line(tmp_path):
    reason = reason_of(RuntimeError("a\x00b\n" * 10_000), tmp_path / "fault.log")
    assert reason.startswith("RuntimeError: a b a b")
    assert len(reason) < 700
    assert "\n" not in reason
    assert (tmp_path / "fault.log").read_text().startswith("RuntimeError: a")
    (tmp_path / "taken").mkdir()
    assert "ConfigError" not in reason_of(ConfigError("name one"), tmp_path / "taken")
    assert reason_of(RuntimeError("x"), tmp_path / "taken").startswith("RuntimeError: x")


def test_a_fault_of_one_file_is_told_from_one_of_its_disk(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(
        FileError, match=r"file cannot be written: (Is a directory|File exists|Not a directory)"
    ):
        write_atomically(tmp_path / "file", b"x")
