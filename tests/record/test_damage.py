"""Files of a record, damaged in every way: a sentence, or what is left of them, and no other run
minds."""

import shutil

import pytest

from cli_runs import FEW, table
from distilfleet.cli.main import main
from distilfleet.core.errors import RecordError
from distilfleet.core.fleet_status import FleetStatus
from distilfleet.record.history import read
from distilfleet.record.queue import Queue
from distilfleet.record.run import reopen
from distilfleet.report.page import page
from distilfleet.service.client import listed
from distilfleet.service.web.page_cache import PageCaches
from distilfleet.service.web.view import PageSource

FILES = (
    "run.toml",
    "fleet.json",
    "metrics.jsonl",
    "wall.jsonl",
    "times.jsonl",
    "plan.json",
    "audit.json",
)
CONTENTS = {
    "empty": b"",
    "zeros": bytes(300),
    "a list": b"[1]\n",
    "a number": b"3\n",
    "an empty object": b"{}\n",
    "no text": b"\xff\xfe\0\n",
    "deep": b"[" * 100_000 + b"\n",
    "other types": b'{"round": "one", "total": [], "shown": 3, "devices": null}\n',
    "little toml": b"schema = 1\n",
    "other toml": b'schema = 1\nrecipe = "koala"\nrounds = "many"\n',
}
NOBODY = {
    "jobs": 0,
    "answered": 0,
    "missed": 0,
    "since_s": 0.0,
    "late": 0,
    "uploading_bytes": 0,
    "uploads_waiting": 0,
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    data = table(folder / "table.npz")
    with pytest.raises(SystemExit) as done:
        main(
            [
                "run",
                "koala",
                "--data",
                str(data),
                "--rounds",
                "2",
                *FEW,
                "--out",
                str(folder / "run"),
            ]
        )
    assert not done.value.code
    return folder / "run"


@pytest.fixture
def queue(tmp_path, sound):
    """Of a server with two finished runs."""
    queue = Queue(tmp_path)
    for name in ("sound", "hurt"):
        shutil.copytree(sound, queue.record(name))
        (queue.folder("done") / f"{name}.json").write_text('{"error": ""}')
    return queue


def moment() -> FleetStatus:
    return FleetStatus(devices=(), run="", round=0, refused={}, room_bytes=1, **NOBODY)


def look(queue: Queue) -> None:
    rows = {row["name"]: row for row in listed(queue)}
    assert rows["sound"]["rounds"] == "2 of 2"
    shown = PageCaches(PageSource(queue, moment, "proof")).of("").page().decode()
    assert "sound" in shown
    for use in (lambda folder: page([read(folder)]), lambda folder: reopen(folder)[0].close()):
        try:
            use(queue.record("hurt"))
        except RecordError as fault:
            assert str(queue.record("hurt")) in str(fault)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", FILES)
def test_whatever_is_in_a_file_of_one_run(queue, name, content):
    (queue.record("hurt") / name).write_bytes(CONTENTS[content])
    look(queue)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_gone_or_a_folder(queue, name):
    file = queue.record("hurt") / name
    if file.exists():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        look(queue)
        file.unlink()
        look(queue)
    file.mkdir()
    look(queue)


def test_what_came_of_a_run_that_cannot_be_read(queue):
    (queue.folder("done") / "hurt.json").write_bytes(b"{")
    look(queue)
    assert queue.entry("hurt").state == "failed"
    assert "hurt.json cannot be read" in queue.entry("hurt").error
