"""When a wave is over, and what came of it: goal, quorum, deadline, patience, without a clock."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..core.types import DeviceId, Job, Missed, Plan, Reply, Result, Wave

PATIENCE_S = 60.0
"""How long a wave without a deadline waits for a device that is away."""
LONGEST_S = 3600.0
"""How long such a wave may take, whoever is there, once it has a quorum."""
SOON_S = 5.0
"""A wave that cannot be over with the devices that are here says so after this time."""
LATER = "later"
"""First word of a reason to decline that passes by itself, as the hours of a day."""
SURPLUS = "surplus"
AwayS = Callable[[DeviceId], float]
"""For how many seconds a device has not been heard; 0 while it is here."""


@dataclass(slots=True)
class Quorum:
    """How many devices a round needs, at least one: it may lose others, and never counts with
    fewer."""

    least: int = 1
    devices: set[DeviceId] = field(default_factory=set)
    """All that take part in the round, whether they were asked yet or not."""
    lost: set[DeviceId] = field(default_factory=set)
    """Devices that missed a job of an earlier wave."""

    @classmethod
    def of(cls, plan: Plan) -> "Quorum":
        """The quorum that a plan asks for."""
        return cls(max(1, plan.minimum), set(plan.devices))

    def asks(self, wave: Wave) -> None:
        """A wave is part of the round."""
        self.devices |= {job.device for job in wave.jobs}
        self.least = max(self.least, wave.minimum)

    def holds(self, without: Iterable[DeviceId]) -> bool:
        """Whether the round can do without these."""
        left = self.devices - self.lost
        return len(left.difference(without)) >= self.wanted

    @property
    def wanted(self) -> int:
        """How many devices the round needs; all of them, if it has fewer."""
        return min(self.least, len(self.devices))

    def note(self, results: Iterable[Result]) -> None:
        """What came of a wave."""
        self.lost |= {
            one.device for one in results if isinstance(one, Missed) and one.reason != SURPLUS
        }


@dataclass(slots=True)
class Collecting:
    """A wave under way. The first result of a job counts, and of answers the first `goal`; what
    comes later is late.

    It is over at its deadline, or when every device that is still awaited has been away for longer
    than the patience, counted from when it was last heard or from the wave's begin; but never
    before its round has a quorum.
    """

    wave: Wave
    began_s: float
    patience_s: float = PATIENCE_S
    longest_s: float = LONGEST_S
    quorum: Quorum = field(default_factory=Quorum)
    given_up: frozenset[DeviceId] = frozenset()
    """Devices that an earlier wave gave up: until they are heard again, nobody waits for them
    anew."""
    results: dict[str, Result] = field(default_factory=dict)
    put_off: dict[str, str] = field(default_factory=dict)
    """Reasons of jobs that are declined for now."""
    refused: set[DeviceId] = field(default_factory=set)
    """Devices that declined for good, or sent what is no answer."""
    renewed: bool = False
    answers: int = 0
    ids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.ids = frozenset(job.id for job in self.jobs)
        self.quorum.asks(self.wave)

    @property
    def jobs(self) -> Sequence[Job]:
        """All that were asked for in the wave."""
        return self.wave.jobs

    def stays_missed(self, job: Job, reason: str) -> None:
        """An outcome that was on disk before a crash."""
        self.results[job.id] = Missed(job=job.id, device=job.device, reason=reason)

    def renew(self, now_s: float) -> None:
        """The first device is back after the wave had waited for all: what kept it away often kept
        the others too."""
        if not self.renewed:
            self.began_s = now_s
            self.renewed = True

    def take(self, result: Result) -> bool:
        """Whether it counts."""
        if result.job in self.results or result.job not in self.ids:
            return False
        if isinstance(result, Reply) and self.answers >= self._goal:
            return False
        if isinstance(result, Missed) and result.reason.partition(":")[0] == LATER:
            self.put_off[result.job] = result.reason
            return False
        self.results[result.job] = result
        self.answers += isinstance(result, Reply)
        self.refused |= {result.device} if isinstance(result, Missed) else set()
        return True

    def finished(self, now_s: float, away_s: AwayS) -> list[Result] | None:
        """The results in job order, or None while there is something to wait for."""
        if self.answers >= self._goal:
            return self._in_job_order(SURPLUS)
        late = now_s >= self.due_s
        if not late and any(self._expects(job, now_s, away_s) for job in self.jobs):
            return None
        return self._in_job_order("deadline" if late else "offline") if self._is_enough() else None

    def is_stuck(self, now_s: float, away_s: AwayS) -> bool:
        """Whether nobody is awaited any more and the round has no quorum, or can have none."""
        if self.refused and not self.quorum.holds(without=self.refused):
            return True
        return (
            not any(self._expects(job, now_s, away_s) for job in self.jobs)
            and not self._is_enough()
        )

    def spares(self, device: DeviceId) -> bool:
        """Whether the wave waits neither for this device nor in vain."""
        return device not in self.refused and all(job.device != device for job in self._open())

    def lacks(self, now_s: float, away_s: AwayS) -> list[DeviceId]:
        """The devices without which the wave cannot be over now; empty while it can be, or has just
        begun."""
        late = now_s >= self.due_s
        waited_s = now_s - self.began_s
        if waited_s < min(SOON_S, self.patience_s) or self.answers >= self._goal:
            return []
        lacking = [
            job
            for job in self._open()
            if late or job.id in self.put_off or away_s(job.device) > 0.0
        ]
        missed = [one.device for one in self.results.values() if isinstance(one, Missed)]
        if self.quorum.holds(without=[*missed, *(job.device for job in lacking)]):
            return []
        return [job.device for job in lacking]

    def is_paused(self, now_s: float) -> bool:
        """Whether it has taken as long as it may, and is not over."""
        return now_s - self.began_s >= self.longest_s

    def unanswered(self) -> list[DeviceId]:
        """Devices that were asked and have no answer that counts."""
        return [job.device for job in self.jobs if not isinstance(self.results.get(job.id), Reply)]

    @property
    def due_s(self) -> float:
        """When the wave is over, whoever has not answered."""
        return self.began_s + (
            self.longest_s if self.wave.deadline_s is None else self.wave.deadline_s
        )

    def _expects(self, job: Job, now_s: float, away_s: AwayS) -> bool:
        if job.id in self.results or job.id in self.put_off:
            return False
        since_begin_s = now_s - self.began_s
        silent_s = away_s(job.device)
        if job.device in self.given_up and silent_s >= since_begin_s:
            return False
        return min(silent_s, since_begin_s) <= max(self.patience_s, self.wave.deadline_s or 0.0)

    def _open(self) -> list[Job]:
        return [job for job in self.jobs if job.id not in self.results]

    def _is_enough(self) -> bool:
        """Whether the round has its quorum with the answers that are here."""
        answered = {one.device for one in self.results.values() if isinstance(one, Reply)}
        return self.quorum.holds(without={job.device for job in self.jobs} - answered)

    @property
    def _goal(self) -> int:
        return len(self.jobs) if self.wave.goal is None else self.wave.goal

    def _in_job_order(self, reason: str) -> list[Result]:
        missed = {job.id: self.put_off.get(job.id, reason) for job in self._open()}
        return [
            self.results.get(job.id) or Missed(job=job.id, device=job.device, reason=missed[job.id])
            for job in self.jobs
        ]
