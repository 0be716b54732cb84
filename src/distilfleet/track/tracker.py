"""A tracker of experiments, as a place where figures of rounds go, and the ones that are known.

Each has a module of its own with `opened`, which loads the tracker's package; none is loaded
before.
"""

import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from ..core.errors import ConfigError, did_you_mean
from ..record.history import History
from .names import NAMES


class Tracker(Protocol):
    """One run in a tracker."""

    @property
    def id(self) -> str:
        """What the tracker calls the run, to go on with it; empty where that is not needed."""
        ...

    def send(self, number: int, figures: Mapping[str, float]) -> None:
        """The figures of a round. Whatever the tracker raises passes through."""
        ...

    def close(self) -> None:
        """Nothing more comes for now."""
        ...


def opened(name: str, history: History, known_id: str) -> Tracker:
    """The run in the tracker of that name, begun or gone on with.

    Args:
        history: its record, of which settings and versions are told to the tracker.
        known_id: what the tracker called it before; empty the first time.

    Raises ConfigError for a tracker that is not known, not installed or not to be reached.
    """
    if name not in NAMES:
        raise ConfigError(
            f"no tracker {name!r}{did_you_mean(name, NAMES)}; there are {', '.join(NAMES)}"
        )
    module = import_module(f".to_{name}", __package__)
    try:
        tracker: Tracker = module.opened(history, known_id)
    except ModuleNotFoundError as missing:
        raise ConfigError(
            f"--track {name} needs {missing.name}: pip install {module.PACKAGE}"
        ) from missing
    except Exception as fault:  # whatever a tracker's package raises, such as a key that is missing
        raise ConfigError(f"{name} cannot be opened: {' '.join(str(fault).split())}") from fault
    return tracker


def figures_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What of a round is a figure: finite numbers, and of lists how many they hold.

    Lists raise in one tracker (MLflow 3.17), infinity becomes 1.8e308 there: neither is sent.
    """
    found = {}
    for name, value in metrics.items():
        if name == "round" or isinstance(value, bool):
            continue
        if isinstance(value, list):
            found[f"{name}_count"] = float(len(value))
        elif isinstance(value, int | float) and math.isfinite(value):
            found[name] = float(value)
    return found


def settings_of(history: History) -> dict[str, str]:
    """What the run was asked for, as text."""
    settings = {**history.about.get("settings", {}), "recipe": history.about["recipe"]}
    return {name: str(value) for name, value in settings.items()}
