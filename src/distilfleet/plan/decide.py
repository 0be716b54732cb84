"""One cluster at one clock: the objective's solver, and its answer as options and shares.

Axes: N devices.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .deadline import least_energy
from .facts import PlanFacts, ServerFacts
from .makespan import least_makespan
from .slices import Triple
from .terms import Terms
from .total import least_total

Objective = Literal["sum", "makespan", "deadline", "open", "card"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Options and shares of a cluster's devices, [N] each, in the order of its facts; cost and
    bound of them all."""

    chosen: np.ndarray
    uplink_share: np.ndarray
    downlink_share: np.ndarray
    server_share: np.ndarray
    cost: float
    lower_bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a cluster is planned for; prices are in seconds per joule."""

    objective: Objective
    price: np.ndarray
    """What a joule of each device is worth, [N]."""
    server_price_s_per_j: float
    deadline_s: float | None = None


def decide(
    facts: PlanFacts, server: ServerFacts, aim: Aim, beat_cost: float = float("inf")
) -> Decision:
    """Raises InfeasibleError for a deadline that cannot be kept. The cost of a sum is one over all
    devices."""
    if aim.objective == "makespan":
        quickest = least_makespan(facts, server)
        shares = _shares(facts, server, quickest.chosen, quickest.slices_s)
        return Decision(
            chosen=quickest.chosen,
            cost=quickest.delay_s,
            lower_bound=quickest.lower_bound_s,
            **shares,
        )
    if aim.objective == "deadline":
        assert aim.deadline_s is not None
        frugal = least_energy(facts, server, aim.deadline_s)
        shares = _shares(facts, server, frugal.chosen, frugal.slices_s)
        return Decision(
            chosen=frugal.chosen, cost=frugal.energy_j, lower_bound=frugal.lower_bound_j, **shares
        )
    return _least_sum(Terms.of(facts, server, aim.price, aim.server_price_s_per_j), beat_cost)


def _least_sum(terms: Terms, beat_cost: float) -> Decision:
    total = least_total(terms, beat_cost=beat_cost)
    up_sum, down_sum, server_sum = terms.sums(total.chosen)
    cell = terms.facts.cell
    return Decision(
        chosen=total.chosen,
        uplink_share=terms.up * terms.up_K[total.chosen] / up_sum[cell],
        downlink_share=terms.down * terms.down_K[total.chosen] / down_sum[cell],
        server_share=terms.server_K[total.chosen] / server_sum,
        cost=total.cost,
        lower_bound=total.lower_bound,
    )


def equal(facts: PlanFacts, chosen: np.ndarray) -> Decision:
    """These options with equal shares for everybody, at no cost that anyone has proven anything
    about."""
    count = facts.per_cell(np.ones(len(facts)))
    share = 1 / count[facts.cell]
    server_share = np.full(len(facts), 1 / len(facts))
    return Decision(
        chosen=chosen,
        uplink_share=share,
        downlink_share=share,
        server_share=server_share,
        cost=0.0,
        lower_bound=0.0,
    )


def _shares(
    facts: PlanFacts, server: ServerFacts, chosen: np.ndarray, slices_s: Triple
) -> dict[str, np.ndarray]:
    """Shares of cells and server under which what the options take lasts as long as their
    slices."""
    up_s, down_s, server_s = slices_s
    return {
        "uplink_share": facts.sending_s(chosen) / up_s,
        "downlink_share": facts.receiving_s(chosen) / down_s,
        "server_share": server.work_s(facts.options.server_flops[chosen]) / server_s,
    }
