"""Long-term energy budgets without a look into the future: drift plus penalty, as in OPEN (arXiv
2403.05158).

A device that has spent more than its budget owes the rest. A round's plan minimises V x delay +
debt x energy, so that debts price joules; a larger V waits less and lets debts grow higher, in
proportion. What was spent is among a round's conditions: planning itself remembers nothing. The
published queue forgets what a device saves in a round; here it may spend that later, so a debt is
what all rounds together have cost beyond their budget.
"""

from collections.abc import Mapping

from ..core.types import DeviceId


def owed_j(spent_j: Mapping[DeviceId, float], allowed_j: float) -> dict[DeviceId, float]:
    """What each device owes that has spent this since the run began, where so much was allowed."""
    return {device: max(spent - allowed_j, 0.0) for device, spent in spent_j.items()}
