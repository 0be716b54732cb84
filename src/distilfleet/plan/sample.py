"""Who takes part in a round: a seeded uniform sample of the roster."""

from dataclasses import dataclass

from ..core.chance import stream
from ..core.types import Conditions, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`per_round` devices in one cluster, drawn from who is enrolled; its cost does not grow with
    the fleet.

    `spare` more are called than needed, so that a round need not wait for its slowest
    (over-selection).
    """

    per_round: int
    seed: int
    spare: int = 0
    minimum: int = 1
    deadline_s: float | None = None

    def plan(self, conditions: Conditions) -> Plan:
        """One cluster of the devices drawn for this round."""
        ids = conditions.ids
        called = min(self.per_round + self.spare, len(ids))
        if called == len(ids):
            chosen = tuple(ids)
        else:
            rows = stream(self.seed, "sample", conditions.round).choice(
                len(ids), called, replace=False
            )
            chosen = tuple(ids[row] for row in rows)
        return Plan(
            clusters=(chosen,),
            goal=min(self.per_round, called) if self.spare else None,
            minimum=min(self.minimum, called),
            deadline_s=self.deadline_s,
        )
