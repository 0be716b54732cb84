"""A run is a file; the folder that it is in is its state, whatever crashes in between."""

import os

import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.record.queue import Queue


def states(queue: Queue) -> dict[str, str]:
    return {entry.name: entry.state for entry in queue.entries()}


@pytest.fixture
def queue(tmp_path):
    queue = Queue(tmp_path)
    for age, name in enumerate(("late-1", "early-2", "early-1")):
        queue.ask(name, {"recipe": name})
        os.utime(tmp_path / "queue" / f"{name}.json", (100 - age, 100 - age))
    return queue


def begun(queue: Queue, name: str) -> None:
    queue.record(name).mkdir(parents=True)
    (queue.record(name) / "run.toml").touch()


def test_the_one_that_has_waited_longest_comes_first_whatever_its_name(queue):
    assert queue.waiting() == ["early-1", "early-2", "late-1"]
    begun(queue, "early-1")
    assert states(queue) == {"early-1": "under way", "early-2": "waiting", "late-1": "waiting"}
    assert queue.asked("early-2") == {"recipe": "early-2", "settings": {}, "started": ""}


def test_stopped_it_stays_aside_until_it_is_resumed_and_then_comes_last(queue):
    queue.stop("early-1")
    assert states(queue)["early-1"] == "stopping"
    queue.set_aside("early-1")
    assert states(queue)["early-1"] == "stopped"
    assert queue.waiting() == ["early-2", "late-1"]
    with pytest.raises(ConfigError, match="is stopped: there is nothing to stop"):
        queue.stop("early-1")
    queue.resume("early-1")
    assert queue.waiting() == ["early-2", "late-1", "early-1"]
    assert not queue.to_stop("early-1")


def test_a_wish_to_stop_can_be_taken_back(queue):
    queue.stop("early-1")
    queue.resume("early-1")
    assert not queue.to_stop("early-1")
    with pytest.raises(ConfigError, match="nothing to resume"):
        queue.resume("early-1")


def test_a_crash_between_two_steps_leaves_one_state(queue, tmp_path):
    queue.stop("early-1")
    # and the wish is left
    (tmp_path / "queue" / "early-1.json").replace(queue.folder("stopped") / "early-1.json")
    assert states(queue)["early-1"] == "stopped"
    queue.resume("early-1")
    assert states(queue)["early-1"] == "waiting"
    # and the request is left
    (queue.folder("done") / "early-1.json").write_text('{"error": "full disk"}')
    entry = queue.entry("early-1")
    assert (entry.state, entry.error) == ("failed", "full disk")
    assert queue.waiting()[-1] == "early-1", "the server closes it again"
    queue.close("early-1", "")
    assert states(queue)["early-1"] == "finished"
    assert "early-1" not in queue.waiting()


@pytest.mark.parametrize("name", ["../authority/identity", "", ".hidden", "koala-0"])
def test_no_name_leads_elsewhere(queue, name, tmp_path):
    (tmp_path / "authority").mkdir()
    for act in (queue.stop, queue.resume):
        with pytest.raises(ConfigError):
            act(name)
    assert [*(tmp_path / "authority").iterdir()] == []
