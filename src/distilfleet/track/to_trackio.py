"""Trackio: a run of the project `distilfleet`, at Trackio's own place; `trackio show` opens it."""

from collections.abc import Mapping
from typing import Any

from ..record.history import History
from .tracker import settings_of

PACKAGE = "trackio"
PROJECT = "distilfleet"


class TrackioRun:
    """One run, which Trackio knows by its name."""

    def __init__(self, run: Any, name: str) -> None:
        self.run = run
        self.id = name

    def send(self, number: int, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=number)

    def close(self) -> None:
        self.run.finish()


def opened(history: History, known_id: str) -> TrackioRun:
    """Goes on with the run of that name."""
    import trackio

    name = known_id or history.path.absolute().name
    run = trackio.init(project=PROJECT, name=name, resume="allow", config=settings_of(history))
    return TrackioRun(run, name)
