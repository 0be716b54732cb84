"""The least energy with which every device of a cluster is done by a deadline.

The prices of `makespan`, with the energy of an option added: at any prices, the sum over devices of
the least of energy + priced use, less what the prices buy, is a lower bound on the energy. A choice
of options is a plan if its slices can be stretched within the deadline. Aiming a little earlier
leaves room for rounding.

Energy is what devices spend above idling, and the server's: a device is switched on until the
deadline in any case.

Source: the aim of arXiv 2501.17164, least energy within a delay; the joint solution is ours.
"""

from dataclasses import dataclass

import numpy as np

from ..core.errors import InfeasibleError
from .facts import PlanFacts, ServerFacts
from .makespan import Makespan, least_makespan, moved_freely
from .prune import undominated
from .slices import Energy, Roots, Triple, held, slices

AIMS = (1.0, 0.998, 0.99, 0.97, 0.9)
"""Shares of the deadline that are aimed at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """Options, slices of the whole cell or server in seconds, the energy, and what none comes
    below."""

    chosen: np.ndarray
    slices_s: Triple
    energy_j: float
    lower_bound_j: float


def least_energy(
    facts: PlanFacts, server: ServerFacts, deadline_s: float, *, gap: float = 5e-3, steps: int = 60
) -> Deadline:
    """Raises InfeasibleError with the least deadline that is known to be possible."""
    quickest = least_makespan(facts, server)
    if quickest.delay_s > deadline_s:
        quickest = least_makespan(facts, server, gap=1e-4)
    if quickest.delay_s > deadline_s:
        raise InfeasibleError(_too_early(deadline_s, quickest))
    search = _Search(facts, server, deadline_s, quickest)
    for aim in AIMS:
        if search.good(gap):
            break
        search.aim(aim * deadline_s, steps, bounding=aim == 1.0)
        search.bridge(gap)
    return search.result()


class _Search:
    """The best plan and the best bound so far; the quickest plan is the first."""

    def __init__(
        self, facts: PlanFacts, server: ServerFacts, deadline_s: float, quickest: Makespan
    ) -> None:
        self.roots = Roots.of(facts, server)
        self.shortlist = undominated(facts)
        self.deadline_s = deadline_s
        self.energy = Energy.above_idling(facts, server)
        self.best = quickest.chosen
        self.slices_s = quickest.slices_s
        self.energy_j = self.energy.chosen_j(facts, quickest.chosen)
        self.bound_j = 0.0
        self.seen: set[bytes] = set()
        self.wanted = quickest.chosen
        self.prices = self._start()

    def good(self, gap: float) -> bool:
        return self.bound_j >= (1 - gap) * self.energy_j

    def aim(self, deadline_s: float, steps: int, *, bounding: bool) -> None:
        """Prices for one deadline, starting from the joules that are at stake."""
        prices = self._start()
        for step in range(steps):
            now = slices(self.roots, self.shortlist, deadline_s, prices, self.energy)
            if not now.possible:
                return
            spent_j = self.energy.chosen_j(self.roots.facts, now.chosen)
            if bounding:
                self.bound_j = max(self.bound_j, spent_j + now.excess)
            usage = now.usage()
            self._try(now.chosen, spent_j, prices)
            self.wanted = now.chosen
            self.prices = prices
            if self.good(1e-4):
                return
            prices = moved_freely(prices, usage, 1.5 / (1 + step / 20))

    def bridge(self, gap: float, steps: int = 8) -> None:
        """From the best plan towards the latest wish, those first that save most, as far as the
        deadline allows."""
        start = self.best
        order = self._by_saving(start)
        low = 0
        high = len(order) + 1
        for _ in range(steps):
            middle = (low + high) // 2
            if self.good(gap) or middle in (low, high):
                return
            chosen = start.copy()
            chosen[order[:middle]] = self.wanted[order[:middle]]
            if self._try(chosen, self.energy.chosen_j(self.roots.facts, chosen), self.prices):
                low = middle
            else:
                high = middle

    def _by_saving(self, start: np.ndarray) -> np.ndarray:
        """Devices that would save energy by what is wished for, the most first."""
        facts = self.roots.facts
        saved_j = self.energy.each_j(facts, start) - self.energy.each_j(facts, self.wanted)
        order = np.argsort(-saved_j, kind="stable")
        return order[: int((saved_j > 0).sum())]

    def _start(self) -> Triple:
        cells = self.roots.facts.cells
        share_j = self.energy_j / (2 * cells + 1)
        return np.full(cells, share_j), np.full(cells, share_j), np.full(1, share_j)

    def _try(self, chosen: np.ndarray, spent_j: float, prices: Triple, steps: int = 6) -> bool:
        """Take over these options if they save energy and can be done in time, and say whether."""
        key = chosen.tobytes()
        if spent_j >= self.energy_j or key in self.seen:
            return False
        self.seen.add(key)
        for _ in range(steps):
            now = held(self.roots, chosen, self.deadline_s, prices)
            if not now.possible:
                return False
            usage = now.usage()
            slices_s = now.stretched(usage)
            if self._in_time(chosen, slices_s):
                self.best = chosen.copy()
                self.energy_j = spent_j
                self.slices_s = self.roots.with_alone(chosen, slices_s)
                return True
            prices = moved_freely(prices, usage, 1.2)
        return False

    def _in_time(self, chosen: np.ndarray, slices_s: Triple) -> bool:
        done_s = self.roots.before_s(chosen) + sum(slices_s)
        return bool(done_s.max() <= self.deadline_s * (1 + 1e-9))

    def result(self) -> Deadline:
        bound_j = min(self.bound_j, self.energy_j)
        return Deadline(
            chosen=self.best, slices_s=self.slices_s, energy_j=self.energy_j, lower_bound_j=bound_j
        )


def _too_early(deadline_s: float, quickest: Makespan) -> str:
    possible_s = quickest.delay_s
    refuted_s = quickest.lower_bound_s
    return (
        f"no plan is done within {deadline_s:.4g} s: the quickest one takes {possible_s:.4g} s, "
        f"and none takes less than {refuted_s:.4g} s. Allow {possible_s:.4g} s, or ask for less: "
        "fewer bits, a smaller batch, a cached teacher, fewer devices"
    )
