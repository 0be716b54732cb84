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
    """Options and shares of a cluster's devices, [N] each, in the order of its facts; cost and bound of them all."""

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


def decide(facts: PlanFacts, server: ServerFacts, aim: Aim, beat_cost: float = float("inf")) -> Decision:
    """Raises InfeasibleError for a deadline that cannot be kept. The cost of a sum is one over all devices."""
    if aim.objective == "makespan":
        quickest = least_makespan(facts, server)
        return _sliced(facts, server, quickest.chosen, quickest.slices_s, (quickest.delay_s, quickest.lower_bound_s))
    if aim.objective == "deadline":
        assert aim.deadline_s is not None
        frugal = least_energy(facts, server, aim.deadline_s)
        return _sliced(facts, server, frugal.chosen, frugal.slices_s, (frugal.energy_j, frugal.lower_bound_j))
    terms = Terms.of(facts, server, aim.price, aim.server_price_s_per_j)
    total = least_total(terms, beat_cost=beat_cost)
    up, down, whole = terms.sums(total.chosen)
    return Decision(
        chosen=total.chosen,
        uplink_share=terms.up * terms.up_K[total.chosen] / up[facts.cell],
        downlink_share=terms.down * terms.down_K[total.chosen] / down[facts.cell],
        server_share=terms.server_K[total.chosen] / whole,
        cost=total.cost,
        lower_bound=total.lower_bound,
    )


def equal(facts: PlanFacts, chosen: np.ndarray) -> Decision:
    """These options with equal shares for everybody, at no cost that anyone has proven anything about."""
    share = 1 / facts.per_cell(np.ones(len(facts)))[facts.cell]
    server_share = np.full(len(facts), 1 / len(facts))
    return Decision(
        chosen=chosen, uplink_share=share, downlink_share=share, server_share=server_share, cost=0.0, lower_bound=0.0
    )


def _sliced(
    facts: PlanFacts, server: ServerFacts, chosen: np.ndarray, slices_s: Triple, value: tuple[float, float]
) -> Decision:
    options = facts.options
    up_s, down_s, server_s = slices_s
    return Decision(
        chosen=chosen,
        uplink_share=facts.up_s_per_byte * options.up_bytes[chosen] / up_s,
        downlink_share=facts.down_s_per_byte * options.down_bytes[chosen] / down_s,
        server_share=options.server_flops[chosen] / server.speed_flops_per_s / server_s,
        cost=value[0],
        lower_bound=value[1],
    )
