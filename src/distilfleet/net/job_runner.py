"""The device's work: jobs in, answers out, and on disk what is needed to take an answer back.

A device that missed is as if it had never had the job. So the disk keeps how the worker came to be:
now and then its state, and since then the jobs, which are done again where the worker must be had
anew. Short jobs over a large state, as in split KD, then cost the disk their own few bytes each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from ..core.failpoint import reached
from ..core.protocols import Worker
from ..core.types import Arrays, Job, Load, Usage
from ..core.wire import encode_reply, encoded_bytes
from .device_side import Held
from .protocol import unpack_job
from .transfer import Effort

REDONE_S = 1.0
"""No more work than this is done again."""


@dataclass(frozen=True, slots=True)
class JobHistory:
    """How a worker came to be."""

    state: Arrays | None = None
    """The worker's state on disk; None if that is as it was built."""
    jobs: Sequence[bytes] = ()
    """The jobs that were done after that state, in order."""


class Store(Protocol):
    """A device's disk. Every method returns when its effect is there, all of it or nothing."""

    def held(self) -> Mapping[str, Held]:
        """The answers that are not settled, by key, in the order in which they were done."""
        ...

    def history(self) -> JobHistory:
        """How the worker of the open run came to be."""
        ...

    def finish(self, key: str, held: Held, job: bytes, state: Arrays | None) -> None:
        """A job is done; with the worker's state after it, or None if the job is to be done
        again."""
        ...

    def keep(self, keys: Sequence[str]) -> None:
        """These counted: forget the answers, not what they did to the worker."""
        ...

    def take_back(self, key: str) -> None:
        """Forget the latest job, its answer and what it did to the worker."""
        ...


class DeclinedError(Exception):
    """A device does not do this job; the message is the reason that the server hears."""


Metered = Callable[[Callable[[], Arrays]], tuple[Arrays, Usage]]
"""Runs work and says what it took."""


@dataclass(slots=True)
class JobRunner:
    """One worker, just built, and what its device keeps for one run."""

    worker: Worker
    store: Store
    metered: Metered
    check: Callable[[Job, Load], None] = field(default=lambda job, load: None)
    """Holds a job against the device's own limits; raises `DeclinedError`."""
    built: Arrays = field(init=False)
    """The worker's state before its first job."""
    fresh: bool = field(init=False, default=False)
    """Whether the worker is as its history says."""
    state_bytes: int = field(init=False, default=0)
    since_bytes: int = field(init=False, default=0)
    """The size of the jobs that were done after the state on disk."""
    since_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.built = {name: array.copy() for name, array in self.worker.snapshot().items()}

    def handle(self, key: str, digest: bytes, data: bytes) -> Held:
        """Do a job. The answer and what it did to the worker are on disk when this returns."""
        self.refresh()
        job = unpack_job(data)
        load = self.worker.load(job)
        self.check(job, load)
        self.fresh = False
        arrays, usage = self.metered(partial(self.worker.handle, job))
        frame = encode_reply(job.id, job.device, arrays).to_bytes()
        effort = Effort(
            busy_s=usage.busy_s,
            energy_j=usage.energy_j,
            measured=usage.measured,
            flops=load.flops,
            moved_bytes=load.moved_bytes,
        )
        held = Held(job_digest=digest, data=frame, effort=effort)
        reached("job.done")
        self.store.finish(key, held, data, self._state_if_due(data, usage.busy_s))
        self.fresh = True
        reached("answer.kept")
        return held

    def take_back(self, key: str) -> None:
        """An answer that did not count takes its traces with it."""
        self.store.take_back(key)
        self.fresh = False

    def refresh(self) -> None:
        """Have the worker as its history says: after a start, a failed job, or one that was taken
        back."""
        if self.fresh:
            return
        history = self.store.history()
        state = self.built if history.state is None else history.state
        self.worker.restore(state)
        self._starts_from(state)
        for data in history.jobs:
            _, usage = self.metered(partial(self.worker.handle, unpack_job(data)))
            self._has_done(data, usage.busy_s)
        self.fresh = True

    def _starts_from(self, state: Arrays) -> None:
        self.state_bytes = encoded_bytes(state)
        self.since_bytes = 0
        self.since_s = 0.0

    def _has_done(self, job: bytes, busy_s: float) -> None:
        self.since_bytes += len(job)
        self.since_s += busy_s

    def _state_if_due(self, data: bytes, busy_s: float) -> Arrays | None:
        """The worker's, once doing the jobs again would take longer than `REDONE_S`, or they more
        room than it."""
        self._has_done(data, busy_s)
        if self.since_bytes <= self.state_bytes and self.since_s <= REDONE_S:
            return None
        state = self.worker.snapshot()
        self._starts_from(state)
        return state
