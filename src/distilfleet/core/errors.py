"""What can go wrong, by who has to act. Lost devices are values (`Missed`), never errors."""

from collections.abc import Iterable
from difflib import get_close_matches


class Error(Exception):
    """Root of everything distilfleet raises on purpose; the message says what to do."""


class ConfigError(Error):
    """A setting, file or dataset is not usable as given."""


class UnmatchedError(ConfigError):
    """A device's data are not what a run means by its inputs and labels; the message stays on the
    device.

    `mismatch` is for the server: names and shapes, which are there to be matched, and neither
    counts nor values nor paths.
    """

    def __init__(self, message: str, mismatch: str) -> None:
        super().__init__(message)
        self.mismatch = mismatch


class ScarceError(ConfigError):
    """A dataset has fewer samples than there are devices to share them out to."""


class InfeasibleError(Error):
    """No device, or no plan, meets the limits that were set."""


class RecordError(Error):
    """A run directory cannot be used: damaged, from another version, or in use."""


class StorageError(Error):
    """A disk is full or fails: what must be kept cannot be. The process ends; started again, it
    goes on."""


class FileError(StorageError):
    """One file cannot be written although its disk works: a folder has its name, or it is somebody
    else's."""


class WireError(Error):
    """The peer sent bytes that break the protocol."""


class AgainError(Error):
    """A round waits in vain for its devices, and others can have it: to be done again from its
    conditions on."""


class UsedUpError(Error):
    """Arrays of a state were read after a round had gone on with them: a caller's mistake."""


class StarvedError(Error):
    """A run cannot go on: too many devices will not answer, and no waiting changes that."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question in brackets, for a message that refuses the word; empty where nothing known is
    like it."""
    close = get_close_matches(word.lower(), list(known), cutoff=0.55)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
