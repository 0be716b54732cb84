"""Methods compute where their models are put: on a pretended device, as on the processor."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from on_pretended import ends, of_split, same, windows

from distilfleet.core.errors import ConfigError
from distilfleet.methods.splitkd import server
from distilfleet.nn.place import Place, accelerator

HERE = Path(__file__).parent
REFUSED = """
import numpy as np, torch
from pretended import Pretended, registered
from distilfleet.nn.place import to_tensor
with Pretended():
    there = to_tensor(np.ones(3, np.float32), registered())
    print((there + 1).device, (there.cpu().numpy() == 1).all())
    for wrong in (lambda: there + torch.ones(3), there.numpy):
        try:
            wrong()
        except RuntimeError as fault:
            print(fault)
"""


def told(*words):
    """What a process says that knows the pretended device from its start."""
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_koala_and_split_kd_compute_where_their_models_are():
    assert len(told("on_pretended.py")) == 3


def test_the_pretended_device_refuses_what_a_real_one_would():
    moved, mixed, read = told("-c", REFUSED)
    assert moved == "acc:0 True"
    assert "two devices" in mixed
    assert "numpy() is not supported" in read


def test_activations_that_are_computed_again_change_no_bit():
    same(ends(of_split(Place()), windows), ends(of_split(Place(recompute=True)), windows))


def test_a_teacher_in_16_bits_teaches_almost_the_same():
    usual = ends(of_split(Place()), windows)[1]
    teacher = replace(server.tiny().teacher, dtype=torch.bfloat16)
    rounded = ends(replace(server.tiny(), teacher=teacher), windows)[1]
    assert rounded["large_loss"] == pytest.approx(usual["large_loss"], rel=1e-2)
    assert rounded["small_loss"] == pytest.approx(usual["small_loss"], rel=1e-2)


def test_an_accelerator_that_is_not_there_is_said_in_one_sentence():
    assert accelerator("cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"--accelerator cuda:7: .*; take .*cpu or auto"):
        accelerator("cuda:7")
    with pytest.raises(ConfigError, match="--accelerator abacus"):
        accelerator("abacus")
