"""The scripts that measure the loss and the server's step run, at sizes that take no time."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def gpu_split(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["gpu_split.py", *flags])
    runpy.run_path(str(BENCHMARKS / "gpu_split.py"), run_name="__main__")


@pytest.mark.slow
def test_the_loss_is_measured_beside_the_plain_way(tmp_path):
    rows = tmp_path / "rows.json"
    command = [
        sys.executable,
        str(BENCHMARKS / "loss.py"),
        "--tiny",
        "--frozen",
        "--json",
        str(rows),
    ]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert ran.returncode == 0, ran.stderr
    plain, fused, *_ = json.loads(rows.read_text())["rows"]
    assert (plain["way"], fused["way"]) == ("plain", "fused")
    assert fused["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert fused["gradient_norm"] == pytest.approx(plain["gradient_norm"], rel=1e-4)


@pytest.mark.slow
def test_a_step_of_the_server_is_measured_by_part(tmp_path, monkeypatch):
    out = tmp_path / "parts.json"
    gpu_split(monkeypatch, "--small", "--repeats", "1", "--json", str(out))
    found = json.loads(out.read_text())
    assert set(found["teacher runs"]["parts_s"]) == {
        "transfer",
        "teacher",
        "student",
        "loss",
        "update",
    }
    assert set(found["teacher cached"]["parts_s"]) == {"transfer", "student", "loss", "update"}
    assert found["teacher cached"]["model_flops"] < found["teacher runs"]["model_flops"]


def test_without_a_gpu_the_script_says_what_to_do(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit, match=r"^no GPU here: this measures an 8B and a 1B model"):
        gpu_split(monkeypatch)
