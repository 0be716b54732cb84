"""The seams: what a method, a worker, a fleet and a planner must be able to do."""

from collections.abc import Callable, Mapping
from typing import Protocol

from .tally import Tally
from .types import Arrays, Conditions, Dataset, Device, DeviceId, Job, Load, Metrics, Plan, Result, Round, State, Wave


class Worker(Protocol):
    """The device half of a method."""

    def load(self, job: Job) -> Load:
        """What `handle` will take. Byte counts equal those of the frames, or bound them from above."""
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

    One whose workers can also run side by side has `cohort(workers, jobs)` besides: the same arrays as each worker's
    `handle`, to 1e-5, from one batched computation.
    """

    @property
    def disclosure(self) -> str:
        """What the server, or whoever reads its disks, learns about a device's data; one line."""
        ...

    def init(self, seed: int) -> State:
        """The server's state before the first round."""
        ...

    def round(self, state: State, plan: Plan, conditions: Conditions) -> Round[State]:
        """One round. Sees no clock, no socket and no `Usage`."""
        ...

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        """The device's half, with its own data."""
        ...

    def evaluate(self, state: State, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        """Quality on held-out data; `kept` are the worker snapshots that the fleet can see (simulation: all)."""
        ...

    def models(self, state: State) -> Mapping[str, Arrays]:
        """The trained models by name, ready for export."""
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
    """Facts in, decision out; raises `InfeasibleError`. Must be a pure function of its arguments."""

    def plan(self, conditions: Conditions) -> Plan:
        """Who takes part in the round, and with what."""
        ...


DataOf = Callable[[DeviceId], Dataset]
"""A device's own data, by its name."""
