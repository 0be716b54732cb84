"""The device's work: jobs in, answers out, and on disk what is needed to take an answer back.

A device that missed is as if it had never had the job, so the worker's snapshot from before each unsettled answer is
kept with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

from ..core.failpoint import reached
from ..core.types import Arrays, Job, Load, Usage, Worker
from ..core.wire import encode_reply
from .device_side import Held
from .protocol import unpack_job


class Store(Protocol):
    """A device's disk. Every method returns when its effect is there, all of it or nothing."""

    def held(self) -> Mapping[str, Held]: ...

    def state(self) -> Arrays | None:
        """The worker's, None if it has none."""
        ...

    def before(self, key: str) -> Arrays | None:
        """The worker's before this unsettled job."""
        ...

    def finish(self, key: str, held: Held, before: Arrays, after: Arrays) -> None: ...

    def settle(self, key: str, state: Arrays | None) -> None:
        """Forget an answer; with `state`, the worker goes back to it."""
        ...


class DeclinedError(Exception):
    """A device does not do this job; the message is the reason that the server hears."""


Metered = Callable[[Callable[[], Arrays]], tuple[Arrays, Usage]]
"""Runs work and says what it took."""


@dataclass(slots=True)
class Bench:
    """One worker, and what its device keeps for one run."""

    worker: Worker
    store: Store
    metered: Metered
    check: Callable[[Job, Load], None] = field(default=lambda job, load: None)
    """The device's own limits: raises `DeclinedError`."""

    @classmethod
    def resume(
        cls, worker: Worker, store: Store, metered: Metered, check: Callable[[Job, Load], None] = lambda job, load: None
    ) -> Self:
        """The worker as it was when this device's power went off."""
        kept = store.state()
        if kept is not None:
            worker.restore(kept)
        return cls(worker, store, metered, check)

    def handle(self, key: str, digest: bytes, data: bytes) -> Held:
        """Do a job. The answer and the worker's states are on disk when this returns."""
        job = unpack_job(data)
        load = self.worker.load(job)
        self.check(job, load)
        before = self.worker.snapshot()
        try:
            arrays, usage = self.metered(lambda: self.worker.handle(job))
            frame = encode_reply(job.id, job.device, arrays).to_bytes()
            used = {"busy_s": usage.busy_s, "energy_j": usage.energy_j}
            used |= {"flops": load.flops, "moved_bytes": load.moved_bytes}
            held = Held(job_digest=digest, data=frame, measured=usage.measured, **used)
            reached("job.done")
            self.store.finish(key, held, before, self.worker.snapshot())
        except Exception:
            self.worker.restore(before)
            raise
        reached("answer.kept")
        return held

    def settle(self, key: str, counted: bool) -> None:
        """The answer may go. One that did not count takes its traces with it."""
        before = None if counted else self.store.before(key)
        self.store.settle(key, before)
        if before is not None:
            self.worker.restore(before)
