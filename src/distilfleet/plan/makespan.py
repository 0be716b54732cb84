"""The earliest moment by which every device of a cluster can be done with its step.

For prices l of cells and server, the largest T that the devices' least use refutes (`slices`) is a lower bound on the
makespan of every plan. Prices rise with their use and T follows by Newton's method; the slices of every iterate,
stretched so that nothing is used more than once, are a plan.

Axes: N devices, C cells.
"""

from dataclasses import dataclass

import numpy as np

from .facts import PlanFacts, ServerFacts
from .prune import Shortlist, extreme, undominated
from .slices import Roots, Slices, Triple, held, slices

LEAST_PRICE = 1e-10
SMALL = 500
"""Number of devices up to which options that no bound needs are tried as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Makespan:
    """Options and slices of the whole cell or server in seconds, the time they take, and what none comes below."""

    chosen: np.ndarray
    slices_s: Triple
    delay_s: float
    lower_bound_s: float


def least_makespan(facts: PlanFacts, server: ServerFacts, *, gap: float = 8e-3, steps: int = 150) -> Makespan:
    """Stops at this relative gap between the plan and its bound."""
    search = Search(Roots.of(facts, server), undominated(facts) if len(facts) <= SMALL else extreme(facts))
    for step in range(steps):
        if search.good(gap):
            break
        search.advance(1.8 / (1 + step / 150))
        if step % 40 == 39:
            search.relieve(gap)
    search.settle(gap)
    return search.result()


class Search:
    """Prices, the deadline in question, the best plan so far and the best bound."""

    def __init__(self, roots: Roots, shortlist: Shortlist) -> None:
        self.roots, self.shortlist = roots, shortlist
        facts = roots.facts
        quickest = [(-roots.left_s(0.0, devices, g, shortlist[g])).min(axis=0).max() for devices, g in facts.groups]
        self.alone_s = float(max(quickest))
        self.best, self.delay_s, self.bound_s = np.zeros(0, int), np.inf, self.alone_s
        self.slices_s: Triple = (np.zeros(0),) * 3
        self.prices, self.deadline_s = self._start()
        self.best_prices = self.prices

    def _start(self) -> tuple[Triple, float]:
        """All on the server: each cell and the server at the price of its queue."""
        facts, roots = self.roots.facts, self.roots
        chosen = np.empty(len(facts), int)
        for devices, g in facts.groups:
            chosen[devices] = self.shortlist[g][facts.seconds_GK[g, self.shortlist[g]].argmin()]
        up, down = facts.per_cell(roots.up * roots.up_K[chosen]), facts.per_cell(roots.down * roots.down_K[chosen])
        server = roots.server_K[chosen].sum(keepdims=True)
        longest_s = max(float((part**2).max(initial=0.0)) for part in (up, down, server))
        return _normalised((up, down, server)), self.alone_s + longest_s

    def good(self, gap: float) -> bool:
        return self.bound_s >= (1 - gap) * self.delay_s

    def advance(self, exponent: float) -> None:
        """Look at a deadline, learn from it, and move prices and deadline."""
        now = slices(self.roots, self.shortlist, self.deadline_s, self.prices)
        if not now.possible:
            self.bound_s = max(self.bound_s, self.deadline_s)
            self.deadline_s *= 1.05
            return
        usage = self._learn(now)
        if now.excess > 0:
            self.bound_s = max(self.bound_s, self.deadline_s)
        self.prices = moved(self.prices, usage, exponent)
        self.deadline_s = self._next(now)

    def _next(self, now: Slices) -> float:
        step_s = float(np.clip(now.excess / now.slope, -0.2 * self.deadline_s, 0.5 * self.deadline_s))
        return max(min(self.deadline_s + step_s, self.delay_s), self.bound_s, 1.0001 * self.alone_s)

    def _learn(self, now: Slices, prices: Triple | None = None) -> Triple:
        """Take over the stretched plan if it is the best so far."""
        usage = now.usage()
        stretched = now.stretched(usage)
        delay_s = float((self.roots.before_s(now.chosen) + sum(stretched)).max())
        if delay_s < self.delay_s:
            self.best, self.delay_s, self.slices_s = now.chosen.copy(), delay_s, stretched
            self.best_prices = prices or self.prices
        return usage

    def relieve(self, gap: float, steps: int = 30) -> None:
        """A little later than the bound, make what is used too much dearer and nothing cheaper.

        A cell that does not bind has next to no price, at which its devices waver between two options; a price that
        only rises makes up their minds and costs nothing elsewhere.
        """
        prices = self.prices
        for _ in range(steps):
            now = slices(self.roots, self.shortlist, self.bound_s * (1 + 0.7 * gap), prices)
            if not now.possible or self.good(gap):
                return
            prices = _dearer(prices, self._learn(now, prices))

    def settle(self, gap: float, steps: int = 40) -> None:
        """Better prices for the options of the best plan, which are smooth to find."""
        chosen, self.prices, self.deadline_s = self.best, self.best_prices, self.delay_s
        for step in range(steps):
            if self.good(gap):
                return
            now = held(self.roots, chosen, self.deadline_s, self.prices)
            if not now.possible:
                return
            usage = self._learn(now)
            self.deadline_s = max(self._next(now), self.bound_s)
            self.prices = moved(self.prices, usage, 1.2 / (1 + step / 25))

    def result(self) -> Makespan:
        bound_s = min(self.bound_s, self.delay_s)
        slices_s = self.roots.with_alone(self.best, self.slices_s)
        return Makespan(chosen=self.best, slices_s=slices_s, delay_s=self.delay_s, lower_bound_s=bound_s)


def moved(prices: Triple, usage: Triple, exponent: float) -> Triple:
    """What is used too much gets dearer; the sum of all prices stays one."""
    return _normalised(moved_freely(prices, usage, exponent))


def moved_freely(prices: Triple, usage: Triple, exponent: float) -> Triple:
    """What is used too much gets dearer, what is used too little cheaper."""
    up, down, server = (
        np.maximum(p * np.clip(u, 0.1, 10) ** exponent, LEAST_PRICE) for p, u in zip(prices, usage, strict=True)
    )
    return up, down, server


def _dearer(prices: Triple, usage: Triple) -> Triple:
    up, down, server = (p * np.clip(u, 1, 10) ** 1.5 for p, u in zip(prices, usage, strict=True))
    return up, down, server


def _normalised(prices: Triple) -> Triple:
    total = sum(float(price.sum()) for price in prices)
    up, down, server = (np.maximum(price / total, LEAST_PRICE) for price in prices)
    return up, down, server
