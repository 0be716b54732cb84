"""Devices that lie, for experiments: a method whose workers on some devices answer what an attack
makes of the truth.

Attacks on weights change the update; those on soft labels, the table. The stealthy ones stay within
what honest devices might say, and know what those say in the same wave, as far as the fleet runs it
in one piece (cohorts on).

Sources: `a-little`: Baruch et al., "A little is enough", NeurIPS 2019,
https://arxiv.org/abs/1902.06156. `inner-product`: Xie et al., "Fall of empires", UAI 2019,
https://arxiv.org/abs/1903.03936. `wrong-labels` and `sign-flip` as in Li et al., "Learning to
detect malicious clients for robust federated learning", 2020, https://arxiv.org/abs/2002.00211.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from ..core.chance import stream
from ..core.errors import ConfigError
from ..core.protocols import Method, Worker
from ..core.types import Arrays, Dataset, Device, DeviceId, Job, Load, Metrics
from .choices import Attack

ATTACKS: tuple[str, ...] = get_args(Attack)
FLIP = 4.0
"""Times the honest update, backwards."""
LARGE = 10.0
"""Standard deviations of the honest update that a random one has."""
LITTLE = 1.5
"""Standard deviations of the honest devices."""
HUGE = 1e30
SOFT = "soft"
"""What a table of soft labels is called in an answer; everything else that came with the job is
weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Liar:
    """A device that works as it should and then says something else."""

    worker: Worker
    attack: Attack
    seed: int

    def load(self, job: Job) -> Load:
        return self.worker.load(job)

    def handle(self, job: Job) -> Arrays:
        return self.lie(job, self.worker.handle(job), [])

    def lie(self, job: Job, truth: Arrays, honest: Sequence[Arrays]) -> Arrays:
        """What it says, knowing what `honest` devices say."""
        rng = stream(self.seed, "lie", job.id)
        return {
            name: self._claim(name, array, job.arrays, honest, rng) for name, array in truth.items()
        }

    def snapshot(self) -> Arrays:
        return self.worker.snapshot()

    def restore(self, kept: Arrays) -> None:
        self.worker.restore(kept)

    def _claim(
        self,
        name: str,
        true: np.ndarray,
        sent: Arrays,
        honest: Sequence[Arrays],
        rng: np.random.Generator,
    ) -> np.ndarray:
        others = np.stack(
            [one[name] for one in honest if name in one and one[name].shape == true.shape] or [true]
        )
        if name == SOFT:
            return _table(self.attack, true, others, rng)
        if name not in sent or true.dtype.kind != "f" or self.attack == "wrong-labels":
            return true
        if self.attack == "runner-up":
            raise ConfigError("runner-up is an attack on soft labels; choose another on weights")
        start = sent[name].astype(np.float64)
        claimed = start + _UPDATES[self.attack](true - start, others - start, rng)
        return np.asarray(claimed.astype(true.dtype))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Poisoned:
    """A method on a fleet some of whose devices lie. The server's half is the method's own."""

    method: Method[Any]
    liars: frozenset[DeviceId]
    attack: Attack
    classes: int
    seed: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        if device.id not in self.liars:
            return self.method.worker(device, data, seed)
        if self.attack == "wrong-labels" and data.labels is not None:
            data = Dataset(data.inputs, (data.labels + 1) % self.classes)
        return Liar(
            worker=self.method.worker(device, data, seed), attack=self.attack, seed=self.seed
        )

    def cohort(self, workers: Sequence[Worker], jobs: Sequence[Job]) -> Sequence[Arrays]:
        own = [worker.worker if isinstance(worker, Liar) else worker for worker in workers]
        together = getattr(self.method, "cohort", None)
        truths = (
            together(own, jobs)
            if together
            else [w.handle(job) for w, job in zip(own, jobs, strict=True)]
        )
        honest = [
            truth
            for worker, truth in zip(workers, truths, strict=True)
            if not isinstance(worker, Liar)
        ]
        return [
            worker.lie(job, truth, honest) if isinstance(worker, Liar) else truth
            for worker, job, truth in zip(workers, jobs, truths, strict=True)
        ]

    def evaluate(self, state: Any, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        """The models that liars keep are their own business."""
        return self.method.evaluate(
            state, {d: one for d, one in kept.items() if d not in self.liars}, test
        )


def pick(devices: Sequence[DeviceId], share: float, seed: int) -> frozenset[DeviceId]:
    """Which devices lie."""
    chosen = stream(seed, "liars").permutation(len(devices))[: round(share * len(devices))]
    return frozenset(devices[i] for i in chosen.tolist())


Update = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""(the true update or table, those of others, chance) -> what is claimed."""
_UPDATES: dict[str, Update] = {
    "sign-flip": lambda own, others, rng: -FLIP * own,
    "random": lambda own, others, rng: LARGE * own.std() * rng.normal(size=own.shape),
    "huge": lambda own, others, rng: np.full(own.shape, HUGE),
    "nan": lambda own, others, rng: np.full(own.shape, np.nan),
    "a-little": lambda own, others, rng: others.mean(axis=0) - LITTLE * others.std(axis=0),
    "inner-product": lambda own, others, rng: -others.mean(axis=0),
}


def _table(
    attack: Attack, true: np.ndarray, others: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The soft labels that are claimed, in the coding of the true ones: bytes, or probabilities."""
    if true.dtype == np.uint8:
        claimed = _LABELS[attack](true / 255.0, others / 255.0, rng)
        return np.asarray(np.round(255.0 * np.clip(claimed, 0, 1)), np.uint8)
    if attack in ("huge", "nan"):
        return np.full(true.shape, HUGE if attack == "huge" else np.nan, true.dtype)
    claimed = np.maximum(_LABELS[attack](true.astype(np.float64), others, rng), 1e-9)
    return np.asarray(claimed / claimed.sum(axis=-1, keepdims=True), true.dtype)


def _certain(true_PC: np.ndarray) -> np.ndarray:
    return np.asarray(true_PC == true_PC.max(axis=-1, keepdims=True), np.float64)


def _runner_up(true_PC: np.ndarray) -> np.ndarray:
    """The two likeliest classes change places."""
    claimed_PC = true_PC.copy()
    order_PC = np.argsort(-true_PC, axis=-1)
    np.put_along_axis(
        claimed_PC,
        order_PC[:, 1::-1],
        np.take_along_axis(true_PC, order_PC[:, :2], axis=-1),
        axis=-1,
    )
    return claimed_PC


def _opposite(true_PC: np.ndarray) -> np.ndarray:
    return np.asarray(true_PC.max(axis=-1, keepdims=True) - true_PC)


_LABELS: dict[str, Update] = {
    "sign-flip": lambda own, others, rng: _opposite(own),
    "random": lambda own, others, rng: np.eye(own.shape[-1])[
        rng.integers(0, own.shape[-1], len(own))
    ],
    "huge": lambda own, others, rng: np.ones(own.shape),
    "nan": lambda own, others, rng: np.zeros(own.shape),
    "wrong-labels": lambda own, others, rng: _certain(own),
    "a-little": lambda own, others, rng: others.mean(axis=0) - LITTLE * others.std(axis=0),
    "inner-product": lambda own, others, rng: _opposite(others.mean(axis=0)),
    "runner-up": lambda own, others, rng: _runner_up(own),
}
