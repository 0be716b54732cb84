"""The verb `track`: a recorded run, or one that goes on elsewhere, in a tracker of experiments."""

import signal
import time

from .words import parsed

LOOK_S = 2.0
"""Seconds between looks at a record that grows."""


def track(words: list[str]) -> int:
    """The verb."""
    from .track_flags import Track

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
