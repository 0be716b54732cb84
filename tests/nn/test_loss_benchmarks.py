"""The scripts that measure the loss and the server's step run, at sizes that take no time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script, *flags):
    command = [sys.executable, str(BENCHMARKS / script), *flags]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)


@pytest.mark.slow
def test_the_loss_is_measured_beside_the_plain_way(tmp_path):
    ran = run("loss.py", "--tiny", "--frozen", "--json", str(tmp_path / "rows.json"))
    assert ran.returncode == 0, ran.stderr
    plain, fused, *_ = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert (plain["way"], fused["way"]) == ("plain", "fused")
    assert fused["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert fused["gradient_norm"] == pytest.approx(plain["gradient_norm"], rel=1e-4)


@pytest.mark.slow
def test_a_step_of_the_server_is_measured_by_part(tmp_path):
    ran = run("gpu_split.py", "--small", "--repeats", "1", "--json", str(tmp_path / "parts.json"))
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "parts.json").read_text())
    assert set(found["teacher runs"]["parts_s"]) == {"transfer", "teacher", "student", "loss", "update"}
    assert set(found["teacher cached"]["parts_s"]) == {"transfer", "student", "loss", "update"}
    assert found["teacher cached"]["model_flops"] < found["teacher runs"]["model_flops"]


def test_without_a_gpu_the_script_says_what_to_do():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    ran = run("gpu_split.py")
    assert ran.returncode == 1
    assert ran.stderr.startswith("no GPU here: this measures an 8B and a 1B model")
