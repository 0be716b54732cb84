import json
import tomllib

import numpy as np
import pytest

from distilfleet.core.errors import RecordError
from distilfleet.core.tally import Timed, Times
from distilfleet.record.checkpoint import Checkpoint
from distilfleet.record.history import SCHEMA, read, read_rounds, read_times
from distilfleet.record.run import check_free, create, reopen, rewrite_about

ABOUT = {"schema": SCHEMA, "recipe": "koala", "rounds": 3, "versions": {"distilfleet": "1.2.3"}}


@pytest.fixture
def path(tmp_path):
    """A run that was interrupted after three rounds; its checkpoint is of the second."""
    run = create(tmp_path / "run", ABOUT, {"total": 2})
    for number in (1, 2):
        run.append({"round": number, "large_accuracy": 0.5})
    run.checkpoint(kept(2))
    run.append({"round": 3})
    run.close()
    return tmp_path / "run"


def kept(number):
    return Checkpoint(round=number, arrays={"w": np.ones(2)}, plain={})


def test_a_record_is_read_as_it_was_written(path):
    history = read(path)
    assert history.about == ABOUT
    assert history.fleet == {"total": 2}
    assert [line["round"] for line in history.rounds] == [1, 2, 3]


def test_rounds_are_on_disk_as_they_happen(tmp_path):
    run = create(tmp_path / "run", ABOUT, {})
    run.append({"round": 1})
    assert read_rounds(tmp_path / "run") == [{"round": 1}]
    run.close()


def test_reopening_cuts_what_came_after_the_checkpoint(path):
    run, about, checkpoint = reopen(path)
    run.append({"round": 3, "again": True})
    run.close()
    assert about == ABOUT
    assert checkpoint.round == 2
    assert [line.get("again") for line in read_rounds(path)] == [None, None, True]


def test_wall_time_has_a_file_of_its_own_and_is_read_with_its_round(path):
    run, _, _ = reopen(path)
    run.append_wall(3, 4.5)
    run.append({"round": 3})
    run.close()
    assert b"wall_s" not in (path / "metrics.jsonl").read_bytes()
    assert [line.get("wall_s") for line in read_rounds(path)] == [None, None, 4.5]
    reopen(path)[0].close()  # the checkpoint is of round 2
    assert (path / "wall.jsonl").read_bytes() == b""


def test_a_record_that_has_wall_time_among_its_metrics_is_read_as_it_was(path):
    (path / "metrics.jsonl").write_text('{"round":1,"wall_s":0.5}\n{"round":2,"wall_s":1.5}\n')
    assert [line["wall_s"] for line in read_rounds(path)] == [0.5, 1.5]


def test_times_after_the_checkpoint_are_cut_off_too(path):
    at = {
        "sent_s": 0.0,
        "received_s": 0.1,
        "begun_s": None,
        "done_s": None,
        "offered_s": 0.5,
        "uploaded_s": 1.0,
    }
    took = {"busy_s": 0.2, "energy_j": 0.5, "metered": False}
    job = Timed(job="a", device="pi", down_bytes=1, up_bytes=2, **at, **took)
    run, _, checkpoint = reopen(path)
    for number in range(1, checkpoint.round + 3):
        run.append_times(number, Times(jobs=[job], server_s=[(1.0, 2.0)]))
    run.close()
    with (path / "times.jsonl").open("ab") as file:
        file.write(b'{"round":')
    reopen(path)[0].close()
    rounds = list(read_times(path))
    assert [one["round"] for one in rounds] == list(range(1, checkpoint.round + 1))
    (told,) = rounds[0]["jobs"]
    assert told == {"job": "a", "device": "pi", "down_bytes": 1, "up_bytes": 2} | took | {
        n: t for n, t in at.items() if t is not None
    }


def test_one_writer_at_a_time(path):
    run, _, _ = reopen(path)
    with pytest.raises(RecordError, match="in use by another run"):
        reopen(path)
    run.close()
    reopen(path)[0].close()


def test_a_failed_reopening_lets_go(path):
    for file in (path / "checkpoints").iterdir():
        file.unlink()
    for _ in range(2):
        with pytest.raises(RecordError, match="holds no checkpoint"):
            reopen(path)


