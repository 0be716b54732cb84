"""What a recipe returns: a complete experiment, built and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.protocols import DataOf, Fleet, Method, Planner
from ..core.types import Dataset
from ..data.spec import DataSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What of a run's messages is kept."""

    most: int = 0
    """Exchanges."""
    ops: tuple[str, ...] = ()
    """Of these jobs alone; empty: of every job."""
    before: str = ""
    """Op of a job that is kept along: the last one that the same device had before."""
    after: str = ""
    """Op of a job whose reply is kept along: the first one that the same device gives after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What a recipe returns: everything that training needs, built and checked."""

    method: Method[Any]
    fleet: Fleet
    planner: Planner
    test: Dataset
    rounds: int
    seed: int
    checkpoint_every_s: float
    about: Mapping[str, Any] = field(default_factory=dict)
    """For the record: models, data, savings, notes."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For the record: the fleet."""
    keep: Keep = Keep()
    """For an audit: what of the messages is kept."""
    data: DataOf | None = None
    """For an audit of a simulated run: what its devices own."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """To be stored beside the trained models: what they cannot be used without."""
    data_spec: DataSpec | None = None
    """For a real fleet: what the run means by inputs and labels; devices map their own files onto it, or decline."""
