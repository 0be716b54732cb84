"""Checkpoints that are damaged or lost: the same bits where the fleet can go back, a told branch where it cannot."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from supervised import Fleet, flags, keep_running, running, weights

from cli_runs import table
from distilfleet.core.errors import RecordError
from distilfleet.net.bench import History
from distilfleet.net.device_side import Held
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.protocol import branch_of, trunk_of
from distilfleet.net.store import KEPT_RUNS, SqliteStore
from distilfleet.recipes.simulate import simulate
from distilfleet.recipes.take_up import take_up
from distilfleet.record.history import read_about

ROUNDS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz")


def flip(file: Path) -> None:
    raw = file.read_bytes()
    file.write_bytes(raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:])


def after_a_death(folder: Path, data: Path, point: str, damage) -> tuple[Fleet, list[str]]:
    """A whole run whose server dies once, and whose newest checkpoint is then damaged; what its record notes."""
    fleet = Fleet(folder, data, flags(data, ROUNDS))
    server = fleet.server([point])
    server.on_death = lambda: damage(max(fleet.path.glob("checkpoints/round-*.safetensors")))
    with running([server, *(fleet.agent(number) for number in range(3))]) as kept:
        keep_running(kept, fleet.finished)
    assert server.killed_at == [point]
    assert fleet.rounds() == list(range(1, ROUNDS + 1))
    return fleet, read_about(fleet.path)["notes"]


@pytest.mark.net
def test_damage_before_the_commit_changes_no_bit(data, tmp_path):
    """The fourth checkpoint, of round 3, is on disk; devices have not heard so."""
    fleet, notes = after_a_death(tmp_path, data, "checkpoint.kept:4", flip)
    assert "round-00000003.safetensors is damaged" in notes[-1]
    assert "round-00000003.safetensors is damaged" in (tmp_path / "serve.log").read_text()
    simulate("koala", flags(data, ROUNDS), tmp_path / "simulated")
    assert weights(fleet.path) == weights(tmp_path / "simulated")


@pytest.mark.net
def test_a_committed_round_whose_checkpoint_is_lost_begins_a_branch_that_the_record_tells(data, tmp_path):
    fleet, notes = after_a_death(tmp_path, data, "round.begun:5", Path.unlink)
    assert "A new branch from round 3: the checkpoint of round 4 is lost" in notes[-1]
    assert notes[-1] in (tmp_path / "serve.log").read_text()
    with closing(SqliteJournal(fleet.state / "journal.sqlite")) as journal:
        assert journal.branches(fleet.run) == (1, 3)
        assert journal.committed(fleet.run) == 4
        assert journal.committed(branch_of(fleet.run, 1)) == ROUNDS
        assert [outcome.reason for outcome in journal.outcomes(branch_of(fleet.run, 1), 4)] == [""] * 3


def test_committed_rounds_without_any_checkpoint_are_not_begun_anew(tmp_path):
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal:
        assert take_up(tmp_path / "run", "run", journal) is None
        journal.commit("run", 2)
        with pytest.raises(RecordError, match="lost every checkpoint of 2 committed rounds; restore a copy"):
            take_up(tmp_path / "run", "run", journal)


def test_a_branch_finds_the_worker_and_another_run_leaves_it_alone(tmp_path):
    held = Held(job_digest=b"j", data=b"d")
    with closing(SqliteStore(tmp_path / "answers.sqlite")) as store:
        store.open_run("run")
        store.finish("run/1", held, b"job 1", {"w": np.arange(2)})
        store.finish("run/2", held, b"job 2", {"w": np.arange(3)})
        assert store.open_run("run~1")
        assert store.open_run("run~1")
        assert list(store.held()) == ["run/1", "run/2"]
        assert store.history().state["w"].tolist() == [0, 1, 2]
        assert not store.open_run("other")
        assert store.history() == History()
        store.finish("other/1", held, b"job", {"w": np.arange(6)})
        store.take_back("run/2")  # set aside, and it did not count
        assert list(store.held()) == store.keys() == ["run/1", "other/1"]
        assert store.history().state["w"].tolist() == [0, 1, 2, 3, 4, 5]
        assert store.open_run("run~1")
        assert store.history().state["w"].tolist() == [0, 1]


def test_a_device_forgets_the_runs_that_it_has_not_met_for_longest(tmp_path):
    with closing(SqliteStore(tmp_path / "answers.sqlite")) as store:
        for name in ("a", "b", "c", "d"):
            store.open_run(name)
            store.finish(f"{name}/1", Held(job_digest=b"j", data=b"d"), b"job", {"w": np.arange(3)})
        assert KEPT_RUNS == 4
        assert store.open_run("a")
        assert not store.open_run("e")
        assert store.keys() == ["a/1", "c/1", "d/1"]
        assert store.open_run("a")
        assert not store.open_run("b")
        assert store.history() == History()


def test_names_of_branches():
    assert branch_of("koala-1", 0) == "koala-1"
    assert trunk_of(branch_of("koala-1", 12)) == "koala-1"
    assert trunk_of("my~recipe-20260101-0") == "my~recipe-20260101-0"
