"""From mixed choices to pure ones: a walk between two choices, and single changes of mind.

Axes: N devices, C cells.
"""

import numpy as np

from .prune import Shortlist
from .terms import Sums, Terms


def walk(terms: Terms, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The cheapest choice on the way from one to the other, device by device, evenly over the
    cells."""
    facts = terms.facts
    (moving,) = np.nonzero(start != end)
    if not len(moving):
        return start
    order = moving[np.argsort(_turn(facts.cell[moving]), kind="stable")]
    best = int(np.cumsum(_gains(terms, start, end, order)).argmin()) + 1
    path = start.copy()
    path[order[:best]] = end[order[:best]]
    return path


def _gains(terms: Terms, start: np.ndarray, end: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Growth of the cost as each device of `order` moves, those before it having moved."""
    up_sum, down_sum, server_sum = terms.sums(start)
    up, down, server = _steps(terms, start[order], end[order], order)
    cell = terms.facts.cell[order]
    gain = terms.own_cost(end)[order] - terms.own_cost(start)[order]
    gain = gain + _squares(cell, up, up_sum)
    gain = gain + _squares(cell, down, down_sum)
    return np.asarray(gain + _squares(np.zeros(len(order), int), server, server_sum))


def _steps(terms: Terms, before: np.ndarray, after: np.ndarray, order: np.ndarray) -> Sums:
    """How far each device of `order` moves its sums by changing its option."""
    up = terms.up[order] * (terms.up_K[after] - terms.up_K[before])
    down = terms.down[order] * (terms.down_K[after] - terms.down_K[before])
    return up, down, terms.server_K[after] - terms.server_K[before]


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
    steps = step[order]
    inside = np.cumsum(steps)
    counts = np.bincount(cell, minlength=len(total))
    first = np.cumsum(counts) - counts
    before = np.where(first > 0, inside[np.maximum(first - 1, 0)], 0.0)
    after = total[cell[order]] + inside - before[cell[order]]
    growth = np.empty(len(step))
    growth[order] = steps * (2 * after - steps)
    return growth


def change_minds(
    terms: Terms, chosen: np.ndarray, shortlist: Shortlist, most: int = 400
) -> np.ndarray:
    """Best single changes, one after the other, until none helps."""
    chosen = chosen.copy()
    for _ in range(most):
        gain, device, row = max(_best_moves(terms, chosen, shortlist))
        if gain <= 1e-12 * terms.cost(chosen):
            break
        chosen[device] = row
    return chosen


def _best_moves(
    terms: Terms, chosen: np.ndarray, shortlist: Shortlist
) -> list[tuple[float, int, int]]:
    """The most useful change to each option in each kind of hardware: gain, device and option."""
    found = []
    now = terms.own_cost(chosen)
    rest = _without(terms, chosen, terms.sums(chosen))
    for devices, g in terms.facts.groups:
        current = _marginal(terms, rest, devices, chosen[devices]) + now[devices]
        for row in shortlist[g].tolist():
            gains = (
                current - _own_cost(terms, devices, g, row) - _marginal(terms, rest, devices, row)
            )
            place = int(gains.argmax())
            found.append((float(gains[place]), devices.start + place, row))
    return found


def _own_cost(terms: Terms, devices: slice, g: int, row: int) -> np.ndarray:
    """Own cost of devices of one hardware if all took this option."""
    computing = terms.facts.seconds_GK[g, row] * terms.own[devices]
    own = computing + terms.fixed[devices] + terms.server_own_K[row]
    return np.asarray(own + terms.sent[devices] * terms.facts.options.up_bytes[row])


def _without(terms: Terms, chosen: np.ndarray, sums: Sums) -> Sums:
    """What the sums of its cell and the server are without each device, [N] each."""
    cell = terms.facts.cell
    up_sum, down_sum, server_sum = sums
    up = up_sum[cell] - terms.up * terms.up_K[chosen]
    down = down_sum[cell] - terms.down * terms.down_K[chosen]
    return up, down, server_sum - terms.server_K[chosen]


def _marginal(terms: Terms, rest: Sums, devices: slice, rows: np.ndarray | int) -> np.ndarray:
    """What a device adds to the squared sums, under an option of its own or one for all."""
    own = (
        terms.up[devices] * terms.up_K[rows],
        terms.down[devices] * terms.down_K[rows],
        terms.server_K[rows],
    )
    added = [part * (2 * others[devices] + part) for others, part in zip(rest, own, strict=True)]
    return np.asarray(sum(added))
