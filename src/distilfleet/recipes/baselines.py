"""What the baselines on text share: the same steps, windows and devices as split KD takes under the same flags."""

from typing import Any

from ..core.types import Method
from ..nn.lessons import Lessons
from ..plan.sample import Sample
from .experiment import Run
from .flags import Common, Language
from .language import Stage, assemble


def lessons(language: Language, *, devices: int = 1) -> Lessons:
    """Of one device, or of a server that has what so many devices would bring to a step."""
    return Lessons(
        steps=language.steps,
        batch=language.batch * devices,
        lr=language.lr,
        kd_weight=language.kd_weight,
        temperature=language.temperature,
    )


def taking_part(common: Common, stage: Stage) -> int:
    """Devices in a round."""
    return min(common.per_round or len(stage.devices), len(stage.devices))


def simulated(common: Common, stage: Stage, method: Method[Any], *notes: str) -> Run:
    planner = Sample(
        per_round=taking_part(common, stage),
        seed=common.seed,
        spare=common.spare,
        minimum=common.minimum,
        deadline_s=common.deadline_s,
    )
    return assemble(common, stage, method, planner, {"notes": [*notes, *stage.source.notes]})
