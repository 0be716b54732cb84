"""What a recipe returns: a complete experiment, built and checked, whatever fleet carries it
out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.protocols import DataOf, Method, Planner
from ..core.types import Dataset, Device, DeviceId
from ..data.spec import DataSpec
from ..data.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What of a run's messages is kept."""

    most: int = 0
    """How many exchanges are kept."""
    ops: tuple[str, ...] = ()
    """The jobs whose exchanges are kept; empty: those of every job."""
    before: str = ""
    """The op of a job that is kept along: the last one that the same device had before."""
    after: str = ""
    """The op of a job whose reply is kept along: the first one that the same device gives after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a simulation makes up; the devices of a real fleet have data and memory of their own."""

    data: DataOf
    """Gives the samples that a device owns."""
    samples: int
    """How many samples all devices own together; what several share counts once."""
    partition: str
    """How the samples were divided among the devices, in words."""
    ignore_memory: bool = False
    """A counterfactual: devices train what they could not hold."""
    notes: tuple[str, ...] = ()
    """What the record says of it besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Everything that training needs except the fleet, which a simulation or a server adds."""

    method: Method[Any]
    planner: Planner
    devices: Mapping[DeviceId, Device]
    """All devices that may take part, in the order of the fleet."""
    server: Device
    """The machine that trains the large model and aggregates."""
    test: Dataset
    """Held-out samples that quality is measured on."""
    rounds: int
    seed: int
    checkpoint_every_s: float
    """Seconds of wall time between checkpoints; 0: each round has one."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The model that devices of a kind train; without an entry they train none."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the record says of models, data and savings, with notes."""
    keep: Keep = Keep()
    """What of the messages is kept for an audit."""
    tokenizer: Tokenizer | None = None
    """The tokenizer of models that take text; it is stored with them."""
    data_spec: DataSpec | None = None
    """What the run means by inputs and labels; real devices map their own files onto it, or
    decline."""
    simulation: Callable[[], Simulation] | None = None
    """Divides the data among simulated devices; a run on a real fleet never calls it."""
