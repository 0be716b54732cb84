"""The words that two rooms share. Facts are frozen; a lost device is a value; a round is a
generator.

A method describes *what* happens in a round by yielding requests (`Wave`, `Start`, `Collect`,
`Work`) and receiving their results. Where it happens - in virtual time or on real boards - is the
fleet's business, so the same method cannot behave differently in the two worlds.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal, TypeVar

import numpy as np

DeviceId = str
Arrays = Mapping[str, np.ndarray]
"""What travels and what is stored: named numeric arrays, nothing else."""
Metrics = Mapping[str, float]
State = TypeVar("State")

# --- facts ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A device's connection, one figure for each direction."""

    up_bps: float
    down_bps: float
    latency_s: float
    transmit_w: float
    """Extra power while the radio sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One fleet member, or the server: facts, never state."""

    id: DeviceId
    kind: str
    """The row of the catalogue that describes it."""
    speed_flops_per_s: float
    """What it sustains in training: peak times the catalogue's efficiency."""
    memory_bytes: int
    """What a job may use: the board's usable memory, or the quota if that is smaller."""
    memory_bytes_per_s: float
    """How much it moves between memory and processor."""
    idle_w: float
    """The power of the whole board at rest."""
    busy_w: float
    """The power of the whole board at full load."""
    link: Link
    shares_label_counts: bool = False
    """Whether its owner agrees that the server hears how many samples of each class it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What a device finds this round: its radio as if it had its cell to itself, its processor, its
    battery."""

    up_bps: float
    down_bps: float
    cell: int = 0
    """Devices of one cell share its band."""
    slowdown: float = 1.0
    """Seconds that a second of computing takes: heat and other programs."""
    battery_share: float = 1.0
    """The charge of its battery; 1 without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is known at the start of a round."""

    round: int
    devices: Mapping[DeviceId, Device]
    """Who is enrolled, by name."""
    ids: Sequence[DeviceId]
    """The names of those devices, by number, so that drawing from a large fleet costs no more than
    from a small one."""
    channels: Mapping[DeviceId, Channel] = field(default_factory=dict)
    """The channels of devices that share cells; a device that is not here has its own link to
    itself."""
    spent_j: Mapping[DeviceId, float] = field(default_factory=dict)
    """What each device that took part has spent since the run began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a planner decided for one device of a split model, and what it expects of a step."""

    cut: int
    """Layers of the student that the device runs; 0: its embedding module alone."""
    bits: int
    """The size of a smashed number on the wire."""
    teacher_cut: int = 0
    """Layers of the teacher that the device runs."""
    uplink_share: float = 1.0
    """The device's share of its cell's band on the way up."""
    downlink_share: float = 1.0
    """The device's share of its cell's band on the way down."""
    server_share: float = 1.0
    """The device's share of the server's computing."""
    delay_s: float = 0.0
    """How long the planner expects a step to take."""
    energy_j: float = 0.0
    """What the planner expects the device to spend on a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a plan is expected to cost, and a bound below which no plan can come."""

    objective: str
    cost: float
    """What the objective counts, in its own unit; with `lower_bound` the proof of how good the plan
    is."""
    lower_bound: float
    delay_s: float
    """How long one step takes until the last device is done."""
    device_energy_j: float
    server_energy_j: float
    binds: str
    """Where most of the delay is: radio, device or server."""

    @property
    def gap(self) -> float:
        """The relative distance of cost and bound."""
        return (self.cost - self.lower_bound) / self.cost if self.cost > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A planner's decision for one round."""

    clusters: Sequence[Sequence[DeviceId]]
    """Devices of one cluster work in parallel, clusters one after another. Round-based methods use
    one cluster."""
    goal: int | None = None
    """How many answers are enough; the rest of a wave is called off. None: wait for all."""
    minimum: int = 1
    """How many answers a wave must have before its deadline ends it."""
    deadline_s: float | None = None
    assignments: Mapping[DeviceId, Assignment] = field(default_factory=dict)
    """What each device of a split model was given; empty for methods that split none."""
    server_clock_share: float = 1.0
    """The server's clock, as a share of its highest."""
    forecast: Forecast | None = None
    """What a planner of cuts expects; None of other planners."""

    @property
    def devices(self) -> Sequence[DeviceId]:
        """Whoever takes part, cluster by cluster."""
        return [device for cluster in self.clusters for device in cluster]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits that a planner must keep; None is no limit."""

    delay_s: float | None = None
    energy_j: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProfile:
    """What one layer takes for one sample."""

    name: str
    forward_flops: float
    weight_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageProfile:
    """What a decoder takes, per token at a given context; the planner and the simulator see models
    as this alone."""

    name: str
    width: int
    """How many numbers per token go from one layer to the next, the same at every cut."""
    vocabulary: int
    layers: Sequence[LayerProfile]
    """The decoder's layers in order; `forward_flops` and `output_bytes` for one token at `steps`
    tokens of context."""
    steps: int
    """Tokens of context that the figures are for."""
    head_flops: float
    """What the output table takes forward, for one token."""
    embedding_parameters: int
    other_parameters: int
    """Parameters of norms and output table, which belong to no layer; a tied table counts once, in
    the embedding."""
    bytes_per_weight: int = 2

    @property
    def parameters(self) -> int:
        """How many parameters the whole model has."""
        layers = sum(layer.weight_bytes for layer in self.layers) // self.bytes_per_weight
        return layers + self.embedding_parameters + self.other_parameters


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedModel:
    """A model that a run ends with, as its method hands it on."""

    model: Any
    """What builds the module that the weights belong to: an `nn.zoo.Model` or an
    `nn.language.LanguageModel`."""
    weights: Arrays
    size: Literal["large", "small"]
    """What the model counts as in the metrics."""
    distilled_from: tuple[str, ...] = ()
    """Names of the models that taught it; empty for one that learnt from data alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What an agent needs to build its worker: names of installed code and typed settings, never
    code."""

    method: str
    settings: Mapping[str, Any]
    models: Mapping[str, str]
    versions: Mapping[str, str]
    seed: int
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the run means by inputs and labels, by name, as a `data.spec.DataSpec`; empty where it
    does not say."""


