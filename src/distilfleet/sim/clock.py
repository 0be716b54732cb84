"""Virtual time: each device has a first-in-first-out downlink, processor and uplink, the server one
queue.

Axes: J jobs of a wave, N devices of the fleet.
"""

from dataclasses import dataclass, field

import numpy as np

DOWN = 0
COMPUTE = 1
UP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """When jobs pass their three stages: start and duration, [3, J] each, in seconds on the fleet's
    clock."""

    start_3J: np.ndarray
    duration_3J: np.ndarray

    @property
    def finish_s(self) -> np.ndarray:
        """When each job's reply has arrived, [J]."""
        return np.asarray(self.start_3J[UP] + self.duration_3J[UP])

    def spent_s(self, until_s: float) -> np.ndarray:
        """Seconds in each stage if all is called off at `until_s`, [3, J]."""
        return np.clip(until_s - self.start_3J, 0.0, self.duration_3J)


@dataclass(slots=True)
class Clock:
    """The time, and until when each stage of each device is taken. The one mutable thing in
    here."""

    free_3N: np.ndarray
    now_s: float = 0.0
    serving_s: float = field(default=0.0)
    """Server's busy seconds since they were last asked for."""

    def pass_through(self, index_J: np.ndarray, duration_3J: np.ndarray) -> Passage:
        """When these jobs would pass, one per device at most, if they started now."""
        start_3J = np.empty_like(duration_3J)
        ready_J = np.full(len(index_J), self.now_s)
        for stage in (DOWN, COMPUTE, UP):
            start_3J[stage] = np.maximum(ready_J, self.free_3N[stage, index_J])
            ready_J = start_3J[stage] + duration_3J[stage]
        return Passage(start_3J=start_3J, duration_3J=duration_3J)

    def occupy(self, index_J: np.ndarray, passage: Passage, until_s: float) -> None:
        """Take the stages; a job that is called off leaves them at `until_s`."""
        ends_3J = np.minimum(passage.start_3J + passage.duration_3J, until_s)
        self.free_3N[:, index_J] = np.maximum(self.free_3N[:, index_J], ends_3J)

    def wait(self, until_s: float) -> None:
        """Let time pass until then; the past stays the past."""
        self.now_s = max(self.now_s, until_s)

    def serve(self, duration_s: float) -> None:
        """The server computes; it does one thing at a time."""
        self.now_s += duration_s
        self.serving_s += duration_s
