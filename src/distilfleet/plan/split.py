"""The planner of split models: who cuts where, with which share of cell and server, at which clock,
beside whom.

It remembers nothing: a round's plan follows from the round's conditions, what devices have spent
among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from ..core.errors import ConfigError, InfeasibleError
from ..core.types import Assignment, Budget, Conditions, Device, DeviceId, Forecast, Plan
from .card import Card, card
from .clusters import capacity, runs
from .decide import Aim, Decision, Objective, decide, equal
from .facts import Roster, ServerFacts, part, roster_of
from .limits import Limits, check_channels, reached, within
from .makespan import least_makespan
from .open import owed_j
from .options import Options
from .sample import Sample
from .stages import Stages, joined, stages

CLOCKS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Steps of the server's clock, as shares of its highest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlanner:
    """Plans a round of a split model, for whoever is in its conditions.

    Objectives: `sum`, the mean of delay and priced energy; `makespan`, the earliest end of a step;
    `deadline`, least energy within `budget.delay_s`; `open`, least delay while each device spends
    `budget.energy_j` per step in the long run; `card`, the published reference. In the first three,
    `budget.energy_j` is what a device spends in a step at most, above idling.
    """

    options: Options
    server: Device
    objective: Objective = "sum"
    budget: Budget = field(default_factory=Budget)
    privacy_floor: int = 0
    """Least cut of the student."""
    price_s_per_j: float = 0.02
    """Seconds that a joule is worth, of devices and server alike."""
    delay_weight: float = 100.0
    """V of `open`, in joules of debt times joules per second: higher waits less and owes more."""
    steps: int = 1
    """Steps of a round; budgets are per step."""
    clocks: Sequence[float] = CLOCKS
    cluster: int | None = None
    """Devices side by side at most; None: as many as the server's memory holds."""
    outage: Literal["refuse", "leave out"] = "refuse"
    """What to do with a device without a channel; a round without any device is refused in any
    case."""
    sample: Sample | None = None
    """Who takes part; None: everybody."""

    def plan(self, conditions: Conditions) -> Plan:
        """Raises InfeasibleError, which says which device, which limit, by how much, and what to
        do.

        A round that nobody can be reached in has no device, where outage means leaving out.
        """
        if self.outage == "leave out" and not reached(conditions):
            return Plan(clusters=())
        if self.sample is None:
            return self._plan(conditions)
        drawn = self.sample.plan(conditions)
        plan = self._plan(replace(conditions, ids=drawn.devices))
        return replace(plan, goal=drawn.goal, minimum=drawn.minimum, deadline_s=drawn.deadline_s)

    def _plan(self, conditions: Conditions) -> Plan:
        roster = self.roster(conditions)
        if self.objective == "card":
            return self._card(roster)
        rosters = self.clusters(roster)
        best = self._best_clock(rosters, self._debts_j(conditions))
        scale = len(roster.ids) if self.objective in ("sum", "open") else 1
        value = _Value(self.objective, best.cost / scale, best.lower_bound / scale)
        return _plan(rosters, best.server, best.decisions, value)

    def _best_clock(
        self, rosters: Sequence[Roster], debts_j: Mapping[DeviceId, float]
    ) -> "_AtClock":
        """The cheapest of the clocks, with the least bound of all of them. Raises InfeasibleError
        if none will do."""
        best: _AtClock | None = None
        bound = np.inf
        refused = None
        for server in self._servers():
            try:
                beat_cost = best.cost if best else np.inf
                found = _AtClock.of(server, self._decide(rosters, server, debts_j, beat_cost))
            except InfeasibleError as error:
                refused = refused or error
                continue
            bound = min(bound, found.lower_bound)
            if best is None or found.cost < best.cost:
                best = found
        if best is None:
            raise refused or InfeasibleError("the server has no clock to run at: name at least one")
        return replace(best, lower_bound=bound)

    def roster(self, conditions: Conditions) -> Roster:
        """The round's devices in columns, with the options that memory, privacy and budget leave
        them."""
        there = reached(conditions) if self.outage == "leave out" else []
        if not there:
            check_channels(conditions)
        devices = [conditions.devices[one] for one in there or conditions.ids]
        if not devices:
            raise InfeasibleError(f"round {conditions.round} has no device to plan for")
        roster = roster_of(devices, conditions.channels, self.options)
        hard_j = None if self.objective in ("open", "card") else self.budget.energy_j
        return within(roster, Limits(privacy_floor=self.privacy_floor, energy_j=hard_j))

    def stages(self, conditions: Conditions, plan: Plan) -> tuple[list[DeviceId], Stages]:
        """Seconds and joules by stage that a plan means for these conditions, in the order of the
        devices named."""
        roster = self.roster(replace(conditions, ids=plan.devices))
        row = {device: n for n, device in enumerate(roster.ids)}
        server = ServerFacts.of(self.server, plan.server_clock_share)
        ids: list[DeviceId] = []
        seen = []
        for cluster in plan.clusters:
            some = part(roster, np.sort([row[device] for device in cluster]))
            ids += some.ids
            seen.append(stages(some.facts, server, self._recall(some, plan.assignments)))
        return ids, joined(seen)

    def _recall(self, roster: Roster, assignments: Mapping[DeviceId, Assignment]) -> Decision:
        given = [assignments[device] for device in roster.ids]
        choices = [(one.teacher_cut, one.cut, one.bits) for one in given]
        row = {choice: self.options.find(*choice) for choice in set(choices)}
        return Decision(
            chosen=np.array([row[choice] for choice in choices]),
            uplink_share=np.array([one.uplink_share for one in given]),
            downlink_share=np.array([one.downlink_share for one in given]),
            server_share=np.array([one.server_share for one in given]),
            cost=0.0,
            lower_bound=0.0,
        )

    def _debts_j(self, conditions: Conditions) -> Mapping[DeviceId, float]:
        """Beyond the long-run budget, by the devices that have one."""
        if self.objective != "open":
            return {}
        if self.budget.energy_j is None:
            raise ConfigError(
                "the objective open needs energy to keep to: set it in the budget, per step"
            )
        return owed_j(
            conditions.spent_j, self.budget.energy_j * self.steps * (conditions.round - 1)
        )

    def _servers(self) -> list[ServerFacts]:
        """The server at each clock worth trying; nothing but the highest is quickest."""
        clocks = sorted(self.clocks, reverse=True)
        if self.objective == "makespan":
            clocks = clocks[:1] or [1.0]
        return [ServerFacts.of(self.server, clock) for clock in clocks]

    def clusters(self, roster: Roster) -> list[Roster]:
        """Who runs side by side, one cluster after the other. Raises InfeasibleError."""
        most = capacity(roster.facts, ServerFacts.of(self.server))
        most = min(most, self.cluster) if self.cluster else most
        if len(roster.ids) <= most:
            return [roster]
        facts = roster.facts
        first = np.argmax(facts.allowed_GK, axis=1)[facts.kind]
        sending_s = facts.up_s_per_byte * facts.options.up_bytes[first]
        return [part(roster, rows) for rows in runs(facts.computing_s(first) + sending_s, most)]

    def _decide(
        self,
        rosters: Sequence[Roster],
        server: ServerFacts,
        debts_j: Mapping[DeviceId, float],
        beat_cost: float,
    ) -> list[Decision]:
        deadlines_s = self._deadlines_s(rosters, server)
        beat_cost = beat_cost if len(rosters) == 1 else float("inf")
        aims = [
            self._aim(one, debts_j, until_s)
            for one, until_s in zip(rosters, deadlines_s, strict=True)
        ]
        return [
            decide(one.facts, server, aim, beat_cost)
            for one, aim in zip(rosters, aims, strict=True)
        ]

    def _aim(
        self, roster: Roster, debts_j: Mapping[DeviceId, float], deadline_s: float | None
    ) -> Aim:
        price = np.full(len(roster.ids), self.price_s_per_j)
        server_price = self.price_s_per_j
        if self.objective == "open":
            owed_j = np.array([debts_j.get(device, 0.0) for device in roster.ids])
            price = owed_j / self.delay_weight
            server_price = 0.0
        return Aim(
            objective=self.objective,
            price=price,
            server_price_s_per_j=server_price,
            deadline_s=deadline_s,
        )

    def _deadlines_s(self, rosters: Sequence[Roster], server: ServerFacts) -> list[float | None]:
        """Deadlines of clusters one after the other, in proportion to what each needs."""
        if self.objective != "deadline":
            return [None] * len(rosters)
        if self.budget.delay_s is None:
            raise ConfigError("the objective deadline needs a delay to keep: set one in the budget")
        if len(rosters) == 1:
            return [self.budget.delay_s]
        needed = [least_makespan(one.facts, server).delay_s for one in rosters]
        return [self.budget.delay_s * one / sum(needed) for one in needed]

    def _card(self, roster: Roster) -> Plan:
        """Turns of one device each. A plan has one clock: the mean of the published ones, weighted
        by work."""
        found = card(roster.facts, self.server, lowest_share=min(self.clocks))
        clock = _mean_clock(found, roster.facts.options.server_flops[found.chosen])
        turns = [part(roster, np.array([n])) for n in range(len(roster.ids))]
        decisions = [equal(one.facts, found.chosen[[n]]) for n, one in enumerate(turns)]
        value = _Value("card", float(found.delay_s.mean()), 0.0)
        return _plan(turns, ServerFacts.of(self.server, clock), decisions, value)


