"""The command line from tests: in this process where that is enough, else in one of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

from distilfleet.cli import main
from distilfleet.core.chance import stream

FEW = ["--devices", "4", "--small", "mlp-xs", "--mixtures", "8", "--local-passes", "1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    code: int
    out: str
    err: str


def told(capfd, *words):
    """What the command line says, run in this process, and its exit code."""
    try:
        main([str(word) for word in words])
    except SystemExit as done:
        captured = capfd.readouterr()
        return Told(code=done.code or 0, out=captured.out, err=captured.err)
    raise AssertionError("the command line always exits")


def mistaken(capfd, *words):
    """The one message of a command that exits with 2."""
    said = told(capfd, *words)
    assert said.code == 2, said
    assert "Traceback" not in said.out + said.err
    assert said.out == ""
    assert said.err.startswith("distilfleet: ")
    assert said.err.count("\n") == 1
    return said.err


def table(path, count=90, features=6, classes=3, seed=0):
    """A small table of samples whose classes can be told apart, as .npz."""
    rng = stream(seed, "table")
    labels = rng.integers(0, classes, count)
    inputs = rng.normal(size=(classes, features))[labels] + rng.normal(size=(count, features))
    np.savez(path, x=inputs.astype(np.float32), y=labels)
    return path


def child(*words, script=None, **options):
    """The command line in a process of its own; its lines can be read as they come."""
    start = ["-c", script] if script else ["-m", "distilfleet.cli"]
    return subprocess.Popen(
        [sys.executable, *start, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )
