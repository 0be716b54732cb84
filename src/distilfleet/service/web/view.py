"""What a server's page shows, gathered: the fleet from the loop of its sessions, runs from their
records."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import RecordError
from ...core.fleet_status import FleetStatus
from ...core.types import DeviceId
from ...net.loops import begin
from ...net.observe import observe
from ...net.session_server import SessionServer
from ...record.history import History, read
from ...record.queue import Queue, QueuedRun
from ...report.live_page import View
from ...report.table import Row, summary

LOOK_S = 5.0
"""The loop of the sessions answers in milliseconds; if it does not, the page waits, and not the
other way round."""
MOST_DONE = 12
"""Finished runs that the page lists."""


def moments(
    session_server: SessionServer, loop: asyncio.AbstractEventLoop, kinds: Mapping[DeviceId, str]
) -> Callable[[], FleetStatus]:
    """The fleet as it is now, for other threads. Raises TimeoutError, also while the server
    ends."""

    async def now() -> FleetStatus:
        return observe(session_server, kinds, time.monotonic())

    def moment() -> FleetStatus:
        try:
            return begin(loop, now).result(LOOK_S)
        except RuntimeError as fault:
            raise TimeoutError("the server ends") from fault

    return moment


@dataclass(slots=True)
class PageSource:
    """Records are read again when they have changed."""

    queue: Queue
    moment: Callable[[], FleetStatus]
    proof: str
    known: dict[str, tuple[int, History, Row]] = field(default_factory=dict)
    """Records by name, with when they were last written."""

    def __call__(self) -> View:
        entries = self.queue.entries(MOST_DONE)
        self.known = {
            entry.name: found for entry in entries if (found := self._read(entry.name)) is not None
        }
        shown = self._shown(entries)
        return View(
            moment=self.moment(),
            entries=entries,
            shown=shown,
            run=None if shown is None else self.known[shown.name][1],
            rows={name: row for name, (_, _, row) in self.known.items()},
            proof=self.proof,
        )

    def _shown(self, entries: list[QueuedRun]) -> QueuedRun | None:
        """The run under way, else the one that was last written to."""
        recorded = [entry for entry in entries if entry.name in self.known]
        first = [entry for entry in recorded if entry.goes_on]
        return max(first or recorded, key=lambda entry: self.known[entry.name][0], default=None)

    def _read(self, name: str) -> tuple[int, History, Row] | None:
        folder = self.queue.record(name)
        changed_ns = _changed_ns(folder)
        known = self.known.get(name)
        if known is not None and known[0] == changed_ns:
            return known
        try:
            run = read(folder)
        except RecordError:
            return None  # it begins, or is damaged: its own verbs tell
        return changed_ns, run, summary([run])[0]


def _changed_ns(folder: Path) -> int:
    files = [folder / name for name in ("run.toml", "metrics.jsonl")]
    return max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)
