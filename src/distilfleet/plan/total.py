"""The least mean of delay and priced energy: cuts for every device, and shares of cells and server,
all at once.

The cost (`terms`) is convex in its sums S, so Frank and Wolfe's method (1956) with an exact line
search minimises it over mixed choices: each step lets every device pick what is cheapest at the
current prices 2 S, and proves a lower bound for every plan. Rounding walks from one pure choice to
another and stops where it is cheapest.

Axes: N devices, H options of a shortlist, C cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .exact import best_left
from .prune import Shortlist, all_on_the_server, extreme
from .rounding import change_minds, walk
from .terms import Sums, Terms, squared

MOST_TO_POLISH = 2000
"""Devices up to which single changes of mind are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A choice per device, its cost, and what no choice can come below. Costs are sums over the
    fleet."""

    chosen: np.ndarray
    cost: float
    lower_bound: float


def least_total(
    terms: Terms, *, gap: float = 1e-4, steps: int = 60, beat_cost: float = float("inf")
) -> Total:
    """Stops at this relative gap, or when it is proven that `beat_cost` cannot be beaten."""
    search = _Search(terms, extreme(terms.facts))
    for step in range(steps):
        search.advance()
        if search.good(gap) or search.bound > beat_cost:
            break
        if step >= 4:
            search.round()
    if not search.good(gap) and search.bound <= beat_cost:
        search.polish()
    return Total(chosen=search.best, cost=search.cost, lower_bound=min(search.bound, search.cost))


class _Search:
    """Mixed sums, the best pure choice so far, and the best bound."""

    def __init__(self, terms: Terms, shortlist: Shortlist) -> None:
        self.terms = terms
        self.shortlist = shortlist
        self.chosen = all_on_the_server(terms.facts, shortlist)
        self.value = np.empty(len(terms.facts))
        self.best = self.chosen.copy()
        self.cost = terms.cost(self.chosen)
        self.bound = -np.inf
        self.sums = terms.sums(self.chosen)
        self.own = float(terms.own_cost(self.chosen).sum())

    def good(self, gap: float) -> bool:
        return self.cost - self.bound <= gap * self.cost

    def advance(self) -> None:
        """One step of Frank and Wolfe: respond to the prices, take over bound and choice, mix them
        in."""
        self._respond()
        self.bound = max(self.bound, float(self.value.sum()) - squared(self.sums))
        sums = self.terms.sums(self.chosen)
        own = float(self.terms.own_cost(self.chosen).sum())
        self._offer(self.chosen, own + squared(sums))
        self._mix_in(sums, own)

    def _mix_in(self, sums: Sums, own_cost: float) -> None:
        """Move the mixed choice towards this one, as far as the cost on the line between them
        falls."""
        steps = [new - old for new, old in zip(sums, self.sums, strict=True)]
        share = self._best_share(steps, own_cost)
        up, down, server = (old + share * step for old, step in zip(self.sums, steps, strict=True))
        self.sums = (up, down, server)
        self.own += share * (own_cost - self.own)

    def _best_share(self, steps: Sequence[np.ndarray], own_cost: float) -> float:
        """How far along the step the cost is least: it is a parabola there."""
        curve = sum(float(step @ step) for step in steps)
        if curve <= 0:
            return 1.0
        along = sum(float(old @ step) for old, step in zip(self.sums, steps, strict=True))
        slope = own_cost - self.own + 2 * along
        return min(max(-slope / (2 * curve), 0.0), 1.0)

    def _respond(self) -> None:
        """Every device takes what is cheapest at the prices of the mixed sums."""
        for devices, g in self.terms.facts.groups:
            rows = self.shortlist[g]
            values_HN = self.values(devices, g)
            if len(rows) == 1:
                self.chosen[devices] = rows[0]
                self.value[devices] = values_HN[0]
                continue
            self.chosen[devices] = rows[values_HN.argmin(axis=0)]
            self.value[devices] = values_HN.min(axis=0)

    def values(self, devices: slice, g: int) -> np.ndarray:
        """Cost of each option of the shortlist at current prices, [H, N]."""
        terms = self.terms
        rows = self.shortlist[g]
        up, down = self._prices(devices)
        server = 2 * self.sums[2] * terms.server_K[rows] + terms.server_own_K[rows]
        values = np.multiply.outer(terms.facts.seconds_GK[g, rows], terms.own[devices])
        values += np.multiply.outer(terms.up_K[rows], up)
        values += np.multiply.outer(terms.down_K[rows], down)
        values += np.multiply.outer(terms.facts.options.up_bytes[rows], terms.sent[devices])
        values += server[:, None]
        values += terms.fixed[devices]
        return np.asarray(values)

    def _prices(self, devices: slice) -> tuple[np.ndarray, np.ndarray]:
        """What the root of a byte up and down costs these devices: twice the sum of their cell."""
        cell = self.terms.facts.cell[devices]
        up_sum, down_sum, _ = self.sums
        return 2 * up_sum[cell] * self.terms.up[devices], 2 * down_sum[cell] * self.terms.down[
            devices
        ]

    def round(self) -> None:
        """The best of the choices on a walk from the best one to the latest one."""
        self._accept(walk(self.terms, self.best, self.chosen))

    def polish(self) -> None:
        """Single devices change their minds, the most useful first; then all choices that are left
        open are tried."""
        if len(self.terms.facts) <= MOST_TO_POLISH:
            self._accept(change_minds(self.terms, self.best, self.shortlist))
        self._respond()
        bound = float(self.value.sum()) - squared(self.sums)
        found = best_left(self.terms, self.left_open(self.cost - bound))
        if found is not None:
            self._accept(found)
            self.bound = self.cost

    def left_open(self, room_cost: float) -> list[np.ndarray]:
        """The options that each device may have in a better plan than the best: those not dearer
        than this."""
        rows: list[np.ndarray] = []
        for devices, g in self.terms.facts.groups:
            spare_HN = self.values(devices, g) - self.value[devices]
            rows += [self.shortlist[g][column <= room_cost * (1 + 1e-9)] for column in spare_HN.T]
        return rows

    def _accept(self, chosen: np.ndarray) -> None:
        self._offer(chosen, self.terms.cost(chosen))

    def _offer(self, chosen: np.ndarray, cost: float) -> None:
        if cost < self.cost:
            self.best = chosen.copy()
            self.cost = cost
