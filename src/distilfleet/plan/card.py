"""CARD, as published: one device after the other, with the whole band and server, its own cut and
server clock.

CARD (arXiv 2412.00090) minimises a weighted sum of delay and server energy, each between its
extremes over all cuts and clocks. For a given cut, the best clock has a closed form that does not
contain the cut, so cuts are tried one by one. Its server energy goes with the square of the clock
and has no static part. A reference: it knows neither queues at the server nor a shared cell, so no
bound comes with it.

Axes: N devices, K options.
"""

from dataclasses import dataclass

import numpy as np

from ..core.types import Device
from .facts import PlanFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Options and clocks, [N] each, and what each device's turn takes."""

    chosen: np.ndarray
    clock: np.ndarray
    """The server's clock as a share of its highest."""
    delay_s: np.ndarray
    server_j: np.ndarray
    """The server's energy as the paper counts it: without static power."""


def card(
    facts: PlanFacts, server: Device, *, weight: float = 0.5, lowest_share: float = 0.3
) -> Card:
    """`weight` is that of delay against energy, strictly between 0 and 1; clocks go down to
    `lowest_share`."""
    above_w = server.busy_w - server.idle_w
    own_NK = _own_s(facts)
    server_s_K = facts.options.server_flops / server.speed_flops_per_s
    range_s = _range(facts, own_NK + server_s_K, own_NK + server_s_K / lowest_share)
    range_j = _range(facts, above_w * lowest_share**2 * server_s_K, above_w * server_s_K)
    best = np.cbrt(weight * range_j / (2 * (1 - weight) * above_w * range_s))
    clock = np.clip(best, lowest_share, 1.0)
    delay_NK = own_NK + server_s_K / clock[:, None]
    energy_NK = above_w * clock[:, None] ** 2 * server_s_K
    value_NK = weight * delay_NK / range_s[:, None]
    value_NK = value_NK + (1 - weight) * energy_NK / range_j[:, None]
    return _least(facts, value_NK, clock, delay_NK, energy_NK)


def _least(
    facts: PlanFacts,
    value_NK: np.ndarray,
    clock: np.ndarray,
    delay_NK: np.ndarray,
    energy_NK: np.ndarray,
) -> Card:
    """The allowed option of the least value, device by device."""
    chosen = np.where(facts.allowed_GK[facts.kind], value_NK, np.inf).argmin(axis=1)
    each = np.arange(len(facts))
    return Card(
        chosen=chosen, clock=clock, delay_s=delay_NK[each, chosen], server_j=energy_NK[each, chosen]
    )


def _own_s(facts: PlanFacts) -> np.ndarray:
    """Seconds of each device under each option with the whole cell, without the server's, [N,
    K]."""
    options = facts.options
    own_NK = facts.seconds_GK[facts.kind] * facts.slowdown[:, None] + facts.base_s[:, None]
    own_NK = own_NK + facts.up_s_per_byte[:, None] * options.up_bytes
    return np.asarray(own_NK + facts.down_s_per_byte[:, None] * options.down_bytes)


def _range(facts: PlanFacts, lowest_NK: np.ndarray, highest_NK: np.ndarray) -> np.ndarray:
    """How far a device's allowed options reach from the least of the low values to the most of the
    high ones, [N]."""
    allowed_NK = facts.allowed_GK[facts.kind]
    least = np.where(allowed_NK, lowest_NK, np.inf).min(axis=1)
    most = np.where(allowed_NK, highest_NK, -np.inf).max(axis=1)
    return np.asarray(np.maximum(most - least, 1e-12))
