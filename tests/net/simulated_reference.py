"""What a simulated world computes, and the plain reference: the same from the journaled outcomes
alone."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distilfleet.core.types import (
    Arrays,
    ArraySpec,
    Expected,
    Job,
    Load,
    Missed,
    Reply,
    Result,
    Wave,
)
from distilfleet.net.journal import Outcome

ROUNDS, WAVES = 3, 2
BALLAST = np.zeros(64)
"""Makes a worker's state larger than a few jobs, so that these are kept in its place."""
EXPECTED = Expected(arrays={"x": ArraySpec("<u8", (4,))})


class BrokenError(AssertionError):
    """A promise is not kept."""


def mixed(*words: Any) -> int:
    return int.from_bytes(hashlib.blake2b(repr(words).encode(), digest_size=6).digest(), "little")


@dataclass
class Adder:
    """A worker that remembers everything that it was asked."""

    total: int = 0

    def load(self, job: Job) -> Load:
        return Load()

    def handle(self, job: Job) -> Arrays:
        self.total = mixed(self.total, int(job.arrays["x"][0]))
        return {"x": np.full(4, self.total, np.uint64)}

    def snapshot(self) -> Arrays:
        return {"total": np.array(self.total, np.uint64), "ballast": BALLAST}

    def restore(self, kept: Arrays) -> None:
        self.total = int(kept["total"])


@dataclass(frozen=True)
class Script:
    """What a round does, for real and in the reference."""

    state: int
    number: int
    devices: tuple[str, ...]
    goal: int | None
    deadline_s: float | None
    leaving: bool
    """Whoever misses a wave is not asked again in its round."""
    minimum: int = 1

    def steps(self) -> Iterator[Any]:
        state, devices = self.state, self.devices
        for step in range(WAVES):
            jobs = [
                Job(
                    id=f"{self.number}:{step}:{d}",
                    device=d,
                    op="add",
                    arrays=asked(state),
                    expected=EXPECTED,
                )
                for d in devices
            ]
            goal = None if self.goal is None else min(self.goal, len(jobs))
            results = yield Wave(
                jobs=jobs, goal=goal, minimum=self.minimum, deadline_s=self.deadline_s
            )
            state = mixed(state, [said(result) for result in results])
            if self.leaving:
                devices = tuple(result.device for result in results if isinstance(result, Reply))
        return state


def asked(state: int) -> Arrays:
    return {"x": np.full(8, state, np.uint64)}


def said(result: Result) -> tuple[str, int]:
    return result.device, -1 if isinstance(result, Missed) else int(result.arrays["x"][0])


def replay(
    script: Script, branch: str, rows: Mapping[str, Outcome], workers: Mapping[str, Adder]
) -> int:
    """A round in plain Python, given the outcomes."""
    steps = script.steps()
    wave = next(steps)
    while True:
        results = []
        for job in wave.jobs:
            outcome = rows.get(f"{branch}/{job.id}")
            if outcome is None:
                raise BrokenError(f"the journal does not know {job.id}")
            if outcome.reason:
                results.append(Missed(job=job.id, device=job.device, reason=outcome.reason))
            else:
                arrays = workers[job.device].handle(job)
                results.append(Reply(job=job.id, device=job.device, arrays=arrays))
        try:
            wave = steps.send(results)
        except StopIteration as done:
            return done.value
