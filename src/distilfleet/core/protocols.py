"""The seams: what a method, a worker, a fleet and a planner must be able to do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from .tally import Tally
from .types import (
    Arrays,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Job,
    Load,
    Metrics,
    Plan,
    Result,
    Round,
    State,
    TrainedModel,
    Wave,
)

DisclosureClass = Literal[
    "everything",
    "weights",
    "weights and control variates",
    "answers on proxy data",
    "answers on public text",
    "smashed data",
    "noisy smashed data",
    "sample counts",
]
"""The kinds of thing that leave a device; a run's page says what each of them gives away."""
SMASHED: tuple[DisclosureClass, ...] = ("smashed data", "noisy smashed data")
"""What split models send, which the server may look up in its tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFacts:
    """What the product must know of a method, as a run sets it; the run's record keeps it and its
    page shows it."""

    title: str
    """The method's name in headlines."""
    story: tuple[str, ...]
    """Sentences for people on what a round does; `$devices` stands for the devices that take part
    in one."""
    discloses: DisclosureClass
    """The most telling kind of thing that leaves a device."""
    disclosure: str
    """What the server, or whoever reads its disks, learns about a device's data; one line."""
    label_counts: bool = False
    """Whether label counts leave devices too, where their owners agree."""
    frozen_teacher: bool = False
    """Whether the large model is a teacher that stays as it is, and the small one its only
    student."""
    pretrained: bool = False
    """Whether a model knows something before round 1, so that round 0 is evaluated and recorded."""
    real_fleet: bool = True
    """Whether agents may be asked to build the method's workers."""


class Worker(Protocol):
    """The device half of a method."""

    def load(self, job: Job) -> Load:
        """What `handle` will take. Byte counts equal those of the frames, or bound them from
        above."""
        ...

    def handle(self, job: Job) -> Arrays:
        """Do the job; the arrays of its reply."""
        ...

    def snapshot(self) -> Arrays:
        """Everything that the device keeps between rounds; empty if it keeps nothing."""
        ...

    def restore(self, kept: Arrays) -> None:
        """Go on from what `snapshot` gave."""
        ...


class Method(Protocol[State]):
    """A federated method, both halves: the server's rounds and the device's worker.

    One whose workers can also run side by side has `cohort(workers, jobs)` besides: the same arrays
    as each worker's `handle`, to 1e-5, from one batched computation. One whose devices end a run
    with a model has `device_model(kind)`: its name among `models`, for a device of this kind, or an
    empty string where the device has learnt its own. Its workers then have `own_model(received)`,
    which gives that `TrainedModel`, of the weights received where the server has them.
    """

    @property
    def facts(self) -> MethodFacts:
        """What the product must know of the method as it is set here; nothing else names
        methods."""
        ...

    def init(self, seed: int) -> State:
        """The server's state before the first round."""
        ...

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        """One round. Sees no clock, no socket and no `Usage`.

        The state that it was given stays as it was, or is used up where it holds arrays that lie
        where the server computes: those say so when they are read again.
        """
        ...

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        """The device's half, with its own data."""
        ...

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        """Quality on held-out data; `kept` are the worker snapshots that the fleet can see
        (simulation: all)."""
        ...

    def models(self, state: State) -> Mapping[str, TrainedModel]:
        """The models that the server has at the end of a run, by name."""
        ...


class Fleet(Protocol):
    """Whatever can run jobs. A simulated fleet prices them, a real one measures."""

    def roster(self) -> Mapping[DeviceId, Device]:
        """Who is enrolled, whether connected or not; sampling draws from it."""
        ...

    def conditions(self, number: int) -> Conditions:
        """What is known at the start of this round."""
        ...

    def adopt(self, plan: Plan) -> None:
        """Give devices and server the shares and the clock of a plan, until the next one."""
        ...

    def start(self, wave: Wave) -> int:
        """Hand out the jobs of a wave; the ticket to collect it with."""
        ...

    def collect(self, ticket: int) -> list[Result]:
        """Wait for a wave that was started: a reply or a miss for each job, in their order."""
        ...

    def work(self, load: Load) -> None:
        """The server has computed this much since it was last said."""
        ...

    def tally(self) -> Tally:
        """What was taken since the last call; counting then starts anew."""
        ...

    def kept(self) -> Mapping[DeviceId, Arrays]:
        """Worker snapshots that can be seen from here."""
        ...

    def snapshot(self) -> Arrays:
        """Everything that the fleet needs to go on after a restart."""
        ...

    def restore(self, kept: Arrays) -> None:
        """Go on from what `snapshot` gave."""
        ...


class Planner(Protocol):
    """Facts in, decision out; raises `InfeasibleError`. Must be a pure function of its
    arguments."""

    def plan(self, conditions: Conditions) -> Plan:
        """Who takes part in the round, and with what."""
        ...


DataOf = Callable[[DeviceId], Dataset]
"""A device's own data, by its name."""
