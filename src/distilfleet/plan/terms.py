"""The cost of a plan in closed form: the sum of delays and priced energies under the best shares.

With w the price of a device's second of waiting, the best share of a cell or of the server goes
with the square root of what a device sends, and the cost of fixed options is

    own costs + sum over cells (S_up^2 + S_down^2) + S_server^2,
    S = sum over devices of sqrt(w x seconds).

A device's radio sends in its share of the cell's time, so that a byte costs it the same energy
whatever its share.

Axes: N devices, K options, C cells.
"""

from dataclasses import dataclass

import numpy as np

from .facts import PlanFacts, ServerFacts

Sums = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Sums over each cell's uplink, over each cell's downlink, [C] each, and over the server, [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the cost is made of: one factor per device and one per option. `price` is in seconds per
    joule."""

    facts: PlanFacts
    own: np.ndarray
    """Cost of a second of computing, [N]."""
    sent: np.ndarray
    """Cost of a byte sent beyond its delay, [N]."""
    fixed: np.ndarray
    up: np.ndarray
    """Root of the weighted seconds per byte of a whole cell, [N], as with `down`."""
    down: np.ndarray
    up_K: np.ndarray
    """Root of the bytes of an option, as with `down_K`."""
    down_K: np.ndarray
    server_K: np.ndarray
    """Root of the whole server's seconds."""
    server_own_K: np.ndarray

    @staticmethod
    def of(
        facts: PlanFacts, server: ServerFacts, price: np.ndarray, server_price_s_per_j: float
    ) -> "Terms":
        """Terms at these prices; `price` is in seconds per joule, [N]."""
        hardware = facts.hardware.rows(facts.kind)
        options = facts.options
        waiting = 1 + price * hardware.idle_w
        return Terms(
            facts=facts,
            own=facts.slowdown * (1 + price * hardware.busy_w),
            sent=price * hardware.transmit_w * facts.up_s_per_byte,
            fixed=facts.base_s * waiting,
            up=np.sqrt(facts.up_s_per_byte * waiting),
            down=np.sqrt(facts.down_s_per_byte * waiting),
            up_K=np.sqrt(options.up_bytes),
            down_K=np.sqrt(options.down_bytes),
            server_K=np.sqrt(server.work_s(options.server_flops)),
            server_own_K=server_price_s_per_j * server.energy_per_flop_j * options.server_flops,
        )

    def own_cost(self, chosen_N: np.ndarray) -> np.ndarray:
        """Cost of each device under its option that no share changes, [N]."""
        facts = self.facts
        computing = facts.seconds_GK[facts.kind, chosen_N] * self.own
        sending = self.sent * facts.options.up_bytes[chosen_N]
        return np.asarray(computing + sending + self.fixed + self.server_own_K[chosen_N])

    def sums(self, chosen_N: np.ndarray) -> Sums:
        """Sums of roots under these options, whose squares are the rest of the cost."""
        up = self.up * self.up_K[chosen_N]
        down = self.down * self.down_K[chosen_N]
        return (
            self.facts.per_cell(up),
            self.facts.per_cell(down),
            self.server_K[chosen_N].sum(keepdims=True),
        )

    def cost(self, chosen_N: np.ndarray) -> float:
        """Cost of the whole cluster under these options and the best shares."""
        return float(self.own_cost(chosen_N).sum()) + squared(self.sums(chosen_N))


def squared(sums: Sums) -> float:
    """The sum of the squares of all sums."""
    return sum(float(part @ part) for part in sums)
