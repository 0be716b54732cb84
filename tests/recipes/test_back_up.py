"""A copy of a server's folder, and what a server makes of it."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from distilfleet.cli.main import main
from distilfleet.core.errors import RecordError, StorageError
from distilfleet.net.identity import Authority
from distilfleet.net.journal import Outcome, SqliteJournal
from distilfleet.record.checkpoint import Checkpoint
from distilfleet.record.history import SCHEMA, read_about
from distilfleet.record.run import create
from distilfleet.service.backup import NOTE, back_up
from distilfleet.service.fleet_file import fleet_folder
from distilfleet.service.resume import take_up

ABOUT = {
    "schema": SCHEMA,
    "recipe": "koala",
    "rounds": 9,
    "seed": 0,
    "settings": {},
    "versions": {},
}
FLEET = 'address = "localhost:1"\nenrol_address = "localhost:2"\n[devices]\npi = "rpi-5"\n'


@pytest.fixture
def server(tmp_path):
    """A fleet file, and a folder as a server has it in the middle of round 3, all files open."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    state = tmp_path / "fleet-state"
    (state / "queue").mkdir(parents=True)
    (state / "queue" / "run.json").write_text("{}")
    (state / "runs").mkdir()
    record = create(state / "runs" / "run", ABOUT, {})
    journal, authority = SqliteJournal(state / "journal.sqlite"), Authority(state / "authority")
    with closing(journal), closing(authority), closing(record):
        for number in range(3):
            if number:
                record.append({"round": number})
            record.checkpoint(
                Checkpoint(round=number, arrays={"w": np.arange(3.0)}, plain={"wall_s": 0.5})
            )
            journal.commit("run", number)
        record.append({"round": 3})
        journal.record([Outcome(key="run/3", run="run", round=3, job="3", device="pi")])
        yield tmp_path / "fleet.toml", journal


def test_a_copy_goes_on_as_a_branch_that_its_record_tells(server, tmp_path, capsys):
    file, journal = server
    copy = tmp_path / "copy"
    with pytest.raises(SystemExit) as done:
        main(["backup", str(copy), "--fleet", str(file)])
    assert done.value.code == 0
    assert "1 runs, 1 of them unfinished" in capsys.readouterr().out
    assert journal.branches("run") == (0, 0)
    with closing(SqliteJournal(copy / "journal.sqlite")) as copied:
        record, start, branch = take_up(copy / "runs" / "run", "run", copied)
        record.close()
        assert (start.round, branch) == (2, "run~1")
        assert copied.verdicts(["run/3"]) == {}
    assert read_about(copy / "runs" / "run")["notes"] == [NOTE]
    here, there = (
        folder / "authority" / "authority.key" for folder in (tmp_path / "fleet-state", copy)
    )
    assert here.read_bytes() == there.read_bytes()
    with closing(sqlite3.connect(copy / "authority" / "identity.sqlite")) as base:
        assert base.execute("select count(*) from tokens").fetchone() == (0,)


def test_a_folder_that_is_taken_or_no_server_s_is_refused(server, tmp_path):
    file, _ = server
    with pytest.raises(RecordError, match="there already"):
        back_up(fleet_folder(file), tmp_path)
    (tmp_path / "broken" / "authority").mkdir(parents=True)
    (tmp_path / "broken" / "journal.sqlite").write_text("no database")
    (tmp_path / "broken.toml").write_text('state = "broken"\n' + FLEET)
    with pytest.raises(StorageError, match="cannot be copied"):
        back_up(fleet_folder(tmp_path / "broken.toml"), tmp_path / "copy-of-broken")
    (tmp_path / "other.toml").write_text('state = "nothing"\n' + FLEET)
    with pytest.raises(RecordError, match="no server has run here"):
        back_up(fleet_folder(tmp_path / "other.toml"), tmp_path / "copy")
