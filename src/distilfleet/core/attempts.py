"""What is tried again after the process died in it: how often in a row, so that it is not tried for
ever.

A count in a file, which whoever lives to see the end of the attempt takes away: what is left is of
processes that died.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Attempts:
    """Of one thing at a time."""

    file: Path

    def died(self, about: str) -> int:
        """How often in a row a process has died in an attempt at this."""
        try:
            kept = json.loads(self.file.read_bytes())
            return int(kept["attempts"]) if kept["about"] == about else 0
        except (OSError, ValueError, TypeError, KeyError):
            return 0

    def begin(self, about: str) -> None:
        """An attempt begins. A disk that takes no more takes what is worth more neither, and says
        so then."""
        with suppress(OSError):
            self.file.write_text(json.dumps({"about": about, "attempts": self.died(about) + 1}))

    def over(self) -> None:
        """It came to an end, whichever."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)
