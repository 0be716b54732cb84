"""The verb `track`: a recorded run, or one that goes on elsewhere, in a tracker of experiments."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from ..track.tracker import Name
from .words import parsed

LOOK_S = 2.0
"""Seconds between looks at a record that grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Send the rounds of a run to trackers of experiments, each round once."""

    run: Annotated[Path, Positional]
    """Run directory."""
    to: tuple[Name, ...] = ("tensorboard",)
    """Trackers, whose packages are to be installed."""
    follow: bool = False
    """Stay, and send each round as it is recorded, until the run has all of its rounds."""


def track(words: list[str]) -> int:
    """The verb."""
    flags = parsed(Track, "distilfleet track", words or ["--help"])
    from ..record.history import read, read_rounds
    from ..track.follow import followed

    total = int(read(flags.run).about["rounds"])
    trackers = followed(flags.run, flags.to)
    try:
        seen = len(read_rounds(flags.run))
        while flags.follow and seen < total:
            time.sleep(LOOK_S)
            rounds = read_rounds(flags.run)
            for metrics in rounds[seen:]:
                for tracker in trackers:
                    tracker.send(metrics)
            seen = len(rounds)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        for tracker in trackers:
            tracker.close()
    for tracker in trackers:
        print(f"{tracker.name} has {flags.run} up to round {tracker.known.round}.")
    return 0
