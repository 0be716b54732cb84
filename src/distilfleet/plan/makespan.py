"""The earliest moment by which every device of a cluster can be done with its step.

The question. Each device picks an option (its cuts and bits), which fixes what it computes itself
and what it needs of things that are shared: the uplink and the downlink of its cell, and the
server. A plan also cuts each shared thing into slices. The makespan is when the last device is
done. Choosing options and slices at once is a mixed-integer program; with ten thousand devices
and a hundred options it is far too large for a solver, yet a plan is wanted in milliseconds.

Two sides that close in on each other. The search holds a plan (`best`, done by `delay_s`) and a
proof (`bound_s`, before which no plan is done). It stops when the two are within a relative gap.

The proof. Give every shared thing a price l, and ask whether all can be done by a deadline T. A
device that computes for t seconds has T - t left, and can then do with no less of what is priced
than `slices` says, whatever its slices; each device takes the option for which that is least, so
devices do not depend on each other any more. If the sum over devices exceeds the sum of all
prices - more than is there of everything - no plan is done by T (weak duality). That holds for
any prices and any T, so nothing below can make the bound wrong, only slack.

The plan. The same answers, read as slices, use some things more than once and others less.
Stretching each device's slices by how much its cell and the server are overused makes them a
plan, and its makespan is `delay_s` if it is the best so far.

The iteration (`advance`). At the present prices and deadline, answer for all devices, and take
over plan and, where T is refuted, bound. Then

- prices move: what is used too much gets dearer, what is used too little cheaper
  (multiplicatively, with an exponent that falls from step to step; the sum of prices stays one,
  since only their ratio matters to the proof);
- the deadline moves by a step of Newton's method towards the T at which use equals the prices
  (`excess` is 0, `slope` is its derivative), kept between the bound and the best plan.

A deadline at which some device has no time left at all is impossible by itself: it becomes the
bound and T grows by 5 %.

Two finishing moves, since prices that prove much are not always prices that plan well:

- `relieve`: a cell that does not bind has next to no price, so its devices waver between two
  options and overuse it. Starting a little above the bound, prices only rise where use is above
  one, until those devices have made up their minds. Nothing else changes, and no bound is drawn
  from it;
- `settle`: with the options of the best plan held (`slices.held`), use is a smooth function of
  prices, and a few more steps find better slices for it.

What is left out. A device that has a cell to itself shares nothing there: its radio time is its
own, and it enters as time that no share changes (`Roots.alone_s`). With many devices only options
on the convex hull are tried (`prune`): the bound needs no others, and below `SMALL` devices the
rest may still make a better plan.

`deadline` minimises energy with the same machinery at a fixed T, where prices are in joules. The
derivation is in docs/design/0008.

Axes: N devices, C cells.
"""

from dataclasses import dataclass

import numpy as np

from .facts import PlanFacts, ServerFacts
from .prune import Shortlist, all_on_the_server, extreme, undominated
from .slices import Roots, Slices, Triple, held, slices

