"""A run that waits for devices says so: in the log, and in the queue, for its page, its follower and `runs`."""

import logging
from dataclasses import dataclass

from ..core.errors import Error
from ..record.queue import Queue

log = logging.getLogger(__name__)


class LetGoError(Error):
    """The run was to be stopped while it waited for devices; its round is begun anew when it goes on."""


@dataclass(slots=True)
class Waiting:
    """Hears again and again what a round waits for, and "" when it goes on. Raises LetGoError."""

    queue: Queue
    name: str
    words: str | None = None

    def __call__(self, words: str) -> None:
        if _kind(words) != _kind(self.words or ""):
            log.warning("%s: %s", self.name, words or "devices are back, and the round goes on")
        if words != self.words:
            self.queue.tell_waits(self.name, words)
        self.words = words
        if words and self.queue.to_stop(self.name):
            raise LetGoError(f"{self.name} was stopped while it waited for devices")


def _kind(words: str) -> str:
    """The same while only counts and names change, so that devices that come and go do not fill the log."""
    return words.partition(" for devices")[0]
