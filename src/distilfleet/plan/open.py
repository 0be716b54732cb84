"""Long-term energy budgets without a look into the future: drift plus penalty, as in OPEN (arXiv 2403.05158).

A device that has spent more than its budget owes the rest. A round's plan minimises V x delay + debt x energy, so that
debts price joules; a larger V waits less and lets debts grow higher, in proportion. Debts come with the round's
conditions and are handed on by whoever records what was spent: planning itself remembers nothing.
"""

from collections.abc import Mapping

from ..core.types import DeviceId


def owed_j(
    debts_j: Mapping[DeviceId, float], spent_j: Mapping[DeviceId, float], budget_j: float
) -> dict[DeviceId, float]:
    """What each device owes after a round in which it spent this; nobody is paid for having spent less.

    A device that took no part spent nothing and works off its debt.
    """
    names = {**debts_j, **spent_j}
    return {d: max(debts_j.get(d, 0.0) + spent_j.get(d, 0.0) - budget_j, 0.0) for d in names}
