"""The model that a device keeps: written from a job of the server beside its worker's own jobs.

`STATE/model` is the newest and `STATE/model.previous` the one before it, each a folder that
explains itself, see `deploy`. A new one is put in place when it is whole.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import wire
from ..core.disk import write_folder
from ..core.errors import StorageError
from ..core.prefix import under
from ..core.protocols import Worker
from ..core.types import Arrays, Job, Load, RunSpec, TrainedModel
from ..data import spec as specs
from ..net.job_runner import DeclinedError

log = logging.getLogger(__name__)
KEEP = "keep"
"""The op of a job that asks for it."""
KEPT = "kept"
"""The one array of its answer."""
WEIGHTS = "weights"
ROUND = "round"
TOKENIZER = "tokenizer"
FIGURES = ("small_accuracy", "small_loss", "large_accuracy", "large_loss")
"""What a round measures of models, as metrics and as arrays of the job."""
FOLDER = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingWorker:
    """A worker whose device keeps the model that is its own when the server says so."""

    inner: Worker
    run: RunSpec
    folder: Path
    """Where the model goes."""
    facts: dict[str, Any]
    """What the method says of itself, for the card."""

    def load(self, job: Job) -> Load:
        if job.op != KEEP:
            return self.inner.load(job)
        down_bytes, up_bytes = wire.frame_bytes(job)
        received_bytes = wire.encoded_bytes(job.arrays)
        return Load(down_bytes=down_bytes, up_bytes=up_bytes, memory_bytes=2 * received_bytes)

    def handle(self, job: Job) -> Arrays:
        if job.op != KEEP:
            return self.inner.handle(job)
        self._keep(job)
        return {KEPT: np.array(1)}

    def snapshot(self) -> Arrays:
        return self.inner.snapshot()

    def restore(self, kept: Arrays) -> None:
        self.inner.restore(kept)

    def _keep(self, job: Job) -> None:
        """Raises DeclinedError where there is no model, or no room for it."""
        own: Any = getattr(self.inner, "own_model", None)
        trained = None if own is None else own(under(WEIGHTS, job.arrays))
        if trained is None or not trained.weights:
            raise DeclinedError("declined: this device has no model of its own")
        try:
            write_folder(self.folder, _files(trained, self, job), keep_previous=True)
        except StorageError as fault:
            log.warning("%s", fault)
            raise DeclinedError("declined: this device's disk does not take the model") from None
        log.info("kept: the model of round %d, in %s", int(job.arrays[ROUND]), self.folder)


def _files(trained: TrainedModel, worker: KeepingWorker, job: Job) -> dict[str, Any]:
    from ..deploy.card import CardFacts
    from ..deploy.contents import contents  # needs torch, as what trained the model did

    figures = {name: float(job.arrays[name]) for name in FIGURES if name in job.arrays}
    about = {
        "recipe": worker.run.method,
        "method": worker.facts,
        "disclosure": worker.facts.get("disclosure", ""),
        "versions": dict(worker.run.versions),
    }
    card = CardFacts(about=about, last={ROUND: int(job.arrays[ROUND]), **figures})
    return contents(trained.model.name, trained, card, specs.read(worker.run.data), _tokenizer(job))


def _tokenizer(job: Job) -> Any:
    if TOKENIZER not in job.arrays:
        return None
    from ..data.tokenizer import restore

    return restore(job.arrays[TOKENIZER].tobytes())


def keeping(worker: Worker, run: RunSpec, state: Path, facts: Any) -> Worker:
    """The worker of a run on a device that keeps its models in `state`."""
    return KeepingWorker(inner=worker, run=run, folder=state / FOLDER, facts=asdict(facts))
