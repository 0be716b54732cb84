"""A run goes on with the data that it began with, or says which file is another now."""

import json
from pathlib import Path

import numpy as np
import pytest

from cli_runs import told
from distilfleet.core.errors import RecordError
from distilfleet.data import digest, sources
from distilfleet.recipes.resume import again, check_data
from distilfleet.record.history import read_about

FEW = ["--devices", "3", "--rounds", "2", "--local-passes", "1"]


def table(file: Path, seed=0, count=90) -> Path:
    rng = np.random.default_rng(seed)
    lines = [
        f"{x:.4f},{y:.4f},{'abc'[i % 3]}" for i, (x, y) in enumerate(rng.normal(size=(count, 2)))
    ]
    file.write_text("\n".join(["x,y,label", *lines, ""]))
    return file


def changed_label(file: Path) -> None:
    lines = file.read_text().splitlines()
    lines[5] = lines[5].replace(lines[5][-1], "abc"["bca".index(lines[5][-1])])
    file.write_text("\n".join([*lines, ""]))


def changed_number(file: Path) -> None:
    file.write_text(
        file.read_text().replace(file.read_text().splitlines()[7].split(",")[0], "0.1234", 1)
    )


def grown(file: Path) -> None:
    file.write_text(file.read_text() + "1.0,2.0,a\n")


def swapped(file: Path) -> None:
    """Two rows change places: other devices get them."""
    header, one, other, *rest = file.read_text().splitlines()
    file.write_text("\n".join([header, other, one, *rest, ""]))


def renamed(file: Path) -> None:
    file.write_text(file.read_text().replace("x,y,", "x,z,", 1))


CHANGES = (changed_label, changed_number, grown, swapped, renamed)


@pytest.fixture
def begun(tmp_path, capfd):
    """A finished run, its table, and its proxy file."""
    table(tmp_path / "data.csv")
    table(tmp_path / "proxy.csv", seed=3, count=30)
    words = ["--data", tmp_path / "data.csv", "--proxy", tmp_path / "proxy.csv", "--mixtures", "8"]
    assert told(capfd, "run", "koala", *words, *FEW, "--out", tmp_path / "run").code == 0
    return tmp_path


def test_a_run_on_the_same_data_goes_on(begun, capfd):
    # the same numbers
    (begun / "data.csv").write_text((begun / "data.csv").read_text().replace("\n", "\r\n"))
    said = told(capfd, "run", "--resume", begun / "run", "--rounds", "3")
    assert said.code == 0, said.err
    assert len((begun / "run" / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("file", ["data.csv", "proxy.csv"])
def test_a_run_on_changed_data_is_refused_and_names_the_file(file, begun, capfd):
    grown(begun / file)
    said = told(capfd, "run", "--resume", begun / "run", "--rounds", "3")
    assert said.code == 2
    assert f"trained on {begun / file} as it was when the run began" in " ".join(said.err.split())
    assert "put the old one back, or start a new run" in " ".join(said.err.split())
    assert len((begun / "run" / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_of_a_table_is_another_digest(change, tmp_path):
    before = sources.load(str(table(tmp_path / "data.csv"))).digest
    assert sources.load(str(tmp_path / "data.csv"), seed=4).digest == before
    change(tmp_path / "data.csv")
    assert sources.load(str(tmp_path / "data.csv")).digest != before


def test_arrays_of_another_type_or_shape_are_other_data():
    x = np.arange(12.0)
    every = [
        [x],
        [x.astype(np.float32)],
        [x.reshape(3, 4)],
        [x, None],
        [None, x],
        [x, x],
        [x.astype(str)],
        [x[:0]],
        [],
    ]
    assert len({digest.of_arrays(arrays) for arrays in every}) == len(every)
    assert digest.of_arrays([x.reshape(3, 4).T]) == digest.of_arrays(
        [np.ascontiguousarray(x.reshape(3, 4).T)]
    )


def test_a_folder_is_another_when_a_file_changes_moves_or_comes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"12")
    seen = [digest.of_files(tmp_path)]
    for name, content in (("a/one", b"13"), ("a/two", b""), ("b", b"12")):
        (tmp_path / name).write_bytes(content)
        seen.append(digest.of_files(tmp_path))
    (tmp_path / "a" / "two").rename(tmp_path / "a" / "three")
    seen.append(digest.of_files(tmp_path))
    assert len(set(seen)) == len(seen)


def test_a_run_of_text_knows_its_text_too(tmp_path, capfd):
    text = tmp_path / "notes.txt"
    text.write_text("The lamp is on. The door is shut. " * 300)
    few = [
        "--devices",
        "2",
        "--rounds",
        "1",
        "--steps",
        "1",
        "--pretrain-steps",
        "1",
        "--context",
        "16",
    ]
    models = ["--teacher", "llama:32x1", "--student", "llama:32x1", "--vocabulary", "300"]
    assert (
        told(capfd, "run", "splitkd", "--data", text, *few, *models, "--out", tmp_path / "run").code
        == 0
    )
    text.write_text(text.read_text().replace("shut", "open"))
    with pytest.raises(RecordError, match=r"trained on .*notes\.txt as it was"):
        again(tmp_path / "run", 2)


def test_a_record_from_before_digests_goes_on(begun):
    about = read_about(begun / "run")
    old = {
        **about,
        "data": {name: value for name, value in about["data"].items() if "digest" not in name},
    }
    check_data(begun / "run", old, about)
    with pytest.raises(RecordError, match="now none"):
        check_data(begun / "run", about, old)


def test_the_record_has_the_digest(begun):
    about = read_about(begun / "run")
    assert about["data"]["digest"] == sources.load(str(begun / "data.csv")).digest
    assert json.dumps(about["data"])
