"""A run that is killed, at whatever moment, ends with the same bits as one that never was."""

import json
import os
import shutil
import signal
import sys
from itertools import islice

import pytest

from cli_runs import FEW, Forked, child, table, told
from distilfleet.cli.main import main

ROUNDS = 30
WIRES = {
    "weights": [],
    "soft-labels": ["--wire", "soft-labels", "--mode", "heterogeneous", "--offline-share", "0.2"],
}


def killed_before(words):
    """The command line, which kills itself right before it renames or removes a file for the n-th
    time."""
    event, left = words[0], int(words[1])

    def watch(name, _):
        nonlocal left
        if name == event:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    main(words[2:])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz")


@pytest.fixture(scope="module")
def words(data):
    """The command line of a run: words(wire, rounds, path)."""

    def of(wire, rounds, path, every_s=0):
        large = [
            "--large",
            "mlp-l",
            "--checkpoint-every-s",
            every_s,
            "--rounds",
            rounds,
            "--out",
            path,
        ]
        return ["run", "koala", "--data", data, *FEW[:2], *FEW[4:], *WIRES[wire], *large]

    return of


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """Undisturbed runs: whole(wire, rounds)."""
    done = {}

    def of(wire, rounds):
        if (wire, rounds) not in done:
            path = tmp_path_factory.mktemp("whole") / "run"
            with pytest.raises(SystemExit) as end:
                main([str(word) for word in words(wire, rounds, path)])
            assert end.value.code == 0
            done[wire, rounds] = path
        return done[wire, rounds]

    return of


def rounds_of(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def same(path, other):
    """The same metrics, models and last checkpoint, to the bit; a model's card has the command,
    which differs."""
    assert (path / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    models = sorted(
        file.relative_to(other / "models") for file in (other / "models").rglob("*.*[!d]")
    )
    assert models
    assert (
        sorted(file.relative_to(path / "models") for file in (path / "models").rglob("*.*[!d]"))
        == models
    )
    for name in models:
        assert (path / "models" / name).read_bytes() == (other / "models" / name).read_bytes()
    last, whole = (max((one / "checkpoints").iterdir()) for one in (path, other))
    assert (last.name, last.read_bytes()) == (whole.name, whole.read_bytes())
    assert (path / "report.html").stat().st_size > 0


def interrupted(process, number, after):
    """Signal a run once it has told of so many rounds; its exit code."""
    seen = list(islice((line for line in process.stdout if line.startswith("round ")), after))
    assert len(seen) == after, process.stderr.read()
    process.send_signal(number)
    process.communicate()
    return process.returncode


def checkpoints(path):
    return [
        int(file.stem.removeprefix("round-"))
        for file in sorted((path / "checkpoints").glob("round-*.safetensors"))
    ]


@pytest.mark.parametrize(
    ("wire", "every_s", "after"),
    [("weights", 0, 2), ("weights", 1e9, 4), ("soft-labels", 0, 5), ("soft-labels", 1e9, 1)],
)
def test_a_killed_run_ends_as_one_that_was_not(wire, every_s, after, words, whole, tmp_path, capfd):
    path = tmp_path / "run"
    assert (
        interrupted(Forked(*words(wire, ROUNDS, path, every_s)), signal.SIGKILL, after)
        == -signal.SIGKILL
    )
    kept = checkpoints(path)[-1]
    assert kept == 0 if every_s else after - 1 <= kept < ROUNDS
    assert told(capfd, "run", "--resume", path).code == 0
    same(path, whole(wire, ROUNDS))


@pytest.mark.parametrize(
    ("event", "count", "kept"),
    [("os.rename", 6, [0, 1, 2]), ("os.remove", 1, [0, 1, 2, 3]), ("os.rename", 10, [3, 4, 5])],
    ids=["while writing a checkpoint", "before dropping an old one", "while writing the models"],
)
def test_a_run_killed_between_two_files_ends_as_one_that_was_not(
    event, count, kept, words, whole, tmp_path, capfd
):
    path = tmp_path / "run"
    process = Forked(event, count, *words("weights", 6, path), program=killed_before)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert checkpoints(path) == kept
    assert told(capfd, "run", "--resume", path).code == 0
    same(path, whole("weights", 6))


def test_a_run_killed_before_its_first_checkpoint_begins_anew(words, whole, tmp_path, capfd):
    path = tmp_path / "run"
    process = Forked("os.rename", 3, *words("weights", 6, path), program=killed_before)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    said = told(capfd, "run", "--resume", path)
    assert said.code == 0, said.err
    assert "from its start" in said.out
    same(path, whole("weights", 6))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_finishes_its_round_and_can_go_on(
    number, code, words, whole, tmp_path, capfd
):
    path = tmp_path / "run"
    process = Forked(*words("weights", ROUNDS, path, 1e9))
    assert interrupted(process, number, 2) == code
    kept = checkpoints(path)[-1]
    assert kept == len(rounds_of(path)) >= 2
    assert (path / "report.html").exists()
    assert told(capfd, "run", "--resume", path).code == 0
    same(path, whole("weights", ROUNDS))


def test_a_finished_run_has_nothing_left_to_do(words, whole, capfd):
    path = whole("weights", 6)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for more in ([], ["--rounds", "6"], ["--rounds", "2"]):
        said = told(capfd, "run", "--resume", path, *more)
        assert said.code == 0
        assert "nothing is left" in said.out
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_finished_run_without_its_page_gets_it(whole, tmp_path, capfd):
    path = tmp_path / "run"
    shutil.copytree(whole("weights", 6), path)
    (path / "report.html").unlink()
    assert told(capfd, "run", "--resume", path).code == 0
    assert (path / "report.html").is_file()


@pytest.mark.parametrize("wire", WIRES)
def test_more_rounds_equal_a_run_of_that_many(wire, words, whole, tmp_path, capfd):
    path = tmp_path / "run"
    assert told(capfd, *words(wire, 4, path, 1e9)).code == 0
    assert told(capfd, "run", "--resume", path, "--rounds", 6).code == 0
    same(path, whole(wire, 6))


def test_two_runs_in_one_directory_are_refused(words, tmp_path, capfd):
    path = tmp_path / "run"
    process = child(*words("weights", 5000, path, 1e9))
    try:
        assert next(line for line in process.stdout if line.startswith("round 1/"))
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        held = rounds_of(path)
        resumed = told(capfd, "run", "--resume", path)
        anew = told(capfd, *words("weights", 6, path))
        assert (resumed.code, anew.code) == (2, 2)
        assert "in use by another run" in resumed.err
        assert "already exists" in anew.err
        assert rounds_of(path) == held
    finally:
        process.kill()
        process.communicate()


def test_a_lost_round_is_cut_off_before_it_is_made_again(words, whole, tmp_path, capfd):
    """Metrics may be ahead of the checkpoint, their last line cut short."""
    path = tmp_path / "run"
    assert told(capfd, *words("weights", 4, path)).code == 0
    with (path / "metrics.jsonl").open("ab") as metrics:
        metrics.write(b'{"round":5,"large_accuracy":2}\n{"roun')
    assert told(capfd, "run", "--resume", path, "--rounds", 6).code == 0
    same(path, whole("weights", 6))
