"""The command line from tests: in this process where that is enough, else in one of its own."""

import multiprocessing
import os
import subprocess
import sys
import weakref
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from distilfleet.cli.main import main
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


def child(*words, **options):
    """The command line in a process of its own, begun from nothing; its lines can be read as they
    come."""
    return subprocess.Popen(
        [sys.executable, "-m", "distilfleet.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


# --- processes that begin with the packages loaded ------------------------------------------------

FORKS = multiprocessing.get_context("forkserver")
_RECIPES = [
    f"distilfleet.{name}"
    for name in (
        "service.server",
        "service.agent",
        "service.spec",
        "recipes.simulate",
        "recipes.language",
    )
]
_METHODS = [f"distilfleet.methods.{name}" for name in ("koala", "fedmd", "splitkd.server")]
FORKS.set_forkserver_preload(
    [*_RECIPES, *_METHODS, "torch._dynamo"]
)  # the last one is loaded by torch when a model is traced


class Forked:
    """As `child`, but forked from a process that has the packages loaded and has done nothing else.

    It starts in a fraction of a second; from there on it is the command line, with its own memory,
    sockets and files.
    """

    def __init__(self, *words, program=main, log=None):
        """Runs `program` on the words; what it says goes to the log, or can be read as it comes."""
        pipes = [FORKS.Pipe(duplex=False) for _ in range(0 if log else 2)]
        given = program, [str(word) for word in words], log, [there for _, there in pipes]
        self._process = FORKS.Process(target=_forked, args=given, daemon=True)
        self._process.start()
        for _, there in pipes:
            there.close()
        ends = [os.fdopen(os.dup(here.fileno()), "r") for here, _ in pipes]
        for here, _ in pipes:
            here.close()
        self.stdout, self.stderr = ends or (None, None)
        # also where a test ends before it has read all
        weakref.finalize(self, lambda: [end.close() for end in ends])

    @property
    def returncode(self):
        return self._process.exitcode

    def send_signal(self, number):
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def wait(self):
        self._process.join()

    def communicate(self):
        """Read both to their ends, in this order: what is said on the second must fit into a
        pipe."""
        said = self.stdout.read(), self.stderr.read()
        self.wait()
        self.stdout.close()
        self.stderr.close()
        return said


def _forked(program, words, log, pipes):
    to = (
        [pipe.fileno() for pipe in pipes]
        if log is None
        else [os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)] * 2
    )
    os.dup2(to[0], 1)
    os.dup2(to[1], 2)
    for pipe in pipes:
        pipe.close()
    # an agent stays in this warm process
    os.execv = lambda _, command: main(command[command.index("agent") :])
    program(words)
