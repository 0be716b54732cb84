"""The last step of every recipe: method and scene become a run, with the facts that its record shows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..core.types import Method
from ..nn.profile import savings
from ..nn.train import Local
from ..nn.zoo import Model
from ..plan.sample import Sample
from ..sim.fleet import SimFleet, World
from .flags import Common, Training
from .run import Run
from .scene import Scene, fleet_facts


def local(training: Training, calibrate: bool = False) -> Local:
    return Local(
        passes=training.local_passes,
        batch=training.local_batch,
        lr=training.local_lr,
        momentum=training.local_momentum,
        weight_decay=training.local_weight_decay,
        calibrate=calibrate,
    )


def assemble(
    common: Common,
    scene: Scene,
    method: Method[Any],
    smalls: Mapping[str, Model],
    large: Model | None,
    notes: Sequence[str] = (),
) -> Run:
    """A simulated run. `smalls` and `large` are the models whose savings the record compares."""
    world = World(
        server=scene.server,
        offline_share=common.offline_share,
        cohorts=common.cohorts == "on",
        seed=common.seed,
        ignore_memory=scene.ignore_memory,
    )
    planner = Sample(
        per_round=common.per_round or len(scene.devices),
        seed=common.seed,
        spare=common.spare,
        minimum=common.minimum,
        deadline_s=common.deadline_s,
    )
    return Run(
        method=method,
        fleet=SimFleet(scene.devices, scene.data, method, world),
        planner=planner,
        test=scene.source.test,
        rounds=common.rounds,
        seed=common.seed,
        checkpoint_every_s=common.checkpoint_every_s,
        about={
            "models": _names(smalls, large),
            "data": _data(scene),
            "savings": _savings(smalls, large),
            "notes": [*notes, *scene.source.notes],
        },
        facts=fleet_facts(scene, smalls, common.memory_quota_bytes),
    )


def _names(smalls: Mapping[str, Model], large: Model | None) -> dict[str, Any]:
    names = {"small": sorted({model.name for model in smalls.values()})}
    return names if large is None else {"large": large.name, **names}


def _data(scene: Scene) -> dict[str, Any]:
    facts = {
        "name": scene.source.name,
        "classes": list(scene.source.classes),
        "shape": list(scene.shape),
        "train": len(scene.private),
        "test": len(scene.source.test),
        "partition": scene.partition,
    }
    return facts if scene.proxy is None else {**facts, "proxy": len(scene.proxy)}


def _savings(smalls: Mapping[str, Model], large: Model | None) -> list[dict[str, Any]]:
    if large is None:
        return []
    distinct = {model.name: model for model in smalls.values() if model.name != large.name}
    return [asdict(savings(large, model)) for model in distinct.values()]
