"""From mixed choices to pure ones: a walk between two choices, and single changes of mind.

Axes: N devices, C cells.
"""

import numpy as np

from .prune import Shortlist
from .terms import Sums, Terms


def walk(terms: Terms, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The cheapest choice on the way from one to the other, device by device, evenly over the cells."""
    facts = terms.facts
    (moving,) = np.nonzero(start != end)
    if not len(moving):
        return start
    order = moving[np.argsort(_turn(facts.cell[moving]), kind="stable")]
    before, after = start[order], end[order]
    gain = terms.own_cost(end)[order] - terms.own_cost(start)[order]
    sums = terms.sums(start)
    for roots, factor, total in ((terms.up_K, terms.up, sums[0]), (terms.down_K, terms.down, sums[1])):
        gain = gain + _squares(facts.cell[order], factor[order] * (roots[after] - roots[before]), total)
    gain = gain + _squares(np.zeros(len(order), int), terms.server_K[after] - terms.server_K[before], sums[2])
    best = int(np.cumsum(gain).argmin()) + 1
    path = start.copy()
    path[order[:best]] = after[:best]
    return path


def _turn(cell: np.ndarray) -> np.ndarray:
    """Place of each device within its cell, as a share of the cell's size."""
    order = np.argsort(cell, kind="stable")
    counts = np.bincount(cell)
    place = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
    turn = np.empty(len(cell))
    turn[order] = (place + 0.5) / np.repeat(counts, counts)
    return turn


def _squares(cell: np.ndarray, step: np.ndarray, total: np.ndarray) -> np.ndarray:
    """How much the sum of squares grows with each step, taken one after the other."""
    order = np.argsort(cell, kind="stable")
    inside = np.cumsum(step[order])
    counts = np.bincount(cell, minlength=len(total))
    first = np.cumsum(counts) - counts
    offset = np.where(first > 0, inside[np.maximum(first - 1, 0)], 0.0)
    after = total[cell[order]] + inside - offset[cell[order]]
    growth = np.empty(len(step))
    growth[order] = step[order] * (2 * after - step[order])
    return growth


def change_minds(terms: Terms, chosen: np.ndarray, shortlist: Shortlist, most: int = 400) -> np.ndarray:
    """Best single changes, one after the other, until none helps."""
    chosen = chosen.copy()
    for _ in range(most):
        gain, device, row = max(_best_moves(terms, chosen, shortlist))
        if gain <= 1e-12 * terms.cost(chosen):
            break
        chosen[device] = row
    return chosen


def _best_moves(terms: Terms, chosen: np.ndarray, shortlist: Shortlist) -> list[tuple[float, int, int]]:
    sums, found = terms.sums(chosen), []
    now = terms.own_cost(chosen)
    rest = _without(terms, chosen, sums)
    for devices, g in terms.facts.groups:
        current = _marginal(terms, rest, devices, chosen[devices]) + now[devices]
        for row in shortlist[g].tolist():
            rows = np.full(devices.stop - devices.start, row)
            own = terms.facts.seconds_GK[g, row] * terms.own[devices] + terms.fixed[devices] + terms.server_own_K[row]
            own = own + terms.sent[devices] * terms.facts.options.up_bytes[row]
            gains = current - own - _marginal(terms, rest, devices, rows)
            place = int(gains.argmax())
            found.append((float(gains[place]), devices.start + place, row))
    return found


def _without(terms: Terms, chosen: np.ndarray, sums: Sums) -> Sums:
    """What the sums of its cell and the server are without each device, [N] each."""
    cell = terms.facts.cell
    up = sums[0][cell] - terms.up * terms.up_K[chosen]
    down = sums[1][cell] - terms.down * terms.down_K[chosen]
    return up, down, sums[2] - terms.server_K[chosen]


def _marginal(terms: Terms, rest: Sums, devices: slice, rows: np.ndarray) -> np.ndarray:
    """What a device adds to the squared sums."""
    up, down = terms.up[devices] * terms.up_K[rows], terms.down[devices] * terms.down_K[rows]
    parts = zip(rest, (up, down, terms.server_K[rows]), strict=True)
    return np.asarray(sum(x * (2 * others[devices] + x) for others, x in parts))
