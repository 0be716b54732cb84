"""The flags of `track`, apart from the verb: they load the reader of flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from ..track.names import Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Send the rounds of a run to trackers of experiments, each round once."""

    run: Annotated[Path, Positional]
    """Run directory."""
    to: tuple[Name, ...] = ("tensorboard",)
    """Trackers, whose packages are to be installed."""
    follow: bool = False
    """Stay, and send each round as it is recorded, until the run has all of its rounds."""
