"""Named points at which a drill kills this process.

`DISTILFLEET_KILL_AT=wave.recorded:3` ends the process, as `kill -9` would, when it passes that
point a third time. Several points are parted by commas. Unset, a point costs one look. The variable
can do nothing but end the process of whoever set it, so it is not kept from anybody.
"""

import os
import signal
from functools import cache

from .errors import ConfigError

VARIABLE = "DISTILFLEET_KILL_AT"


def reached(point: str) -> None:
    """The process is at this point; the name says what is done."""
    left = _left()
    if point in left:
        left[point] -= 1
        if left[point] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


@cache
def _left() -> dict[str, int]:
    """Passes until death, by point."""
    words = [word for word in os.environ.get(VARIABLE, "").split(",") if word]
    passes: dict[str, int] = {}
    try:
        for word in words:
            point, _, count = word.partition(":")
            passes[point] = int(count or 1)
    except ValueError:
        raise ConfigError(
            f"{VARIABLE} is POINT:PASS, for example wave.recorded:3, not {','.join(words)}"
        ) from None
    return passes
