"""Time slices within a deadline: what a step does to cells and server if every device is done by
then.

A device that has T - t seconds left for uplink, server and downlink, which whole would take it u, s
and d, slices them at prices l in proportion to sqrt(l x seconds). It then uses

    (sqrt(l_up u) + sqrt(l_server s) + sqrt(l_down d))^2 / (T - t)

of what is priced, the least that there is; if that, summed over the devices, exceeds what the
prices can buy (their sum), then T is impossible, whatever the prices: weak duality.

Axes: N devices, H options of a shortlist, C cells.
"""

from dataclasses import dataclass

import numpy as np

from .facts import PlanFacts, ServerFacts
from .prune import Shortlist

LEAST_S = 1e-9
"""Least time for communication; less is none."""
Triple = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A number for each cell's uplink, for each cell's downlink, [C] each, and for the server, [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Square roots of the seconds that a device would occupy a whole cell or server: one factor
    each side.

    A device that has its cell to itself shares nothing there, and its seconds on the air are its
    own.
    """

    facts: PlanFacts
    up: np.ndarray
    """The root is 0 where the device is alone, as with `down`."""
    down: np.ndarray
    alone_up_s_per_byte: np.ndarray
    """The seconds are 0 where the device is not alone, as with `alone_down_s_per_byte`."""
    alone_down_s_per_byte: np.ndarray
    up_K: np.ndarray
    down_K: np.ndarray
    server_K: np.ndarray

    @staticmethod
    def of(facts: PlanFacts, server: ServerFacts) -> "Roots":
        """Roots for a cluster and a server at one clock."""
        options = facts.options
        alone = np.bincount(facts.cell, minlength=facts.cells)[facts.cell] == 1
        return Roots(
            facts=facts,
            up=np.sqrt(facts.up_s_per_byte * ~alone),
            down=np.sqrt(facts.down_s_per_byte * ~alone),
            alone_up_s_per_byte=facts.up_s_per_byte * alone,
            alone_down_s_per_byte=facts.down_s_per_byte * alone,
            up_K=np.sqrt(options.up_bytes),
            down_K=np.sqrt(options.down_bytes),
            server_K=np.sqrt(server.work_s(options.server_flops)),
        )

    def sums(self, chosen: np.ndarray) -> Triple:
        """Over each cell's uplink and downlink and over the server; their squares are the shortest
        queues."""
        facts = self.facts
        up = facts.per_cell(self.up * self.up_K[chosen])
        down = facts.per_cell(self.down * self.down_K[chosen])
        return up, down, self.server_K[chosen].sum(keepdims=True)

    def before_s(self, chosen: np.ndarray) -> np.ndarray:
        """Seconds of each device that no share changes."""
        up_s, down_s = self.alone_s(chosen)
        return np.asarray(self.facts.computing_s(chosen) + up_s + down_s)

    def alone_s(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seconds up and down of each device that has a cell to itself, zero of the others."""
        options = self.facts.options
        up_s = self.alone_up_s_per_byte * options.up_bytes[chosen]
        return up_s, self.alone_down_s_per_byte * options.down_bytes[chosen]

    def with_alone(self, chosen: np.ndarray, shared_s: Triple) -> Triple:
        """Slices of all devices, from those of the devices that share cells."""
        up_s, down_s = self.alone_s(chosen)
        return shared_s[0] + up_s, shared_s[1] + down_s, shared_s[2]

    def left_s(self, deadline_s: float, devices: slice, g: int, rows: np.ndarray) -> np.ndarray:
        """Seconds that each option leaves for what is shared, [H, N]."""
        facts = self.facts
        left_HN = np.multiply.outer(-facts.seconds_GK[g, rows], facts.slowdown[devices])
        left_HN += deadline_s - facts.base_s[devices]
        alone_up = self.alone_up_s_per_byte[devices]
        if alone_up.any():
            left_HN -= np.multiply.outer(facts.options.up_bytes[rows], alone_up)
        alone_down = self.alone_down_s_per_byte[devices]
        if alone_down.any():
            left_HN -= np.multiply.outer(facts.options.down_bytes[rows], alone_down)
        return np.asarray(left_HN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """What devices do at a deadline and prices. `left_s` may be negative: such a deadline is
    impossible."""

    roots: Roots
    chosen: np.ndarray
    priced: np.ndarray
    """Root of what a device uses of what is priced, times its time left, [N]."""
    left_s: np.ndarray
    prices: Triple

    @property
    def possible(self) -> bool:
        """Whether every device has time left for what is shared."""
        return bool(self.left_s.min(initial=np.inf) > LEAST_S)

    @property
    def pressure(self) -> np.ndarray:
        """What a device uses of what is priced, as a root, over its time left, [N]."""
        return np.asarray(self.priced / self.left_s)

    @property
    def excess(self) -> float:
        """Above zero, the deadline is impossible."""
        return float((self.priced * self.pressure).sum()) - sum(
            float(price.sum()) for price in self.prices
        )

    @property
    def slope(self) -> float:
        """How much the excess falls for each second of a later deadline."""
        return float((self.pressure**2).sum())

    def usage(self) -> Triple:
        """Share of each cell and of the server that the slices occupy; one is all of it."""
        roots = self.roots
        pressure = self.pressure
        up = roots.facts.per_cell(roots.up * roots.up_K[self.chosen] * pressure)
        down = roots.facts.per_cell(roots.down * roots.down_K[self.chosen] * pressure)
        server = (roots.server_K[self.chosen] * pressure).sum(keepdims=True)
        up_price, down_price, server_price = self.prices
        return up / np.sqrt(up_price), down / np.sqrt(down_price), server / np.sqrt(server_price)

    def stretched(self, usage: Triple) -> Triple:
        """Seconds of each device's slices, [N] each, stretched so that nothing is used more than
        once."""
        roots = self.roots
        cell = roots.facts.cell
        per_root_s = 1 / np.maximum(self.pressure, 1e-300)
        up_price, down_price, server_price = (np.sqrt(price) for price in self.prices)
        up_used, down_used, server_used = usage
        up_s = per_root_s * roots.up * roots.up_K[self.chosen] * (up_price * up_used)[cell]
        down_s = (
            per_root_s * roots.down * roots.down_K[self.chosen] * (down_price * down_used)[cell]
        )
        server_s = per_root_s * roots.server_K[self.chosen] * server_price * server_used
        return up_s, down_s, server_s


def slices(
    roots: Roots,
    shortlist: Shortlist,
    deadline_s: float,
    prices: Triple,
    energy: "Energy | None" = None,
) -> Slices:
    """Every device takes the option that uses least of what is priced, energy included if it is."""
    priced = _Priced.at(roots, prices)
    count = len(roots.facts)
    answer = Slices(
        roots=roots,
        chosen=np.empty(count, int),
        priced=np.empty(count),
        left_s=np.empty(count),
        prices=prices,
    )
    for devices, g in roots.facts.groups:
        rows = shortlist[g]
        used_HN = priced.of(devices, rows)
        left_HN = roots.left_s(deadline_s, devices, g, rows)
        value_HN = used_HN**2
        value_HN /= np.maximum(left_HN, LEAST_S)
        if energy is not None:
            value_HN += energy.of(roots.facts, devices, g, rows)
        value_HN[left_HN <= LEAST_S] = np.inf
        _fill_in(answer, devices, rows, value_HN.argmin(axis=0), used_HN, left_HN)
    return answer


def _fill_in(
    answer: Slices,
    devices: slice,
    rows: np.ndarray,
    best: np.ndarray,
    used_HN: np.ndarray,
    left_HN: np.ndarray,
) -> None:
    """What these devices do under the options that are best for them."""
    each = np.arange(len(best))
    answer.chosen[devices] = rows[best]
    answer.priced[devices] = used_HN[best, each]
    answer.left_s[devices] = left_HN[best, each]


@dataclass(frozen=True, slots=True)
class _Priced:
    """The roots times those of prices: one factor per device each way, [N], and the server's part
    per option, [K]."""

    roots: Roots
    up: np.ndarray
    down: np.ndarray
    server_K: np.ndarray

    @staticmethod
    def at(roots: Roots, prices: Triple) -> "_Priced":
        up_price, down_price, server_price = (np.sqrt(price) for price in prices)
        cell = roots.facts.cell
        return _Priced(
            roots,
            up_price[cell] * roots.up,
            down_price[cell] * roots.down,
            server_price * roots.server_K,
        )

    def of(self, devices: slice, rows: np.ndarray) -> np.ndarray:
        """Root of what these devices use of what is priced under these options, times their time
        left, [H, N]."""
        used_HN = np.multiply.outer(self.roots.up_K[rows], self.up[devices])
        used_HN += np.multiply.outer(self.roots.down_K[rows], self.down[devices])
        used_HN += self.server_K[rows][:, None]
        return np.asarray(used_HN)


def held(roots: Roots, chosen: np.ndarray, deadline_s: float, prices: Triple) -> Slices:
    """The same where options are given."""
    priced = _Priced.at(roots, prices)
    used = priced.up * roots.up_K[chosen]
    used += priced.down * roots.down_K[chosen]
    used += priced.server_K[chosen]
    left_s = deadline_s - roots.before_s(chosen)
    return Slices(roots=roots, chosen=chosen, priced=used, left_s=left_s, prices=prices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Joules of a device's options: per second of its hardware and per byte sent, [N]; of the
    server's work, [K]."""

    computing_w: np.ndarray
    sending: np.ndarray
    server_K: np.ndarray

    @staticmethod
    def above_idling(facts: PlanFacts, server: ServerFacts) -> "Energy":
        """What devices spend above idling, and all that the server spends while it computes."""
        hardware = facts.hardware
        adding_w = hardware.busy_w - hardware.idle_w
        return Energy(
            computing_w=adding_w[facts.kind] * facts.slowdown,
            sending=hardware.transmit_w[facts.kind] * facts.up_s_per_byte,
            server_K=server.energy_per_flop_j * facts.options.server_flops,
        )

    def of(self, facts: PlanFacts, devices: slice, g: int, rows: np.ndarray) -> np.ndarray:
        """Joules of these devices of one hardware under these options, [H, N]."""
        joules_HN = np.multiply.outer(facts.seconds_GK[g, rows], self.computing_w[devices])
        joules_HN += np.multiply.outer(facts.options.up_bytes[rows], self.sending[devices])
        return np.asarray(joules_HN + self.server_K[rows][:, None])

    def each_j(self, facts: PlanFacts, chosen: np.ndarray) -> np.ndarray:
        """Joules of each device and of the server for it under these options, [N]."""
        computing = facts.seconds_GK[facts.kind, chosen] * self.computing_w
        sending = facts.options.up_bytes[chosen] * self.sending
        return np.asarray(computing + sending + self.server_K[chosen])

    def chosen_j(self, facts: PlanFacts, chosen: np.ndarray) -> float:
        """Joules of all devices and the server under these options."""
        return float(self.each_j(facts, chosen).sum())
