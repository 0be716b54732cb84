"""A run under several seeds, and a run that is repeated from its record or its page."""

import shlex
import signal

import pytest

from cli_runs import child, mistaken, table, told
from distilfleet.record.history import read
from distilfleet.report.details import command

SMALL = ["--devices", "3", "--small", "mlp-xs", "--local-passes", "1", "--rounds", "2"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    data = table(folder / "data.npz")
    out = folder / "out"
    words = ["run", "local", "--data", data, *SMALL, "--seeds", "1", "2", "--out", out]
    with child(*words) as process:
        said = process.stdout.read()
    return folder, out, process.returncode, said


def test_seeds_are_runs_of_their_own_that_are_compared(sweep):
    _, out, code, said = sweep
    assert code == 0, said
    runs = [read(out / f"seed-{seed}") for seed in (1, 2)]
    assert [run.about["seed"] for run in runs] == [1, 2]
    assert runs[0].rounds != runs[1].rounds
    assert "repeat one another under seeds 1, 2" in said
    assert (out / "compare.html").is_file()
    assert all(line.startswith(("seed 1: ", "seed 2: ")) for line in said.splitlines()[:8])


def test_a_sweep_goes_on(sweep, capfd):
    _, out, code, _ = sweep
    assert code == 0
    assert told(capfd, "run", "--resume", out, "--rounds", "3").code == 0
    assert [len(read(out / f"seed-{seed}").rounds) for seed in (1, 2)] == [3, 3]


def test_seeds_that_cannot_be_are_refused(capfd, tmp_path):
    data = table(tmp_path / "data.npz")
    asked = ["run", "local", "--data", data]
    assert "different" in mistaken(capfd, *asked, "--seeds", "1", "1")
    assert "whole numbers" in mistaken(capfd, *asked, "--seeds", "1", "two")
    assert "leave out --seed" in mistaken(capfd, *asked, "--seeds", "1", "2", "--seed", "3")
    assert "--alpha is -1" in mistaken(capfd, *asked, "--seeds", "1", "2", "--alpha", "-1.0")


def test_a_sweep_that_is_stopped_lets_its_runs_finish_their_rounds(tmp_path):
    data = table(tmp_path / "data.npz")
    out = tmp_path / "out"
    words = [
        "run",
        "local",
        "--data",
        data,
        *SMALL[:-1],
        "100000",
        "--seeds",
        "1",
        "2",
        "--out",
        out,
    ]
    with child(*words) as process:
        next(line for line in process.stdout if "round 1/" in line)
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
    assert process.returncode == 143, said
    assert "Go on with: distilfleet run --resume" in said


def test_a_record_is_repeated_save_for_the_flags_behind(sweep, capfd, tmp_path):
    _, out, _, _ = sweep
    again = tmp_path / "again"
    said = told(
        capfd, "run", "--config", out / "seed-1" / "run.toml", "--rounds", "1", "--out", again
    )
    assert said.code == 0, said
    first = (out / "seed-1" / "metrics.jsonl").read_text().splitlines()[0]
    assert (again / "metrics.jsonl").read_text().splitlines() == [first]
    assert read(again).about["settings"]["small"] == ["mlp-xs"]
    assert "takes one run.toml" in mistaken(capfd, "run", "--config", "a", "b")


def test_a_page_prints_what_differs_from_the_recipe_s_own(sweep):
    folder, out, _, _ = sweep
    words = shlex.split(command(read(out / "seed-1")).replace("\\\n", " "))
    assert words[:5] == ["distilfleet", "run", "local", "--data", str(folder / "data.npz")]
    given = {"--devices", "--small", "--local-passes", "--rounds", "--seed"}
    assert set(words[5::2]) == given
