"""The last few open questions, answered by trying everything.

At prices with bound L, a device that takes an option dearer for it by more than cost - L is in no
better plan. What is left open is often a handful of devices with two options each.

Axes: N devices, P plans tried, M devices with more than one option left.
"""

from collections.abc import Sequence

import numpy as np

from .terms import Terms

MOST_PLANS = 1 << 16


def best_left(terms: Terms, open_rows: Sequence[np.ndarray]) -> np.ndarray | None:
    """The best choice of these options of each device; None if there are too many choices to
    try."""
    free = np.array([n for n, rows in enumerate(open_rows) if len(rows) > 1], int)
    plans = np.prod([float(len(open_rows[n])) for n in free])
    if plans > MOST_PLANS:
        return None
    chosen = np.array([rows[0] for rows in open_rows])
    if not len(free):
        return chosen
    grid_MP = _every([open_rows[n] for n in free])
    cheapest = _costs(terms, chosen, free, grid_MP).argmin()
    chosen[free] = grid_MP[:, cheapest]
    return chosen


def _every(open_rows: Sequence[np.ndarray]) -> np.ndarray:
    """Every choice of one option each, [M, P]."""
    axes = np.meshgrid(*open_rows, indexing="ij")
    return np.stack([axis.ravel() for axis in axes])


def _costs(terms: Terms, chosen: np.ndarray, free: np.ndarray, grid_MP: np.ndarray) -> np.ndarray:
    """Cost of each plan, [P], up to a constant: of the cells, only those count whose devices are
    free to choose."""
    facts = terms.facts
    held = np.ones(len(chosen))
    held[free] = 0.0
    server_held = (terms.server_K[chosen] * held).sum()
    cost_P = _own_costs(terms, free, grid_MP).sum(axis=0)
    cost_P = cost_P + (terms.server_K[grid_MP].sum(axis=0) + server_held) ** 2
    for factor, roots in ((terms.up, terms.up_K), (terms.down, terms.down_K)):
        rest = facts.per_cell(factor * roots[chosen] * held)
        each_MP = factor[free, None] * roots[grid_MP]
        for cell in np.unique(facts.cell[free]):
            free_P = each_MP[facts.cell[free] == cell].sum(axis=0)
            cost_P += (rest[cell] + free_P) ** 2
    return np.asarray(cost_P)


def _own_costs(terms: Terms, free: np.ndarray, grid_MP: np.ndarray) -> np.ndarray:
    """Own cost of each device that is free to choose, in each plan, [M, P], up to what no choice
    changes."""
    facts = terms.facts
    seconds_MP = facts.seconds_GK[facts.kind[free][:, None], grid_MP]
    own_MP = seconds_MP * terms.own[free, None] + terms.server_own_K[grid_MP]
    own_MP += terms.sent[free, None] * facts.options.up_bytes[grid_MP]
    return np.asarray(own_MP)
