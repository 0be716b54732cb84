"""At the end of a run each device gets the model that is its own, and keeps it.

The server asks for it as a job beside those of the last round: with the weights where the server
has them, without where the device has learnt its own. Nothing of the run hangs on the answers.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import AgainError, StarvedError
from ..core.prefix import prefixed
from ..core.types import (
    Arrays,
    ArraySpec,
    DeviceId,
    Expected,
    Job,
    Reply,
    TrainedModel,
    Wave,
)
from ..net.fleet import NetFleet
from ..record.checkpoint import read_checkpoint
from ..record.history import read_rounds
from ..training.experiment import Experiment
from ..training.loop import state_of
from .kept_model import FIGURES, KEEP, KEPT, ROUND, TOKENIZER, WEIGHTS

log = logging.getLogger(__name__)
LEAST_S = 60.0
"""How long devices have at least to fetch and write a model."""
SLOWEST_BYTES_PER_S = 20e3
"""How fast they fetch at least, in what they have besides."""


def hand_out(experiment: Experiment, fleet: NetFleet, folder: Path, number: int) -> str:
    """Have devices keep their models as they are after a round; a sentence on who does, empty
    where the method gives devices none."""
    given = getattr(experiment.method, "device_model", None)
    if given is None:
        return ""
    present = fleet.present()
    names = {device: given(experiment.devices[device].kind) for device in present}
    asked = {device: name for device, name in names.items() if name is not None}
    if not asked:
        return ""
    jobs = _jobs(experiment, folder, number, asked)
    largest_bytes = max(sum(array.nbytes for array in job.arrays.values()) for job in jobs)
    deadline_s = LEAST_S + largest_bytes / SLOWEST_BYTES_PER_S
    try:
        results = fleet.collect(fleet.start(Wave(jobs=jobs, deadline_s=deadline_s)))
    except (AgainError, StarvedError) as fault:
        log.warning("devices keep no model: %s", fault)
        fleet.abandon(number)
        return f"No device keeps its model of round {number}."
    finally:
        fleet.tally()  # what this took belongs to no round
    kept = [result.device for result in results if isinstance(result, Reply)]
    for result in results:
        if not isinstance(result, Reply):
            log.warning("%s keeps no model: %s", result.device, result.reason)
    return _said(kept, len(experiment.devices), number)


def _said(kept: Sequence[DeviceId], total: int, number: int) -> str:
    return (
        f"{len(kept)} of {total} devices keep their own model of round {number}, in the folder "
        "`model` of their --state: `distilfleet predict` uses it there."
    )


def _jobs(
    experiment: Experiment, folder: Path, number: int, asked: Mapping[DeviceId, str]
) -> list[Job]:
    state = state_of(experiment.method, read_checkpoint(folder / "checkpoints"))
    models: Mapping[str, TrainedModel] = experiment.method.models(state)
    facts = _facts(experiment, folder, number)
    bodies = {name: {**facts, **_weights(models, name)} for name in set(asked.values())}
    expected = Expected(arrays={KEPT: ArraySpec("<i8", ())})
    return [
        Job(
            id=f"{number}:{KEEP}:{device}",
            device=device,
            op=KEEP,
            arrays=bodies[name],
            expected=expected,
        )
        for device, name in asked.items()
    ]


def _weights(models: Mapping[str, TrainedModel], name: str) -> Arrays:
    """Those that the server has for the device; none of a model that the device has itself."""
    return dict(prefixed(WEIGHTS, models[name].weights)) if name else {}


def _facts(experiment: Experiment, folder: Path, number: int) -> dict[str, np.ndarray]:
    """What a card says, and what a model of texts cannot be used without."""
    last: Mapping[str, Any] = read_rounds(folder)[-1] if number else {}
    found = {name: last[name] for name in FIGURES if name in last}
    arrays = {name: np.array(float(value)) for name, value in found.items()}
    arrays[ROUND] = np.array(number)
    if experiment.tokenizer is not None:
        arrays[TOKENIZER] = np.frombuffer(experiment.tokenizer.data, np.uint8)
    return arrays
