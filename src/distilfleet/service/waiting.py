"""A run that waits for devices says so: in the log, and in the queue, for its page, its follower
and `runs`.

It lets go of its round when it is to be stopped and the round has nothing to lose, and when it
waits for so long that the runs behind it may have their turn.
"""

import logging
from dataclasses import dataclass

from ..core.errors import Error
from ..net.waiting import Standing
from ..record.queue import Queue

log = logging.getLogger(__name__)
GAVE_WAY = "other runs have their turn, and this one goes on after them"


class LetGoError(Error):
    """The run lets go of its round, which is begun anew when it goes on."""


@dataclass(slots=True)
class Waiting:
    """Hears again and again how a round stands, and that it goes on. Raises LetGoError."""

    queue: Queue
    name: str
    words: str | None = None

    def __call__(self, standing: Standing) -> None:
        self._tell(standing.waits)
        if self.queue.to_stop(self.name) and (standing.waits or standing.loses_nothing):
            raise LetGoError(f"{self.name} was stopped in the middle of a round")
        if standing.is_paused and self._others():
            self._tell(f"{GAVE_WAY}: {standing.waits}")
            raise LetGoError(f"{self.name} gave way while it waited for devices")

    def _others(self) -> bool:
        """Whether somebody else wants a turn."""
        return any(
            name != self.name and not self.queue.to_stop(name) for name in self.queue.waiting()
        )

    def _tell(self, words: str) -> None:
        if _kind(words) != _kind(self.words or ""):
            log.warning("%s: %s", self.name, words or "devices are back, and the round goes on")
        if words != self.words:
            self.queue.tell_waits(self.name, words)
        self.words = words


def _kind(words: str) -> str:
    """The same while only counts and names change, so that devices that come and go do not fill the
    log."""
    return words.partition(" for devices")[0]