def test_fewer_rounds_than_the_checkpoint_are_refused(path):
    (path / "metrics.jsonl").write_bytes(b'{"round":1}\n{"round":2}')
    with pytest.raises(RecordError, match="fewer rounds"):
        reopen(path)
    assert (path / "metrics.jsonl").read_bytes() == b'{"round":1}\n{"round":2}'


def test_what_exists_is_not_free(path, tmp_path):
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty")
    check_free(tmp_path / "new")
    for taken in (path, path / "run.toml"):
        with pytest.raises(RecordError, match="already exists"):
            check_free(taken)
        with pytest.raises(RecordError, match="already exists"):
            create(taken, ABOUT, {})


def test_a_place_that_cannot_be_made_is_named(path):
    with pytest.raises(RecordError, match=r"run.toml/run cannot be made"):
        create(path / "run.toml" / "run", ABOUT, {})


def test_settings_can_be_rewritten(path):
    run, about, _ = reopen(path)
    rewrite_about(run, {**about, "rounds": 9})
    run.close()
    assert tomllib.loads((path / "run.toml").read_text())["rounds"] == 9


def test_models_and_plan_are_exported(tmp_path):
    run = create(tmp_path / "run", ABOUT, {})
    run.models([("large", {"a": b"1", "b": b"2"}), ("small-net.py:mine/../x", {"a": b"3"})])
    run.plan({"clusters": [["a"]]}, 0.5)
    run.close()
    names = sorted(file.name for file in (tmp_path / "run" / "models").iterdir())
    assert names == ["large", "small-net.py-mine-..-x"]
    assert (tmp_path / "run" / "models" / "large" / "b").read_bytes() == b"2"
    assert json.loads((tmp_path / "run" / "plan.json").read_text()) == {"clusters": [["a"]]}


def test_a_last_line_that_is_cut_short_is_left_out(path):
    with (path / "metrics.jsonl").open("ab") as metrics:
        metrics.write(b'{"round":4,"lar')
    assert [line["round"] for line in read_rounds(path)] == [1, 2, 3]


def test_a_damaged_line_is_named(path):
    lines = (path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (path / "metrics.jsonl").write_bytes(lines[0] + b"\x00\xff\n" + lines[2])
    with pytest.raises(RecordError, match=r"metrics\.jsonl, line 2"):
        read_rounds(path)


def test_a_run_without_metrics_has_no_rounds(path):
    (path / "metrics.jsonl").unlink()
    assert read(path).rounds == []


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("run.toml", None, "no run.toml"),
        ("run.toml", b"= =", "damaged"),
        ("run.toml", b"\xff", "damaged"),
        ("run.toml", b"schema = 99", "schema 99"),
        ("run.toml", b"x = 1", "schema None"),
        ("fleet.json", None, "fleet.json cannot be read"),
        ("fleet.json", b"{", "fleet.json cannot be read"),
    ],
)
def test_damage_is_named(file, content, told, path):
    (path / file).unlink()
    if content is not None:
        (path / file).write_bytes(content)
    with pytest.raises(RecordError, match=told):
        read(path)


def test_round_0_is_the_start_and_no_finished_round(tmp_path):
    run = create(tmp_path / "run", ABOUT, {})
    run.append({"round": 0, "large_accuracy": 0.9})
    run.append({"round": 1, "large_accuracy": 0.8})
    run.checkpoint(kept(1))
    run.append({"round": 2})
    run.close()
    reopen(tmp_path / "run")[0].close()
    history = read(tmp_path / "run")
    assert history.start == {"round": 0, "large_accuracy": 0.9}
    assert [line["round"] for line in history.rounds] == [1]


def test_a_run_that_stopped_in_round_1_keeps_round_0(tmp_path):
    run = create(tmp_path / "run", ABOUT, {})
    run.checkpoint(kept(0))
    run.append({"round": 0, "large_accuracy": 0.9})
    run.close()
    reopen(tmp_path / "run")[0].close()
    assert read(tmp_path / "run").start == {"round": 0, "large_accuracy": 0.9}
