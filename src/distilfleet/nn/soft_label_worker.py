"""The device half of methods in which weights stay on the device and soft labels travel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import numpy as np
from torch import nn

from ..core.chance import stream
from ..core.types import (
    Arrays,
    ArraySpec,
    Dataset,
    Device,
    DeviceId,
    Expected,
    Job,
    Load,
    TrainedModel,
)
from . import soft_labels as soft
from .distil import Distillation, distil, predict
from .loads import frames, proxy_load, training_load
from .train import LocalTraining, task, train
from .weight_worker import LABELS, SAMPLES, as_answered, held_out_accuracy, label_counts, scratch
from .weights import put, to_arrays
from .zoo import Model

MOST_JUDGED = 100
NO_LABELS = np.zeros((0, 0), np.float32)
"""Soft labels before there are any."""


@dataclass(slots=True, kw_only=True)
class SoftLabelWorker:
    """Keeps its model; weights never leave the device.

    A job may bring the proxy inputs (`proxy`, once) and soft labels to learn (`soft`); the answer
    is the device's own soft labels on the proxy set, if it has one, in the coding of the expected
    reply: bytes or float32.
    """

    device: Device
    data: Dataset
    model: Model
    local: LocalTraining
    digest: Distillation
    seed: int
    weights: Arrays = field(default_factory=dict)
    proxy: np.ndarray | None = None

    def load(self, job: Job) -> Load:
        train = training_load(self.model, len(self.data), self.local) + frames(
            as_answered(job, self.device)
        )
        proxy = job.arrays.get("proxy", self.proxy)
        if proxy is None:
            return train
        passes = self.digest.passes if "soft" in job.arrays else 0
        return train + proxy_load(self.model, len(proxy), passes, self.digest.batch)

    def handle(self, job: Job) -> Arrays:
        module = put(scratch(self.model), self.weights or to_arrays(self.model.build(self.seed)))
        if "proxy" in job.arrays:
            self.proxy = from_link(job.arrays["proxy"])
        if "soft" in job.arrays and self.proxy is not None:
            soft_PC = read_soft(job.arrays["soft"])
            rng = stream(self.seed, "digest", job.id)
            distil(module, self.proxy, soft_PC, self.digest, rng)
        key = (self.seed, "train", job.id)
        start = to_arrays(module)
        self.weights = train(
            module, task(start, self.data, self.model.classes, self.local, key), self.local
        )
        return self._answer(job, module)

    def _answer(self, job: Job, module: nn.Module) -> Arrays:
        counts = {
            SAMPLES: np.array(len(self.data)),
            LABELS: label_counts(self.device, self.data, self.model.classes),
        }
        answer = {name: counts[name] for name in job.expected.arrays if name in counts}
        if "soft" in job.expected.arrays and self.proxy is not None:
            soft_PC = soft.soften(predict(module, self.proxy), self.digest.temperature)
            answer["soft"] = write_soft(soft_PC, job.expected.arrays["soft"].dtype)
        return answer

    def own_model(self, received: Arrays) -> TrainedModel:
        """The model that the device has at the end of a run, which it has learnt."""
        return TrainedModel(model=self.model, weights=self.weights, size="small")

    def snapshot(self) -> Arrays:
        model = quote(self.model.name, safe="")
        kept = {f"weights/{model}/{name}": array for name, array in self.weights.items()}
        return kept if self.proxy is None else {**kept, "proxy": self.proxy}

    def restore(self, kept: Arrays) -> None:
        self.weights = kept_weights(kept)
        self.proxy = kept.get("proxy")


def learn_jobs(
    number: int,
    devices: Sequence[DeviceId],
    holders: Sequence[DeviceId],
    proxy: Dataset,
    soft_PC: np.ndarray,
    answer: Mapping[str, ArraySpec],
) -> list[Job]:
    """One job per device: learn these soft labels (if there are any), train, and answer with your
    own.

    Devices that do not hold the proxy inputs yet are sent them along.
    """
    dtype = answer["soft"].dtype
    labels = {"soft": write_soft(soft_PC, dtype)} if len(soft_PC) else {}
    first = {**labels, "proxy": to_link(proxy.inputs)}
    expected = Expected(arrays=answer)
    known = frozenset(holders)
    return [
        Job(
            id=f"{number}:learn:{device}",
            device=device,
            op="learn",
            arrays=labels if device in known else first,
            expected=expected,
        )
        for device in devices
    ]


def kept_weights(kept: Arrays) -> dict[str, np.ndarray]:
    """The model in a pupil's snapshot."""
    return {
        name.split("/", 2)[2]: array for name, array in kept.items() if name.startswith("weights/")
    }


def kept_model(kept: Arrays) -> str:
    """The name of the model in a pupil's snapshot."""
    return unquote(next(name for name in kept if name.startswith("weights/")).split("/", 2)[1])


def kept_accuracy(
    kept: Mapping[DeviceId, Arrays], models: Mapping[str, Model], test: Dataset
) -> dict[str, float]:
    """`small_accuracy`, the mean over devices that have a model, a hundred at most; empty if none
    has."""
    scores = []
    for snapshot in list(kept.values())[:MOST_JUDGED]:
        weights = kept_weights(snapshot)
        if weights:
            scores.append(held_out_accuracy(models[kept_model(snapshot)], weights, test))
    return {"small_accuracy": float(np.mean(scores))} if scores else {}


def read_soft(sent: np.ndarray) -> np.ndarray:
    """Soft labels as they came over the link: bytes are unpacked, float32 is taken as it is."""
    return soft.unpack(sent) if sent.dtype == np.uint8 else np.array(sent, np.float32)


def write_soft(soft_PC: np.ndarray, dtype: str) -> np.ndarray:
    """Soft labels for the link, packed into bytes where that is the type, else float32."""
    return soft.pack(soft_PC) if np.dtype(dtype) == np.uint8 else np.asarray(soft_PC, np.float32)


def to_link(inputs: np.ndarray) -> np.ndarray:
    """Proxy inputs for the link: half precision, enough for sensor and pixel values; words as they
    are."""
    return inputs.astype(np.float16) if inputs.dtype.kind == "f" else inputs


def from_link(sent: np.ndarray) -> np.ndarray:
    """Proxy inputs as they came over the link, float32 again, or whole numbers."""
    return sent.astype(np.float32) if sent.dtype.kind == "f" else np.array(sent)
