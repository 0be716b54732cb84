"""Weights & Biases: a run of the project `distilfleet`; with `WANDB_MODE=offline` it stays here."""

from collections.abc import Mapping
from typing import Any

from ..record.history import History
from .tracker import settings_of

PACKAGE = "wandb"
PROJECT = "distilfleet"


class WandbRun:
    """One run."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.id = str(run.id)

    def send(self, number: int, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=number)

    def close(self) -> None:
        self.run.finish()


def opened(history: History, known_id: str) -> WandbRun:
    """Goes on with the run of that id."""
    import wandb

    run = wandb.init(
        project=PROJECT,
        name=history.path.name,
        id=known_id or None,
        resume="allow",
        config=settings_of(history),
        dir=str(history.path),
    )
    return WandbRun(run)
