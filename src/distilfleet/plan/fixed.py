"""A cut that somebody chose: the same for every device."""

from dataclasses import dataclass, replace

from ..core.types import Assignment, Conditions, Plan
from .sample import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedCut:
    """Devices as `sample` draws them, in clusters of at most `cluster`, all with one cut."""

    sample: Sample
    cut: int
    bits: int
    cluster: int | None = None
    """Devices that train in parallel; None: all of them."""

    def plan(self, conditions: Conditions) -> Plan:
        drawn = self.sample.plan(conditions)
        devices = tuple(drawn.devices)
        size = self.cluster or max(1, len(devices))
        return replace(
            drawn,
            clusters=tuple(devices[at : at + size] for at in range(0, len(devices), size)),
            assignments={device: Assignment(cut=self.cut, bits=self.bits) for device in devices},
        )