LEAST_PRICE = 1e-10
SMALL = 500
"""Number of devices up to which options that no bound needs are tried as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Makespan:
    """Options and slices of the whole cell or server in seconds, the time they take, and what none
    comes below."""

    chosen: np.ndarray
    slices_s: Triple
    delay_s: float
    lower_bound_s: float


def least_makespan(
    facts: PlanFacts, server: ServerFacts, *, gap: float = 8e-3, steps: int = 150
) -> Makespan:
    """Stops at this relative gap between the plan and its bound."""
    search = Search(
        Roots.of(facts, server), undominated(facts) if len(facts) <= SMALL else extreme(facts)
    )
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
        self.roots = roots
        self.shortlist = shortlist
        self.alone_s = self._quickest_alone_s()
        self.best = np.zeros(0, int)
        self.delay_s = np.inf
        self.bound_s = self.alone_s
        self.slices_s: Triple = (np.zeros(0),) * 3
        self.prices, self.deadline_s = self._start()
        self.best_prices = self.prices

    def _quickest_alone_s(self) -> float:
        """What the slowest device takes under its quickest option if nothing is shared."""
        quickest_s = []
        for devices, g in self.roots.facts.groups:
            taken_HN = -self.roots.left_s(0.0, devices, g, self.shortlist[g])
            quickest_s.append(float(taken_HN.min(axis=0).max()))
        return max(quickest_s)

    def _start(self) -> tuple[Triple, float]:
        """All on the server: each cell and the server at the price of its queue."""
        queues = self.roots.sums(all_on_the_server(self.roots.facts, self.shortlist))
        longest_s = max(float((queue**2).max(initial=0.0)) for queue in queues)
        return _normalised(queues), self.alone_s + longest_s

    def good(self, gap: float) -> bool:
        """Whether plan and bound are within this relative gap."""
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
        newton_s = now.excess / now.slope
        step_s = float(np.clip(newton_s, -0.2 * self.deadline_s, 0.5 * self.deadline_s))
        sooner_s = min(self.deadline_s + step_s, self.delay_s)
        return max(sooner_s, self.bound_s, 1.0001 * self.alone_s)

    def _learn(self, now: Slices) -> Triple:
        """Take over the stretched plan if it is the best so far."""
        usage = now.usage()
        stretched = now.stretched(usage)
        done_s = self.roots.before_s(now.chosen) + sum(stretched)
        delay_s = float(done_s.max())
        if delay_s < self.delay_s:
            self.best = now.chosen.copy()
            self.delay_s = delay_s
            self.slices_s = stretched
            self.best_prices = now.prices
        return usage

    def relieve(self, gap: float, steps: int = 30) -> None:
        """A little later than the bound, make what is used too much dearer and nothing cheaper.

        A cell that does not bind has next to no price, at which its devices waver between two
        options; a price that only rises makes up their minds and costs nothing elsewhere.
        """
        prices = self.prices
        for _ in range(steps):
            now = slices(self.roots, self.shortlist, self.bound_s * (1 + 0.7 * gap), prices)
            if not now.possible or self.good(gap):
                return
            prices = _dearer(prices, self._learn(now))

    def settle(self, gap: float, steps: int = 40) -> None:
        """Better prices for the options of the best plan, which are smooth to find."""
        chosen = self.best
        self.prices = self.best_prices
        self.deadline_s = self.delay_s
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
        """The best plan, with the slices of devices that have a cell to themselves."""
        bound_s = min(self.bound_s, self.delay_s)
        slices_s = self.roots.with_alone(self.best, self.slices_s)
        return Makespan(
            chosen=self.best, slices_s=slices_s, delay_s=self.delay_s, lower_bound_s=bound_s
        )


def moved(prices: Triple, usage: Triple, exponent: float) -> Triple:
    """What is used too much gets dearer; the sum of all prices stays one."""
    return _normalised(moved_freely(prices, usage, exponent))


def moved_freely(prices: Triple, usage: Triple, exponent: float) -> Triple:
    """What is used too much gets dearer, what is used too little cheaper."""
    up, down, server = (
        _moved(price, used, exponent) for price, used in zip(prices, usage, strict=True)
    )
    return up, down, server


def _moved(price: np.ndarray, used: np.ndarray, exponent: float) -> np.ndarray:
    return np.asarray(np.maximum(price * np.clip(used, 0.1, 10) ** exponent, LEAST_PRICE))


def _dearer(prices: Triple, usage: Triple) -> Triple:
    up, down, server = (
        price * np.clip(used, 1, 10) ** 1.5 for price, used in zip(prices, usage, strict=True)
    )
    return up, down, server


def _normalised(prices: Triple) -> Triple:
    total = sum(float(price.sum()) for price in prices)
    up, down, server = (np.maximum(price / total, LEAST_PRICE) for price in prices)
    return up, down, server
