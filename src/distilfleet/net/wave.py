"""When a wave is over, and what came of it: goal, minimum, deadline, without a clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.types import DeviceId, Missed, Reply, Result, Wave

PATIENCE_S = 60.0
"""How long a wave without a deadline waits for a device that is away."""
LONGEST_S = 3600.0
"""How long such a wave may take, whoever is there."""


@dataclass(slots=True)
class Collecting:
    """A wave under way. The first result of a job counts, and of answers the first `goal`; what comes later is late.

    Past its deadline it goes on until `minimum` have answered, but no longer than it may wait for a device that is
    away: whoever is there and does not answer ends no round. It then ends with the answers that it has.
    """

    wave: Wave
    began_s: float
    patience_s: float = PATIENCE_S
    longest_s: float = LONGEST_S
    results: dict[str, Result] = field(default_factory=dict)
    answers: int = 0
    ids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.ids = frozenset(job.id for job in self.wave.jobs)

    def take(self, result: Result) -> bool:
        """Whether it counts."""
        if result.job in self.results or result.job not in self.ids:
            return False
        if isinstance(result, Reply) and self.answers >= self._goal:
            return False
        self.results[result.job] = result
        self.answers += isinstance(result, Reply)
        return True

    def finished(self, now_s: float, away_s: Callable[[DeviceId], float]) -> list[Result] | None:
        """The results in job order, or None while there is something to wait for."""
        late = now_s >= self.due_s
        if self.answers >= self._goal:
            return self._in_job_order("surplus")
        if late and (self.answers >= self.wave.minimum or now_s >= self.due_s + self._grace_s):
            return self._in_job_order("deadline")
        patience_s = 0.0 if late else self._grace_s
        if any(job.id not in self.results and away_s(job.device) <= patience_s for job in self.wave.jobs):
            return None
        return self._in_job_order("offline")

    @property
    def due_s(self) -> float:
        return self.began_s + (self.longest_s if self.wave.deadline_s is None else self.wave.deadline_s)

    @property
    def _grace_s(self) -> float:
        return max(self.patience_s, self.wave.deadline_s or 0.0)

    @property
    def _goal(self) -> int:
        return len(self.wave.jobs) if self.wave.goal is None else self.wave.goal

    def _in_job_order(self, reason: str) -> list[Result]:
        return [
            self.results.get(job.id) or Missed(job=job.id, device=job.device, reason=reason) for job in self.wave.jobs
        ]
