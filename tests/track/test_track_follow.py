"""Rounds in a tracker: each once, whatever is resumed, lost or away."""

import json
import logging
import math

import pytest

from cli_runs import mistaken, table, told
from distilfleet.core.errors import ConfigError, RecordError
from distilfleet.record.history import read
from distilfleet.track.follow import TRACKED, Followed, Told, followed, following
from distilfleet.track.follow import told as known_of
from distilfleet.track.tracker import figures_of, opened

SMALL = ["--devices", "2", "--small", "mlp-xs", "--local-passes", "1"]


@pytest.fixture
def run(tmp_path, capfd):
    out = tmp_path / "run"
    data = table(tmp_path / "data.npz")
    words = ["run", "local", "--data", data, *SMALL, "--rounds", "2", "--out", out]
    assert told(capfd, *words, "--track", "tensorboard").code == 0
    return out


def points(run, name="small_accuracy"):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert events.Tags()["tensors"] == ["settings"]
    return [(event.step, event.value) for event in events.Scalars(name)]


def recorded(run, name="small_accuracy"):
    return [(row["round"], pytest.approx(row[name])) for row in read(run).rounds]


def test_a_tracker_has_what_the_record_has(run):
    assert points(run) == recorded(run)
    assert points(run, "missed_jobs_count") == [(1, 0.0), (2, 0.0)]


def test_a_resumed_run_goes_on_in_the_same_tracker_and_doubles_nothing(run, capfd):
    assert told(capfd, "run", "--resume", run, "--rounds", "3").code == 0
    assert told(capfd, "track", run).code == 0
    assert points(run) == recorded(run)
    assert len(points(run)) == 3


class Away:
    """A tracker whose service is away for a while, as a network is."""

    id = "x"

    def __init__(self):
        self.away = False
        self.taken = []

    def send(self, number, figures):
        if self.away:
            raise ConnectionError("nobody there")
        self.taken.append(number)

    def close(self):
        raise ConnectionError("nobody there")


def test_what_a_tracker_did_not_take_is_sent_with_the_next_round(run, caplog):
    tracker = Away()
    one = Followed(history=read(run), name="mlflow", tracker=tracker, known=Told())
    one.send({"round": 1})
    tracker.away = True
    with caplog.at_level(logging.WARNING):
        assert list(following(iter([{"round": 2}, {"round": 3}]), [one])) == [
            {"round": 2},
            {"round": 3},
        ]
    assert "mlflow does not take round 2: nobody there" in caplog.text
    assert known_of(run)["mlflow"] == Told(round=1, id="x")
    tracker.away = False
    one.send({"round": 4})
    one.close()
    assert tracker.taken == [1, 2, 3, 4]
    assert known_of(run)["mlflow"] == Told(round=4, id="x")


def test_only_finite_figures_are_sent():
    metrics = {"round": 3, "a": 1, "b": math.inf, "c": math.nan, "d": [1, 2], "e": "x", "f": True}
    assert figures_of(metrics) == {"a": 1.0, "d_count": 2.0}


def test_trackers_that_are_not_there_are_named(run, capfd):
    with pytest.raises(ConfigError, match=r"no tracker 'mlflo' .did you mean mlflow"):
        opened("mlflo", read(run), "")
    said = mistaken(capfd, "run", "koala", "--fleet", "fleet.toml", "--track", "mlflow")
    assert "distilfleet track" in said


def test_a_tracker_that_followed_before_and_is_gone_does_not_end_the_run(run, caplog):
    (run / TRACKED).write_text(json.dumps({"nobody": {"round": 1, "id": "x"}}))
    with caplog.at_level(logging.WARNING):
        assert followed(run, [], ["nobody"]) == []
    assert "no tracker 'nobody'" in caplog.text


def test_a_damaged_memory_is_named(run):
    (run / TRACKED).write_text(json.dumps({"mlflow": {"round": "soon"}}))
    with pytest.raises(RecordError, match=r"tracked.json is damaged"):
        followed(run, ["tensorboard"])
