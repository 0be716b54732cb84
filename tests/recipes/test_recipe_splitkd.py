"""Split KD from the command line: train, plan, be killed and go on, and be told what cannot be."""

import json
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

from cli_runs import Forked, mistaken, told
from distilfleet.data.tokenizer import restore
from distilfleet.nn.language import LanguageModel
from test_resume import interrupted, same

SMALL = [
    "--context",
    16,
    "--vocabulary",
    300,
    "--devices",
    3,
    "--pretrain-steps",
    4,
    "--steps",
    3,
    "--batch",
    2,
]
MODELS = ["--teacher", "llama:64x2", "--student", "llama:32x2"]
KINDS = ["--device-kinds", "rpi-4b", "rpi-5"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "counting.txt"
    lines = (
        f"{n} and {n + 1} make {2 * n + 1}, said number {n % 7} to number {n % 5}.\n"
        for n in range(900)
    )
    path.write_text("".join(lines))
    return path


def words(verb, text, *more):
    return [str(word) for word in (verb, "splitkd", "--data", text, *SMALL, *MODELS, *KINDS, *more)]


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_run_records_losses_tokens_and_bytes(text, tmp_path, capfd):
    path = tmp_path / "run"
    assert told(capfd, *words("run", text, "--rounds", 3, "--out", path)).code == 0
    rounds = lines(path)
    assert len(rounds) == 3
    assert all(np.isfinite(one["small_loss"]) and np.isfinite(one["large_loss"]) for one in rounds)
    assert rounds[-1]["small_loss"] < rounds[0]["small_loss"]
    assert "small_accuracy" not in rounds[0]
    assert rounds[0]["tokens"] == 3 * 3 * 2 * 15
    assert rounds[0]["down_bytes"] > rounds[1]["down_bytes"], "teacher rows are sent once"
    student = load_file(path / "models" / "student" / "model.safetensors")
    assert student["lm_head.weight"].shape == (300, 32)
    assert (path / "report.html").stat().st_size > 0
    assert restore((path / "models" / "student" / "tokenizer.json").read_bytes()).vocabulary == 300


def test_adapters_are_merged_into_the_exported_student(text, tmp_path, capfd):
    path = tmp_path / "run"
    assert (
        told(capfd, *words("run", text, "--rounds", 1, "--lora", 2, "--cut", 0, "--out", path)).code
        == 0
    )
    student = load_file(path / "models" / "student" / "model.safetensors")
    plain = LanguageModel(name="llama:32x2", vocabulary=300, context=16).build(0).state_dict()
    assert student.keys() == plain.keys()
    moved = [name for name in student if not np.array_equal(student[name], plain[name].numpy())]
    assert moved
    assert all("proj" in name for name in moved), "only what has adapters changes"


def test_a_killed_run_ends_as_one_that_was_not(text, tmp_path, capfd):
    whole, path = tmp_path / "whole", tmp_path / "run"
    asked = ["--rounds", 6, "--cut", 1, "--checkpoint-every-s", 0]
    assert told(capfd, *words("run", text, *asked, "--out", whole)).code == 0
    killed = Forked(*words("run", text, *asked, "--out", path))
    assert interrupted(killed, signal.SIGKILL, 2) == -signal.SIGKILL
    assert told(capfd, "run", "--resume", path).code == 0
    same(path, whole)


def test_a_plan_says_who_cuts_where_and_proves_it(text, capfd):
    plan = json.loads(told(capfd, *words("plan", text, "--json")).out)
    assert plan["schema"] == 1
    assert 0 <= plan["gap"] < 1e-3
    assert plan["lower_bound"] <= plan["cost"]
    assert len(plan["devices"]) == 3
    assert {
        "id",
        "kind",
        "cut",
        "bits",
        "uplink_share",
        "server_share",
        "delay_s",
        "energy_j",
    } <= plan["devices"][0].keys()
    assert "end point" in told(capfd, *words("plan", text)).out


def test_a_fixed_cut_is_planned_too(text, capfd):
    plan = json.loads(told(capfd, *words("plan", text, "--cut", 2, "--json")).out)
    assert {device["cut"] for device in plan["devices"]} == {2}


@pytest.mark.parametrize(
    ("more", "told_of"),
    [
        (["--cut", 9], ["cut of 9", "llama:32x2", "2 layers"]),
        (["--privacy-floor", 3], ["privacy floor of 3", "llama:32x2"]),
        (["--memory-quota-bytes", 1000], ["device-0", "1 kB", "cut 0"]),
        (["--teacher", "./missing-model"], ["missing-model"]),
        (["--alpha", 0.5], ["--alpha", "--group"]),
        (["--context", 10**6], ["one window", "--context"]),
        (["--objective", "deadline"], ["deadline", "delay"]),
        (["--objective", "deadline", "--delay-budget-s", 1e-6], ["1e-06 s", "quickest"]),
        (["--channels", "poor", "--bandwidth-hz", 1e-30], ["reached", "--channels"]),
        (["--divergence", "jsd"], ["--divergence jsd", "--teacher-cache hidden"]),
        (["--kd-weight", 2], ["--kd-weight", "between 0 and 1"]),
        (["--lr", 0], ["--lr", "above 0"]),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(more, told_of, text, tmp_path, capfd):
    out = tmp_path / "run"
    message = mistaken(capfd, *words("run", text, "--rounds", 1, *more, "--out", out))
    assert all(part in message for part in told_of), message
    assert not out.exists()


def test_a_tokenizer_that_is_not_there_is_named(text, tmp_path, capfd):
    words = [
        "run",
        "splitkd",
        "--data",
        text,
        *MODELS,
        "--tokenizer",
        "missing.json",
        "--out",
        tmp_path / "run",
    ]
    message = mistaken(capfd, *map(str, words))
    assert "missing.json" in message and "no such file" in message


def test_only_recipes_with_a_cut_are_planned(capfd):
    assert "no cut to choose" in mistaken(capfd, "plan", "koala")


def test_a_checkpoint_of_another_model_is_refused(text, tmp_path, capfd):
    path = tmp_path / "run"
    assert told(capfd, *words("run", text, "--rounds", 1, "--out", path)).code == 0
    settings = (path / "run.toml").read_text()
    (path / "run.toml").write_text(settings.replace("llama:32x2", "llama:64x2"))
    said = told(capfd, "run", "--resume", path, "--rounds", 2)
    assert said.code == 2
    assert "checkpoint is of another model" in said.err
