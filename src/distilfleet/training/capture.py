"""Any fleet, with a bounded sample of what travelled kept for an audit."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..core import wire
from ..core.types import DeviceId, Job, Reply, Result, Wave
from ..record.captured import Exchange
from .experiment import Keep
from .wrapped import WrappedFleet

MOST_BYTES = 1 << 26
"""Of one exchange; a larger one is passed over."""


@dataclass(slots=True, kw_only=True)
class CapturingFleet(WrappedFleet):
    """A fleet of which a sample of exchanges is kept.

    Which exchanges stay depends on the seed and on job ids alone, so a run that was interrupted
    keeps the same ones.
    """

    keep: Keep
    seed: int
    kept_wire: dict[str, Exchange]
    _jobs: dict[int, Sequence[Job]] = field(default_factory=dict)
    _before: dict[DeviceId, Job] = field(default_factory=dict)
    _open: dict[DeviceId, list[str]] = field(default_factory=dict)
    """Kept exchanges whose later reply has not come."""

    def start(self, wave: Wave) -> int:
        ticket = self.inner.start(wave)
        self._jobs[ticket] = wave.jobs
        self._before |= {job.device: job for job in wave.jobs if job.op == self.keep.before}
        return ticket

    def collect(self, ticket: int) -> list[Result]:
        results = self.inner.collect(ticket)
        for job, result in zip(self._jobs.pop(ticket), results, strict=True):
            if (
                isinstance(result, Reply)
                and result.arrays
                and (not self.keep.ops or job.op in self.keep.ops)
            ):
                self._consider(job, result)
            if job.op == self.keep.after:
                self._close(job.device, result)
        return results

    def _close(self, device: DeviceId, result: Result) -> None:
        for job in self._open.pop(device, []):
            if job in self.kept_wire and isinstance(result, Reply):
                self.kept_wire[job] = replace(self.kept_wire[job], after=_frame(result))

    def _consider(self, job: Job, reply: Reply) -> None:
        kept = self.kept_wire
        last = max(kept, key=self._rank) if len(kept) >= self.keep.most else None
        if job.id in kept or (last is not None and self._rank(job.id) > self._rank(last)):
            return
        before = self._before.get(job.device)
        messages = [job.arrays, reply.arrays, {} if before is None else before.arrays]
        if sum(map(wire.encoded_bytes, messages)) > MOST_BYTES:
            return
        if last is not None:
            del kept[last]
        kept[job.id] = Exchange(
            job=wire.encode_job(job).to_bytes(),
            reply=_frame(reply),
            before=b"" if before is None else wire.encode_job(before).to_bytes(),
        )
        if self.keep.after:
            self._open.setdefault(job.device, []).append(job.id)

    def _rank(self, job: str) -> bytes:
        return hashlib.blake2b(repr((self.seed, "overheard", job)).encode(), digest_size=8).digest()


def _frame(reply: Reply) -> bytes:
    return wire.encode_reply(reply.job, reply.device, reply.arrays).to_bytes()
