"""A fleet around another one, which hands everything on: what watches a fleet overrides what it
watches."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.protocols import Fleet
from ..core.tally import Tally
from ..core.types import Arrays, Conditions, Device, DeviceId, Load, Plan, Result, Wave


@dataclass(slots=True, kw_only=True)
class WrappedFleet:
    """Implements `core.protocols.Fleet` by that of the fleet inside."""

    inner: Fleet

    def roster(self) -> Mapping[DeviceId, Device]:
        return self.inner.roster()

    def conditions(self, number: int) -> Conditions:
        return self.inner.conditions(number)

    def adopt(self, plan: Plan) -> None:
        self.inner.adopt(plan)

    def start(self, wave: Wave) -> int:
        return self.inner.start(wave)

    def collect(self, ticket: int) -> list[Result]:
        return self.inner.collect(ticket)

    def work(self, load: Load) -> None:
        self.inner.work(load)

    def tally(self) -> Tally:
        return self.inner.tally()

    def kept(self) -> Mapping[DeviceId, Arrays]:
        return self.inner.kept()

    def snapshot(self) -> Arrays:
        return self.inner.snapshot()

    def restore(self, kept: Arrays) -> None:
        self.inner.restore(kept)