def _mean_clock(found: Card, work: np.ndarray) -> float:
    """Weighted by the server's work for each device; the highest where there is none."""
    if not work.any():
        return 1.0
    return float((found.clock * work).sum() / max(work.sum(), 1e-300))


@dataclass(frozen=True, slots=True)
class _Value:
    """What a plan costs by its objective, and what none costs less than."""

    objective: str
    cost: float
    lower_bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtClock:
    """The decisions at one clock of the server; costs and bounds add up over clusters."""

    server: ServerFacts
    decisions: Sequence[Decision]
    cost: float
    lower_bound: float

    @staticmethod
    def of(server: ServerFacts, decisions: Sequence[Decision]) -> "_AtClock":
        cost = sum(one.cost for one in decisions)
        lower_bound = sum(one.lower_bound for one in decisions)
        return _AtClock(server=server, decisions=decisions, cost=cost, lower_bound=lower_bound)


def _plan(
    rosters: Sequence[Roster], server: ServerFacts, decisions: Sequence[Decision], value: _Value
) -> Plan:
    seen = [
        stages(one.facts, server, decision)
        for one, decision in zip(rosters, decisions, strict=True)
    ]
    assignments: dict[DeviceId, Assignment] = {}
    for one, decision, stage in zip(rosters, decisions, seen, strict=True):
        assignments |= _assignments(one, decision, stage)
    return Plan(
        clusters=[tuple(one.ids) for one in rosters],
        assignments=assignments,
        server_clock_share=server.clock_share,
        forecast=_forecast(seen, value),
    )


def _forecast(seen: Sequence[Stages], value: _Value) -> Forecast:
    every = joined(seen)
    return Forecast(
        objective=value.objective,
        cost=float(value.cost),
        lower_bound=float(min(value.lower_bound, value.cost)),
        delay_s=sum(float(stage.delay_s.max()) for stage in seen),
        device_energy_j=float(every.device_j.sum()),
        server_energy_j=float(every.server_j.sum()),
        binds=every.binds,
    )


def _assignments(roster: Roster, decision: Decision, seen: Stages) -> dict[DeviceId, Assignment]:
    options = roster.facts.options
    chosen = decision.chosen
    columns = {
        "cut": options.cut[chosen],
        "bits": options.bits[chosen],
        "teacher_cut": options.teacher_cut[chosen],
        "uplink_share": np.minimum(decision.uplink_share, 1.0),
        "downlink_share": np.minimum(decision.downlink_share, 1.0),
        "server_share": np.minimum(decision.server_share, 1.0),
        "delay_s": seen.delay_s,
        "energy_j": seen.device_j,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    given = (Assignment(**dict(zip(columns, row, strict=True))) for row in rows)
    return dict(zip(roster.ids, given, strict=True))
