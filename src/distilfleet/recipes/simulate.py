"""A recipe from Python: what `distilfleet run` does, without a terminal."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..record.history import History, read
from ..record.run import check_free, create
from ..report.page import write_page
from ..training.loop import about, train
from .find import recipe
from .flags import common, flatten
from .simulated import simulated


def simulate(name: str, flags: Any, path: Path) -> History:
    """Train to the end, record it in the directory `path`, page included, and return what was recorded.

    Args:
        name: a shipped recipe, or `path/to/file.py:function`.
        flags: the recipe's own dataclass, for example `recipes.koala.Flags()`.
        path: must not hold anything yet; `distilfleet run --resume` takes it up if this is interrupted.
    """
    check_free(path)
    found = recipe(name)
    run = simulated(found.build(flags), common(flags))
    started = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    record = create(path, about(run.experiment, found.name, flatten(flags), started), run.facts)
    for _ in train(run.experiment, run.fleet, record, None, time.monotonic):
        pass
    record.close()
    history = read(path)
    write_page([history], path / "report.html")
    return history
