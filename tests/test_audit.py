"""`distilfleet audit` from the command line: what it recovers, what it says, and what it
refuses."""

import json

import pytest

from cli_runs import FEW, mistaken, table, told
from distilfleet.record.captured import read_wire
from distilfleet.record.history import read

SMALL = [
    *(
        "--rounds",
        1,
        "--pretrain-steps",
        5,
        "--steps",
        2,
        "--devices",
        2,
        "--vocabulary",
        300,
        "--context",
        16,
    ),
    *("--teacher", "llama:64x2", "--student", "llama:32x2", "--keep-wire", 4),
]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A few pages of words in no order that a model could learn in two steps."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    words = [
        f"{a}{b}{c}"
        for a in ("no", "ri", "ta", "me")
        for b in ("lo", "su", "ka")
        for c in ("n", "r", "", "st")
    ]
    file.write_text(" ".join(words[(i * i + 7 * i) % len(words)] for i in range(6000)))
    return file


def split(capfd, out, text, *flags):
    said = told(capfd, "run", "splitkd", "--data", text, "--out", out, *SMALL, *flags)
    assert said.code == 0, said
    return out


def audit(capfd, path):
    said = told(capfd, "audit", path, "--json")
    assert said.code == 0, said
    return json.loads(said.out)


def shares(found):
    return {(row["source"], row["cut"], row["attack"]): row["share"] for row in found["attacks"]}


def test_embeddings_are_the_tokens_and_the_page_says_so(tmp_path, text, capfd):
    path = split(capfd, tmp_path / "run", text, "--cut", 0)
    assert "against outsiders" in (path / "report.html").read_text()
    assert "was not measured" in (path / "report.html").read_text()
    found = audit(capfd, path)
    assert found["schema"] == 1 and found["exchanges"] == 4 == len(read_wire(path))
    assert found["recovered_share"] == 1.0
    assert set(shares(found)) == {
        ("labels", 0, "as they are sent"),
        ("student", 0, "nearest row"),
        ("teacher", 0, "nearest row"),
    }
    assert (
        found["run"]["small_loss"] > 0
        and found["run"]["up_bytes"] > 0
        and found["run"]["device_energy_j"] > 0
    )
    plain = told(capfd, "audit", path).out
    assert plain.startswith("A curious server recovers 100.0 % of tokens")
    assert "recoverable: smashed data" in plain and "small loss" in plain
    assert "A curious server recovers 100.0 %" in (path / "report.html").read_text()
    compared = json.loads(told(capfd, "compare", path, "--json").out)
    assert compared["runs"][0]["recovered_share"] == 1


def test_deeper_cuts_and_kept_labels_hide_nothing(tmp_path, text, capfd):
    found = audit(
        capfd,
        split(capfd, tmp_path / "run", text, "--cut", 1, "--labels", "kept", "--smashed", "int4"),
    )
    assert shares(found)["student", 1, "left to right"] > 0.9
    assert shares(found)["teacher", 0, "nearest row"] == 1.0
    assert shares(found)["labels", 0, "returned gradient"] > 0.9


def test_much_noise_hides_rows_and_not_labels(tmp_path, text, capfd):
    path = split(capfd, tmp_path / "run", text, "--cut", 0, "--labels", "kept", "--noise", 50)
    found = audit(capfd, path)
    assert shares(found)["teacher", 0, "nearest row"] < 0.5
    assert shares(found)["labels", 0, "returned gradient"] > 0.9
    assert found["disclosure"].startswith("noisy")
    assert read(path).rounds[-1]["noise_nats"] >= (64 + 32) / 50


def test_noise_beside_labels_that_travel_is_refused(tmp_path, text, capfd):
    words = ["run", "splitkd", "--data", text, "--out", tmp_path / "run", *SMALL, "--noise", 1]
    assert "--labels kept" in mistaken(capfd, *words)


def test_a_run_that_kept_nothing_cannot_be_attacked(tmp_path, text, capfd):
    path = split(capfd, tmp_path / "run", text, "--cut", 0, "--keep-wire", 0)
    assert "--keep-wire 8" in mistaken(capfd, "audit", path)


def test_changed_data_are_noticed(tmp_path, text, capfd):
    copy = tmp_path / "text.txt"
    copy.write_text(text.read_text())
    path = split(capfd, tmp_path / "run", copy, "--cut", 0)
    copy.write_text(text.read_text().replace("no", "xy").replace("ri", "no"))
    assert "has changed since" in mistaken(capfd, "audit", path)


def test_other_methods_are_told_what_travelled(tmp_path, capfd):
    table(tmp_path / "table.npz")
    words = [
        "--data",
        tmp_path / "table.npz",
        "--rounds",
        1,
        "--out",
        tmp_path / "run",
        "--keep-wire",
        2,
        *FEW,
    ]
    assert told(capfd, "run", "koala", *words).code == 0
    said = told(capfd, "audit", tmp_path / "run")
    assert said.code == 0
    assert said.out.startswith("No smashed data travelled")
    assert "weights and sample counts" in said.out and "float32" in said.out
    assert audit(capfd, tmp_path / "run")["applies"] is False


def test_no_run_no_audit(tmp_path, capfd):
    assert "not a run directory" in mistaken(capfd, "audit", tmp_path)
    assert "--json" in told(capfd, "audit", "--help").out
