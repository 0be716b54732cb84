"""`distilfleet export`, as a user types it."""

import json
import shutil
from importlib.util import find_spec

import pytest

from cli_runs import FEW, mistaken, table, told
from distilfleet.export import files

RUN = ("--rounds", 1, "--large", "mlp-xs")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz")


@pytest.fixture
def folder(run, tmp_path):
    """The small model of a run that may be written to."""
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    return copied / "models" / "small-mlp-xs"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("done") / "run"
    from distilfleet.cli.main import main

    words = ("run", "koala", "--data", data, *FEW, *RUN, "--out", path)
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    assert not done.value.code
    return path


def test_a_model_is_judged_on_the_test_part_of_its_run(folder, capfd):
    said = told(capfd, "export", folder)
    assert (said.code, said.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in said.out.splitlines())
    assert lines["file"] == str(folder / "model.onnx")
    assert lines["runtime"].startswith("onnxruntime ")
    assert "of 18 samples of the test part of" in said.out
    assert [verdict.file for verdict in files.read(folder).exports] == ["model.onnx"]


def test_a_model_is_judged_on_data_that_are_named_in_any_folder(folder, data, tmp_path, capfd):
    moved = tmp_path / "alone"
    shutil.copytree(folder, moved)
    said = told(capfd, "export", moved, "--check", data, "--json")
    verdict = json.loads(said.out)
    assert (verdict["schema"], verdict["data"], verdict["samples"]) == (1, str(data), 90)
    assert verdict["same_class_share"] == 1
    assert 0 < verdict["sample_s"] < 1


def test_eight_bits_are_judged_on_samples_that_set_no_range(folder, capfd):
    said = told(capfd, "export", folder, "--int8", "--most-loss", "100", "--json")
    verdict = json.loads(said.out)
    assert (verdict["file"], verdict["samples"]) == ("model.int8.onnx", 9)
    assert "int8 does not help here: the file is larger than the weights" in verdict["notes"]


def test_a_model_in_no_run_needs_data(folder, tmp_path, capfd):
    moved = tmp_path / "alone"
    shutil.copytree(folder, moved)
    assert "lies in no run" in mistaken(capfd, "export", moved)
    assert "name data with --check" in mistaken(capfd, "export", moved)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--int8", "--fp16"), "two precisions: give one of them"),
        (("--most-loss", "nan"), "expected percentage points"),
        (("--to", "gguf"), "gguf is not for classifiers; export to onnx instead"),
        (("--check", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(folder, capfd, words, message):
    assert message in mistaken(capfd, "export", folder, *words)
    assert not (folder / files.EXPORTS).exists()


@pytest.mark.skipif(find_spec("ncnn") is not None, reason="ncnn is here")
def test_a_package_that_is_missing_is_named_with_what_to_type(folder, capfd):
    message = mistaken(capfd, "export", folder, "--to", "ncnn")
    assert "not installed: pip install 'distilfleet[ncnn]'" in message
    assert [path.name for path in folder.iterdir() if path.name.startswith(".export")] == []
