"""The last step of every recipe: method and scene become a run, with the facts that its record shows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.types import Method
from ..nn.cohorts import why_apart
from ..nn.profile import profile, savings, training_memory_bytes
from ..nn.train import Local
from ..nn.zoo import Model
from ..plan.sample import Sample
from ..sim.fleet import SimFleet
from ..trust.attackers import Poisoned, pick
from .experiment import Run
from .flags import Common, Training
from .scene import Scene, fleet_facts
from .world import world


def local(training: Training, calibrate: bool = False) -> Local:
    return Local(
        passes=training.local_passes,
        batch=training.local_batch,
        lr=training.local_lr,
        momentum=training.local_momentum,
        weight_decay=training.local_weight_decay,
        calibrate=calibrate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models of a run: what devices train, by kind, what the server has, and what devices are spared."""

    smalls: Mapping[str, Model]
    large: Model | None = None
    spared: Model | None = None
    """What the savings are held against where the server has no large model."""
    local: Local
    """How devices train: its batch decides how much memory that takes."""


def assemble(common: Common, scene: Scene, method: Method[Any], models: Models, notes: Sequence[str] = ()) -> Run:
    """A simulated run."""
    lying, said = _poisoned(common, scene, method)
    surrounded = world(common, scene.devices, scene.server, ignore_memory=scene.ignore_memory)
    planner = Sample(
        per_round=common.per_round or len(scene.devices),
        seed=common.seed,
        spare=common.spare,
        minimum=common.minimum,
        deadline_s=common.deadline_s,
    )
    return Run(
        method=lying,
        fleet=SimFleet(scene.devices, scene.data, lying, surrounded),
        planner=planner,
        test=scene.source.test,
        rounds=common.rounds,
        seed=common.seed,
        checkpoint_every_s=common.checkpoint_every_s,
        about={
            "models": _names(models),
            "training_bytes": {
                m.name: training_memory_bytes(profile(m), models.local.batch) for m in _distinct(models)
            },
            "data": _data(scene),
            "savings": _savings(models),
            "notes": [*said, *notes, *_apart(common, method, models), *scene.source.notes],
        },
        facts=fleet_facts(scene, models.smalls, common),
        data_spec=scene.source.spec(common.label),
    )


def _poisoned(common: Common, scene: Scene, method: Method[Any]) -> tuple[Any, list[str]]:
    """The method with devices that lie, and a note that says which; as it is, where none does."""
    if common.poison is None:
        return method, []
    liars = pick(tuple(scene.devices), common.poison_share, common.seed)
    lying = Poisoned(method=method, liars=liars, attack=common.poison, classes=scene.classes, seed=common.seed)
    return lying, [f"An experiment: {len(liars)} devices lie ({common.poison}): {', '.join(sorted(liars)[:20])}."]


def _apart(common: Common, method: Method[Any], models: Models) -> list[str]:
    """Which of a user's own nets are not trained side by side in simulation, and why."""
    if common.cohorts == "off" or not hasattr(method, "cohort"):
        return []
    own = dict.fromkeys(model for model in models.smalls.values() if model.is_own)
    reasons = {model.name: why_apart(model, models.local) for model in own}
    return [
        f"In simulation, devices of {name} are trained one after the other: {reason}."
        for name, reason in reasons.items()
        if reason is not None
    ]


def _names(models: Models) -> dict[str, Any]:
    names = {"small": sorted({model.name for model in models.smalls.values() if model != models.large})}
    return names if models.large is None else {"large": models.large.name, **names}


def _reference(models: Models) -> Model | None:
    return models.large or models.spared


def _distinct(models: Models) -> list[Model]:
    reference = _reference(models)
    return list(dict.fromkeys([*([] if reference is None else [reference]), *models.smalls.values()]))


def _data(scene: Scene) -> dict[str, Any]:
    facts = {
        "name": scene.source.name,
        "classes": list(scene.source.classes),
        "shape": list(scene.shape),
        "train": len(scene.private),
        "test": len(scene.source.test),
        "partition": scene.partition,
        "digest": scene.source.digest,
        **({"proxy_digest": scene.proxy_digest} if scene.proxy_digest else {}),
    }
    return facts if scene.proxy is None else {**facts, "proxy": len(scene.proxy)}


def _savings(models: Models) -> list[dict[str, Any]]:
    reference = _reference(models)
    if reference is None:
        return []
    return [asdict(savings(reference, model)) for model in _distinct(models) if model != reference]