PADDING = -1
"""Stands in a `Dataset` of token ids where a window has no token."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Inputs with optional labels, in memory or memory-mapped.

    `inputs` is what devices' models take: float32, [n, features] for tables, [n, channels, steps]
    for series and [n, channels, height, width] for images, or int32 [n, tokens] for text. `labels`
    is int64 [n], or None for a proxy dataset.
    """

    inputs: np.ndarray
    labels: np.ndarray | None = None
    large_inputs: np.ndarray | None = None
    """The same samples in the form that the server's large model takes; None: that is `inputs`."""

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.inputs.shape[1:])

    @property
    def for_large(self) -> "Dataset":
        """The samples as the server's large model takes them."""
        return self if self.large_inputs is None else Dataset(self.large_inputs, self.labels)

    def take(self, rows: np.ndarray) -> "Dataset":
        """These rows, in the order named; copies."""
        return self._each(lambda array: array.take(rows, axis=0))

    def batches(self, size: int) -> Iterator["Dataset"]:
        """All samples in order, the last batch possibly short; views, not copies."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield self._each(itemgetter(rows))

    def _each(self, select: Callable[[np.ndarray], np.ndarray]) -> "Dataset":
        labels = None if self.labels is None else select(self.labels)
        large_inputs = None if self.large_inputs is None else select(self.large_inputs)
        return Dataset(select(self.inputs), labels, large_inputs)


# --- work -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of an announced reply."""

    dtype: str
    shape: tuple[int, ...]
    at_most: bool = False
    """Whether the first axis may be shorter: how many rows there are is known to the device
    alone."""
    least: float = float("-inf")
    """The bound below which no number may be."""
    sums_to_one: bool = False
    """Whether each row, along the last axis, is a distribution."""

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is what was announced."""
        if not self.at_most:
            return shape == self.shape
        return (
            len(shape) == len(self.shape)
            and shape[0] <= self.shape[0]
            and shape[1:] == self.shape[1:]
        )

    @property
    def size_bytes(self) -> int:
        """The size of the array, bounded from above where `at_most`."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The only reply to a job that is let in: these arrays, finite, in range, of a norm no larger
    than `most_norm`."""

    arrays: Mapping[str, ArraySpec]
    most_norm: float = float("inf")
    """The largest Euclidean norm, over all floating-point arrays together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work for one device."""

    id: str
    """A name that is unique in a run, so that a late answer is told from a current one."""
    device: DeviceId
    op: str
    arrays: Arrays
    expected: Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer of a device to a job."""

    job: str
    device: DeviceId
    arrays: Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A device that did not answer, and why: offline, deadline, surplus, memory, or `rejected:
    ...`."""

    job: str
    device: DeviceId
    reason: str


Result = Reply | Missed


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Declared before a job runs. Byte counts are those of the encoded frames."""

    flops: float = 0.0
    moved_bytes: float = 0.0
    """What goes between memory and processor; with `flops` the two sides of a roofline."""
    down_bytes: int = 0
    up_bytes: int = 0
    memory_bytes: int = 0
    """The memory taken at the peak; of two loads one after the other, the larger."""

    def __add__(self, other: "Load") -> "Load":
        return Load(
            flops=self.flops + other.flops,
            moved_bytes=self.moved_bytes + other.moved_bytes,
            down_bytes=self.down_bytes + other.down_bytes,
            up_bytes=self.up_bytes + other.up_bytes,
            memory_bytes=max(self.memory_bytes, other.memory_bytes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Observed after, per job; usages add up. Elapsed time comes from the clock."""

    busy_s: float = 0.0
    energy_j: float = 0.0
    """The energy spent; NaN of a machine whose watts nobody knows."""
    down_bytes: int = 0
    up_bytes: int = 0
    measured: bool = False
    """Whether every part was measured rather than modelled."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            busy_s=self.busy_s + other.busy_s,
            energy_j=self.energy_j + other.energy_j,
            down_bytes=self.down_bytes + other.down_bytes,
            up_bytes=self.up_bytes + other.up_bytes,
            measured=self.measured and other.measured,
        )


# --- requests of a round --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Start these jobs together and wait: until `goal` have answered, or until the deadline if
    `minimum` have.

    The result is one `Reply` or `Missed` per job, in the order of the jobs.
    """

    jobs: Sequence[Job]
    goal: int | None = None
    minimum: int = 1
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """First half of a wave: devices begin, the round goes on. The result is a ticket."""

    wave: Wave


@dataclass(frozen=True, slots=True)
class Collect:
    """Second half of a wave: wait for the jobs of a ticket."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Work:
    """The server's own computation up to here, declared so that simulation can price it; deployment
    times it."""

    load: Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """An answer that was let in but counted for less than those of most devices; for the record."""

    device: DeviceId
    kept: float
    """How much it counted, from 0 to 1, beside the round's median device."""
    by: str
    """The aggregation rule or the check that decided so."""


Request = Wave | Start | Collect | Work | Discount
Answer = list[Result] | int | None
"""What a request gives back: results in job order to a wave or a collect, a ticket to a start, else
nothing."""
Round = Generator[Request, Any, State]


# --- seams ----------------------------------------------------------------------------------------
