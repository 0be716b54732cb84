"""A run that takes the server's process with it, as a crash in native code or a lack of memory
does.

It comes first again when the server is back, so that a kill costs a run nothing; but after some
such ends without a round in between it goes behind the runs that wait, and at last it fails.
"""

import logging

from ..record.queue import Queue

log = logging.getLogger(__name__)
DEATHS_IN_FRONT = 3
"""In a row, after which a run gives way."""
MOST_DEATHS = 20
"""In a row, after which it fails: power cuts alone hardly come so often within one round."""


def give_way(queue: Queue) -> None:
    """At the server's start: the first run goes behind the others, if the server has died in it
    again and again."""
    waiting = queue.waiting()
    died = queue.attempts(waiting[0]).died(_since(queue, waiting[0])) if waiting[1:] else 0
    if died >= DEATHS_IN_FRONT:
        log.warning(
            "%s: %s; it goes behind the runs that wait", waiting[0], _died(queue, waiting[0], died)
        )
        queue.put_last(waiting[0])


def begin_attempt(queue: Queue, name: str) -> str:
    """Why the run fails instead, if it was tried too often."""
    attempts = queue.attempts(name)
    since = _since(queue, name)
    died = attempts.died(since)
    if died >= MOST_DEATHS:
        return (
            f"{_died(queue, name, died)}. Does the run's own code end the process, crash in native "
            "code or take all memory? The system's log says who ended it"
        )
    attempts.begin(since)
    return ""


def _since(queue: Queue, name: str) -> str:
    """What it gets on from."""
    return max(
        (file.stem for file in queue.record(name).glob("checkpoints/round-*.safetensors")),
        default="",
    )


def _died(queue: Queue, name: str, died: int) -> str:
    since = _since(queue, name)
    done = f"since round {int(since[-8:])}" if since else "at all"
    return (
        f"the server's process died {died} times in a row in this run, and no round was finished "
        f"{done}"
    )
