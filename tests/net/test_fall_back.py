"""Checkpoints that are damaged or lost: the same bits where the fleet can go back, a told branch
where it cannot."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from supervised import Fleet, flags, keep_running, running, weights

from cli_runs import table
from distilfleet.core.errors import RecordError
from distilfleet.net.device_side import Held
from distilfleet.net.job_runner import JobHistory
from distilfleet.net.journal import Outcome, SqliteJournal
from distilfleet.net.mark import Mark, go_back, is_behind, marked, read_mark
from distilfleet.net.protocol import branch_number, branch_of, key_of, trunk_of
from distilfleet.net.store import KEPT_RUNS, SqliteStore
from distilfleet.recipes.simulate import simulate
from distilfleet.record.history import read_about
from distilfleet.service.resume import take_up

ROUNDS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz")


def flip(file: Path) -> None:
    raw = file.read_bytes()
    file.write_bytes(raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:])


def after_a_death(folder: Path, data: Path, point: str, damage) -> tuple[Fleet, list[str]]:
    """A whole run whose server dies once, and whose newest checkpoint is then damaged; what its
    record notes."""
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
def test_a_committed_round_whose_checkpoint_is_lost_begins_a_branch_that_the_record_tells(
    data, tmp_path
):
    fleet, notes = after_a_death(tmp_path, data, "round.begun:5", Path.unlink)
    assert "A new branch from round 3: the checkpoint of round 4 is lost" in notes[-1]
    assert notes[-1] in (tmp_path / "serve.log").read_text()
    with closing(SqliteJournal(fleet.state / "journal.sqlite")) as journal:
        assert journal.branches(fleet.run) == (1, 3)
        assert journal.committed(fleet.run) == 4
        assert journal.committed(branch_of(fleet.run, 1)) == ROUNDS
        assert [outcome.reason for outcome in journal.outcomes(branch_of(fleet.run, 1), 4)] == [
            ""
        ] * 3


def test_committed_rounds_without_any_checkpoint_are_not_begun_anew(tmp_path):
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal:
        assert take_up(tmp_path / "run", "run", journal) is None
        journal.commit("run", 2)
        with pytest.raises(
            RecordError, match="lost every checkpoint of 2 committed rounds; restore a copy"
        ):
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
        assert store.history() == JobHistory()
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
        assert store.history() == JobHistory()


def test_names_of_branches():
    assert branch_of("koala-1", 0) == "koala-1"
    assert trunk_of(branch_of("koala-1", 12)) == "koala-1"
    assert [branch_number(branch_of("koala-1", number)) for number in (0, 12)] == [0, 12]
    assert trunk_of("my~recipe-20260101-0") == "my~recipe-20260101-0"


# --- a journal that has lost what it was given ----------------------------------------------------

SECTOR_BYTES = 512


def zero_an_old_sector(journal: Path) -> None:
    """Of the first transaction in the write-ahead log, behind which SQLite finds no other."""
    log = journal.with_name("journal.sqlite-wal")
    raw = log.read_bytes()
    at = next(
        at
        for at in range(8 * SECTOR_BYTES, len(raw), SECTOR_BYTES)
        if any(raw[at : at + SECTOR_BYTES])
    )
    log.write_bytes(raw[:at] + bytes(SECTOR_BYTES) + raw[at + SECTOR_BYTES :])


def lose_it(journal: Path) -> None:
    for file in journal.parent.glob("journal.sqlite*"):
        file.unlink()


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.parametrize("damage", [zero_an_old_sector, lose_it])
def test_a_journal_that_lost_rounds_is_told_and_the_weights_are_those_of_a_quiet_run(
    data, tmp_path, damage
):
    fleet, notes = after_a_death(
        tmp_path, data, "round.begun:5", lambda file: damage(file.parents[3] / "journal.sqlite")
    )
    assert "A new branch from round 4: the journal" in notes[-1]
    log = (tmp_path / "serve.log").read_text()
    assert notes[-1] in log
    assert "rounds and there is a checkpoint of round 4, so it has lost some" in log
    assert fleet.holding() == []
    with closing(SqliteJournal(fleet.state / "journal.sqlite")) as journal:
        assert journal.branches(fleet.run) == (1, 4)
    simulate("koala", flags(data, ROUNDS), tmp_path / "simulated")
    assert weights(fleet.path) == weights(tmp_path / "simulated")


def outcomes(run: str, number: int) -> list[Outcome]:
    jobs = {f"{number}/{device}": device for device in ("a", "b")}
    return [
        Outcome(key=key_of(run, job), run=run, round=number, job=job, device=d)
        for job, d in jobs.items()
    ]


def mark_of(run: str, number: int) -> Mark:
    arrays = marked(run, {one.key: one.device for one in outcomes(run, number)})
    return read_mark(arrays, "")


@pytest.fixture
def journal(tmp_path):
    """Of a run in whose fourth round the server died."""
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal:
        for number in range(1, 5):
            journal.commit("run", number - 1)
            journal.record(outcomes("run", number))
        yield journal


def test_a_journal_that_has_all_is_not_behind(journal):
    assert not is_behind(journal, mark_of("run", 4), 4)
    journal.commit("run", 4)
    assert not is_behind(journal, mark_of("run", 4), 4)
    assert not is_behind(journal, Mark(run="run", answers={}), 0)
    journal.branch_off("run", 4)
    assert not is_behind(journal, mark_of("run", 4), 4), "it goes on from there as a branch"


@pytest.mark.parametrize(
    ("mark", "number"),
    [
        (mark_of("run", 5), 5),  # its answers
        (Mark(run="run", answers={}), 6),  # a commit
        (mark_of("run~1", 4), 4),  # a branch
    ],
)
def test_what_a_journal_lacks_beside_a_checkpoint_was_lost(journal, mark, number):
    assert is_behind(journal, mark, number)


def test_going_back_keeps_what_counted_and_takes_no_branch_twice(tmp_path):
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as empty:
        go_back(empty, "run", mark_of("run~2", 4), 4)
        assert empty.branches("run") == (3, 4)
        keys = [one.key for one in outcomes("run~2", 4)]
        assert empty.verdicts([*keys, "run~2/3/a"]) == dict.fromkeys(keys, True)
        assert not is_behind(empty, mark_of("run~2", 4), 4)
        go_back(empty, "run", None, 4)
        assert empty.branches("run") == (4, 4)
