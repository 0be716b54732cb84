"""A run's rounds go to trackers, each round once, also when a run is resumed or a tracker was away.

Trackers keep two points for a round that is sent twice (MLflow 3.17.2, TensorBoard 2.21.0, Trackio
0.43.0), so `tracked.json` beside the record says up to which round each has them, and what it calls
the run. It is written before a round is sent: a process that is killed in between leaves a gap of
one round, never a doubled one.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.disk import write_atomically
from ..core.errors import ConfigError, RecordError
from ..record.history import History, read, read_object
from .tracker import Tracker, figures_of, opened

TRACKED = "tracked.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a tracker knows of a run."""

    round: int = 0
    """The last one that it was sent."""
    id: str = ""
    """What it calls the run."""


def told(path: Path) -> dict[str, Told]:
    """By the name of the tracker; empty for a run that none follows. Raises RecordError."""
    file = path / TRACKED
    if not file.is_file():
        return {}
    try:
        found = read_object(file.read_bytes())
        return {
            name: Told(round=int(one["round"]), id=str(one["id"])) for name, one in found.items()
        }
    except (ValueError, KeyError, TypeError) as fault:
        raise RecordError(
            f"{file} is damaged: {fault}. Delete it, and trackers begin a new run."
        ) from None


@dataclass(slots=True, kw_only=True)
class Followed:
    """A run and one tracker; a tracker that fails is tried again with the next round."""

    history: History
    name: str
    tracker: Tracker
    known: Told
    waiting: list[Mapping[str, Any]] = field(default_factory=list)
    """Rounds that the tracker has not taken."""

    def send(self, metrics: Mapping[str, Any]) -> None:
        """A round, after those that wait; one that the tracker has is passed over."""
        self.waiting.append(metrics)
        while self.waiting:
            number = int(self.waiting[0]["round"])
            before = self.known
            if number > before.round:
                self._remember(Told(round=number, id=self.tracker.id))
                try:
                    self.tracker.send(number, figures_of(self.waiting[0]))
                except Exception as fault:  # whatever a tracker's package raises
                    self._remember(before)
                    log.warning("%s does not take round %d: %s", self.name, number, fault)
                    return
            del self.waiting[0]

    def close(self) -> None:
        """What waits is left for another time."""
        try:
            self.tracker.close()
        except Exception as fault:  # whatever a tracker's package raises
            log.warning("%s: %s", self.name, fault)

    def _remember(self, known: Told) -> None:
        self.known = known
        everyone = {**told(self.history.path), self.name: known}
        plain = {name: {"round": one.round, "id": one.id} for name, one in everyone.items()}
        write_atomically(self.history.path / TRACKED, json.dumps(plain).encode())


def followed(path: Path, names: Sequence[str], before: Sequence[str] = ()) -> list[Followed]:
    """The run in each of these trackers, told of the rounds that are recorded already.

    Args:
        before: trackers that followed the run before; one that cannot be opened now is left out,
            with a warning.

    Raises ConfigError for a tracker of `names` that is not known, not installed or not to be
    reached.
    """
    history = read(path)
    known = told(path)
    found = []
    for name in dict.fromkeys([*names, *before]):
        one = known.get(name, Told())
        try:
            tracker = opened(name, history, one.id)
        except ConfigError as fault:
            if name in names:
                raise
            log.warning("%s; `distilfleet track` sends it what it misses", fault)
            continue
        found.append(Followed(history=history, name=name, tracker=tracker, known=one))
    for tracked in found:
        for metrics in history.rounds:
            tracked.send(metrics)
    return found


def following(
    steps: Iterator[Mapping[str, Any]], trackers: Sequence[Followed]
) -> Iterator[Mapping[str, Any]]:
    """The rounds as they come, each sent to the trackers before it is handed on."""
    for metrics in steps:
        for one in trackers:
            one.send(metrics)
        yield metrics
