"""The device half of split KD: embedding rows in NumPy and, where the device has a cut above zero,
a front of layers.

No torch here, and nothing that reaches it: a device that runs only the embedding modules needs
NumPy alone.

A round on a device: `open` (once: which rows occur here), `begin` (rows and front as the server has
them), `step` (a gradient that is due, and the next micro-batch), `loss` (where labels stay here),
`end` (what was learnt).

Axes: B samples of a micro-batch, T tokens of a window, D width, R rows that occur on this device, U
distinct rows of a micro-batch, V vocabulary.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

import numpy as np

from ...core import wire
from ...core.chance import stream
from ...core.prefix import prefixed, under
from ...core.types import PADDING, Arrays, ArraySpec, Dataset, Device, Job, Load
from ...trust.noise import Noise, eta_for, typical_norm
from . import codec
from .rows import Adam, EmbeddingRows, EmbeddingTable, distinct
from .settings import DIGEST_BYTES, NOTHING, SplitSettings, is_frozen


class FrontLayers(Protocol):
    """The student's (or teacher's) layers before the cut."""

    def forward(self, slot: int, x_BTD: np.ndarray, lengths_B: np.ndarray) -> np.ndarray: ...

    def backward(
        self, slot: int, x_BTD: np.ndarray, lengths_B: np.ndarray, gradient_BTD: np.ndarray
    ) -> np.ndarray:
        """The gradient of `x_BTD`; those of the weights add up until `step`."""
        ...

    def step(self) -> None: ...

    def begin(self, weights: Arrays) -> None: ...

    def learnt(self) -> Arrays:
        """Weights less those that the round began with."""
        ...

    def snapshot(self) -> Arrays: ...

    def restore(self, kept: Arrays) -> None: ...


FrontOf = Callable[[str, int], FrontLayers]
"""("student" or "teacher", layers) -> its front."""


@dataclass(slots=True, kw_only=True)
class SplitWorker:
    """One device. What it keeps between two jobs is in its snapshot, to the bit."""

    device: Device
    data: Dataset
    """Windows of token ids, int32 [n, T], `PADDING` after the last token; labels where there are
    classes."""
    split: SplitSettings
    seed: int
    front_of: FrontOf
    teacher_table: EmbeddingTable | None = None
    """The device's own file, where rows do not travel."""
    _plan: dict[str, int] = field(default_factory=dict)
    """cut, teacher_cut, bits and first_step of the round that goes on."""
    _teacher: EmbeddingRows | None = None
    _student: EmbeddingRows | None = None
    _head: EmbeddingRows | None = None
    _fronts: dict[str, FrontLayers] = field(default_factory=dict)
    _ids: np.ndarray | None = None
    _order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
    """Of the samples in one pass: its number, and they."""
    _visits: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    """How often each sample was sent with noise; empty where there is none."""
    _norms: dict[str, float] = field(default_factory=dict)
    """By model: what noise is measured by, settled once, for draws of two lengths and one direction
    would cancel."""

    # --- what a job takes

    def load(self, job: Job) -> Load:
        down, up = wire.head_bytes(job)
        sent = wire.encoded_bytes(job.arrays)
        reply = self._announced(job)
        rows_bytes = (
            4 * len(self.ids) * (4 * self.split.student.width + self.split.teacher.width // 2)
        )
        work = self._step_load(job) if job.op == "step" else Load()
        return work + Load(
            down_bytes=down + sent,
            up_bytes=up + wire.body_bytes(reply),
            moved_bytes=float(sent + wire.body_bytes(reply)),
            memory_bytes=rows_bytes
            + self._front_bytes(int(job.arrays["cut"]) if job.op == "begin" else None),
        )

    def handle(self, job: Job) -> Arrays:
        ops: Mapping[str, Callable[[Arrays], Arrays]] = {
            "open": self._open,
            "begin": self._begin,
            "step": self._step,
            "loss": self._loss,
            "end": self._end,
        }
        return ops[job.op](job.arrays)

    @property
    def ids(self) -> np.ndarray:
        """Token ids that occur on this device, sorted, [R]."""
        if self._ids is None:
            self._ids = np.unique(self.data.inputs[self.data.inputs != PADDING]).astype(np.int32)
        return self._ids

    # --- ops

    def _open(self, arrays: Arrays) -> Arrays:
        present = np.zeros(8 * ceil(self.split.student.vocabulary / 8), np.uint8)
        present[self.ids] = 1
        return {"present": np.packbits(present)}

    def _begin(self, arrays: Arrays) -> Arrays:
        before = self._plan
        self._plan = {
            name: int(arrays[name]) for name in ("cut", "teacher_cut", "bits", "first_step")
        }
        if "teacher_rows" in arrays:
            self._teacher = EmbeddingRows.frozen(self.ids, arrays["teacher_rows"])
        self._student = self._begun(self.ids, arrays["student_rows"], self._student)
        if "head" in arrays:
            every = np.arange(len(arrays["head"]), dtype=np.int32)
            self._head = self._begun(every, arrays["head"], self._head)
        self._fronts = self._new_fronts(before)
        for whose, front in self._fronts.items():
            front.begin(under(f"{whose}", arrays))
        return self._coming()

    def _begun(
        self, ids_R: np.ndarray, rows_RD: np.ndarray, before: EmbeddingRows | None
    ) -> EmbeddingRows:
        """Rows as the server has them, with the moments of those before where they are trained."""
        if self.split.train_rows:
            return EmbeddingRows.begin(ids_R, rows_RD, before)
        return EmbeddingRows.frozen(ids_R, rows_RD)

    def _coming(self) -> Arrays:
        """Digests and lengths of the samples of the round, in the order in which they come."""
        samples = np.concatenate([self._samples(step) for step in range(self.split.steps)])
        digests = b"".join(self._digest(self.data.inputs[sample]) for sample in samples)
        return {
            "digests": np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES),
            "lengths": self._lengths(samples),
        }

    def _step(self, arrays: Arrays) -> Arrays:
        if "back_slot" in arrays:
            self._backward(int(arrays["back_slot"]), arrays)
        if arrays["apply"]:
            self._apply()
        slot = int(arrays["slot"])
        return {} if slot == NOTHING else self._forward(slot, np.asarray(arrays["need"]))

    def _loss(self, arrays: Arrays) -> Arrays:
        """Cross-entropy and its gradient, from the last hidden states of a micro-batch's counted
        positions."""
        assert self._head is not None, "labels are kept, so the head came with `begin`"
        hidden_ND = codec.decode(under("hidden", arrays))
        wanted_N = self.wanted(int(arrays["slot"]))
        surplus_NV = softmax(hidden_ND @ self._head.values.T)
        at = np.arange(len(wanted_N)), wanted_N
        nats = -np.log(np.maximum(surplus_NV[at], 1e-30)).sum()
        surplus_NV[at] -= 1.0
        if self._head.is_trained:
            self._head.add(surplus_NV.T @ hidden_ND * np.float32(arrays["share"]), len(wanted_N))
        gradient_ND = np.asarray(surplus_NV @ self._head.values, np.float32)
        sent = codec.encode(gradient_ND, self.split.gradient_bits)
        return {"nats": np.array(nats, np.float32), **prefixed("gradient", sent)}

    def _end(self, arrays: Arrays) -> Arrays:
        if "back_slot" in arrays:
            self._backward(int(arrays["back_slot"]), arrays)
        self._apply()
        assert self._student is not None
        learnt: dict[str, np.ndarray] = {}
        if self.split.train_rows:
            learnt |= {"rows": self._student.learnt(), "seen": self._student.seen.astype(np.int32)}
        if self._head is not None and self._head.is_trained:
            learnt["head"] = self._head.learnt()
        if "student" in self._fronts:
            learnt |= {
                f"student/{name}": array for name, array in self._fronts["student"].learnt().items()
            }
        return learnt

    # --- a micro-batch, there and back

    def _forward(self, slot: int, need_B: np.ndarray) -> Arrays:
        ids_BT = self.tokens(slot)
        bits = self._plan["bits"]
        if self.split.noise:
            self._count_visits(slot)
        answer = prefixed("student", self._smashed("student", slot, ids_BT, bits))
        if need_B.any():
            answer |= prefixed("teacher", self._smashed("teacher", slot, ids_BT[need_B], bits))
        if self.split.labels == "shared":
            labels = self.data.labels
            shared = ids_BT if labels is None else labels[self._slot_samples(slot)]
            answer["labels"] = shared.astype(np.int32)
        return answer

    def _count_visits(self, slot: int) -> None:
        if not len(self._visits):
            self._visits = np.zeros(len(self.data), np.int32)
        np.add.at(self._visits, self._slot_samples(slot), 1)

    def _smashed(self, whose: str, slot: int, ids_BT: np.ndarray, bits: int) -> Arrays:
        """What travels: distinct rows and where they stand, or, after a front, the activations of
        every position."""
        front = self._fronts.get(whose)
        if front is None and self.split.sends_distinct:
            distinct_U, index_BT = distinct(ids_BT)
            return {**codec.encode(self._rows(whose, distinct_U), bits), "index": index_BT}
        vectors_BTD = self._embedded(whose, ids_BT)
        if front is not None:
            vectors_BTD = front.forward(slot, vectors_BTD, (ids_BT != PADDING).sum(axis=1))
        if self.split.noise:
            vectors_BTD = self._noisy(whose, slot, vectors_BTD, ids_BT)
        return codec.encode(vectors_BTD.reshape(-1, vectors_BTD.shape[-1]), bits)

    def _noisy(
        self, whose: str, slot: int, vectors_BTD: np.ndarray, ids_BT: np.ndarray
    ) -> np.ndarray:
        """Every vector with a draw of its own, the same at the next visit if the vectors are."""
        cut = self._plan["cut" if whose == "student" else "teacher_cut"]
        eta_nats = eta_for(vectors_BTD.shape[-1], self.split.noise * self._norm(whose))
        noise = Noise(
            eta_nats=eta_nats, secret=self._secret(), memoised=is_frozen(self.split, whose, cut)
        )
        step = self._plan["first_step"] + slot // self.split.micro_batches
        drawn = [
            noise.on(vectors_TD, digest=self._digest(window), tensor=f"{whose} {cut}", visit=step)
            for vectors_TD, window in zip(vectors_BTD, ids_BT, strict=True)
        ]
        return np.stack(drawn)

    def _norm(self, whose: str) -> float:
        if whose not in self._norms:
            self._norms[whose] = typical_norm(self._rows(whose, self.ids))
        return self._norms[whose]

    def _backward(self, slot: int, arrays: Arrays) -> None:
        """The gradient of what was smashed; it comes as a sum over positions, `share` makes it the
        step's mean."""
        assert self._student is not None
        gradient = codec.decode(under("back", arrays)) * np.float32(arrays["share"])
        ids_BT = self.tokens(slot)
        front = self._fronts.get("student")
        by_position = gradient
        if front is not None:
            lengths_B = (ids_BT != PADDING).sum(axis=1)
            x_BTD = self._embedded("student", ids_BT)
            by_position = front.backward(slot, x_BTD, lengths_B, gradient.reshape(x_BTD.shape))
        if not self.split.train_rows:
            return
        distinct_U, index_BT = distinct(ids_BT)
        if front is not None or not self.split.sends_distinct:
            width = gradient.shape[-1]
            gradient = np.zeros((len(distinct_U), width), np.float32)
            np.add.at(gradient, index_BT.ravel(), by_position.reshape(-1, width))
        real_BT = ids_BT != PADDING
        seen_U = np.bincount(index_BT[real_BT].ravel(), minlength=len(distinct_U))
        places = np.searchsorted(self.ids, distinct_U)
        self._student.add(gradient, int(real_BT.sum()), at=places, seen=seen_U)

    def _apply(self) -> None:
        adam = Adam(lr=self.split.lr)
        for rows in (self._student, self._head):
            if rows is not None and rows.is_trained:
                rows.step(adam)
        if "student" in self._fronts:
            self._fronts["student"].step()

    # --- rows, samples, sizes

    def _rows(self, whose: str, ids_U: np.ndarray) -> np.ndarray:
        if whose == "teacher" and self.teacher_table is not None:
            return self.teacher_table.rows(ids_U)
        held = self._teacher if whose == "teacher" else self._student
        assert held is not None, f"{whose} rows come with `begin`"
        return held.rows(ids_U)

    def _embedded(self, whose: str, ids_BT: np.ndarray) -> np.ndarray:
        distinct_U, index_BT = distinct(ids_BT)
        return np.asarray(self._rows(whose, distinct_U)[index_BT])

    def _samples(self, step: int) -> np.ndarray:
        """Sample numbers of one step, [batch]: endless seeded passes over the data."""
        first = (self._plan["first_step"] + step) * self.split.batch
        return np.array([self._sample(first + i) for i in range(self.split.batch)])

    def _sample(self, position: int) -> int:
        passed, at = divmod(position, len(self.data))
        if self._order[0] != passed:
            self._order = (
                passed,
                stream(self.seed, "windows", self.device.id, passed).permutation(len(self.data)),
            )
        return int(self._order[1][at])

    def _slot_samples(self, slot: int) -> np.ndarray:
        step, part = divmod(slot, self.split.micro_batches)
        return np.array_split(self._samples(step), self.split.micro_batches)[part]

    def tokens(self, slot: int) -> np.ndarray:
        """What a micro-batch says, [B, T], once `begin` has come: the truth that an audit compares
        with."""
        return np.asarray(self.data.inputs[self._slot_samples(slot)], np.int64)

    def _lengths(self, samples: np.ndarray) -> np.ndarray:
        return np.asarray((self.data.inputs[samples] != PADDING).sum(axis=1), np.int32)

    def wanted(self, slot: int) -> np.ndarray:
        """Labels of the counted positions of a micro-batch, [N]."""
        samples = self._slot_samples(slot)
        if self.data.labels is not None:
            return np.asarray(self.data.labels[samples])
        next_BT = self.tokens(slot)[:, 1:]
        return np.asarray(next_BT[next_BT != PADDING])

    def _digest(self, window: np.ndarray) -> bytes:
        """Names a sample to the server without telling it more than equality."""
        said = np.asarray(window, np.int32).tobytes() + self.split.teacher.name.encode()
        return hmac.digest(self._secret(), said, hashlib.sha256)[:DIGEST_BYTES]

    def _secret(self) -> bytes:
        return stream(self.seed, "secret", self.device.id).bytes(32)

    def _announced(self, job: Job) -> Mapping[str, ArraySpec]:
        """What will be answered, exactly: where rows travel, the number of distinct ones is known
        here alone."""
        if job.op != "step" or int(job.arrays["slot"]) == NOTHING:
            return job.expected.arrays
        ids_BT = self.tokens(int(job.arrays["slot"]))
        need_B = np.asarray(job.arrays["need"])
        exact = dict(job.expected.arrays)
        for whose, ids in (("student", ids_BT), ("teacher", ids_BT[need_B])):
            if whose not in self._fronts and f"{whose}/index" in exact:
                shape = len(distinct(ids)[0]), self._width(whose)
                exact |= prefixed(whose, codec.spec(shape, self._plan["bits"]))
        return exact

    def _width(self, whose: str) -> int:
        return (self.split.teacher if whose == "teacher" else self.split.student).width

    def _step_load(self, job: Job) -> Load:
        split = self.split
        tokens = self.split.batch * self.split.context / self.split.micro_batches
        forward = (
            sum(layer.forward_flops for layer in split.student.layers[: self._plan["cut"]]) * tokens
        )
        teacher = sum(
            layer.forward_flops for layer in split.teacher.layers[: self._plan["teacher_cut"]]
        )
        flops = 2 * forward if "back_slot" in job.arrays else 0.0
        if int(job.arrays["slot"]) != NOTHING:
            need_B = np.asarray(job.arrays["need"])
            flops += forward + teacher * tokens * float(need_B.mean() if len(need_B) else 0.0)
        return Load(flops=flops)

    def _front_bytes(self, cut: int | None) -> int:
        """Weights, gradient and two moments of the layers before the cut, and what they keep of a
        micro-batch."""
        split = self.split
        cut = self._plan.get("cut", 0) if cut is None else cut
        weights = (
            sum(layer.weight_bytes for layer in split.student.layers[:cut])
            // split.student.bytes_per_weight
        )
        tokens = split.batch * split.context
        return 16 * weights + cut * 34 * tokens * split.student.width

    # --- between jobs

    def snapshot(self) -> Arrays:
        kept = prefixed("plan", _as_arrays(self._plan))
        if len(self._visits):
            kept["visits"] = self._visits.copy()
        kept |= prefixed("norm", _as_arrays(self._norms))
        tables = {"teacher": self._teacher, "student": self._student, "head": self._head}
        for name, rows in tables.items():
            if rows is not None:
                kept |= prefixed(name, rows.snapshot())
        for whose, front in self._fronts.items():
            kept |= prefixed(f"front/{whose}", front.snapshot())
        return kept

    def restore(self, kept: Arrays) -> None:
        self._plan = {name: int(value) for name, value in under("plan", kept).items()}
        self._visits = np.array(kept.get("visits", self._visits[:0]))
        self._norms = {name: float(value) for name, value in under("norm", kept).items()}
        self._teacher, self._student, self._head = (
            EmbeddingRows.restored(under(f"{name}", kept)) if f"{name}/ids" in kept else None
            for name in ("teacher", "student", "head")
        )
        self._fronts = self._new_fronts({})
        for whose, front in self._fronts.items():
            front.restore(under(f"front/{whose}", kept))

    def _new_fronts(self, before: Mapping[str, int]) -> dict[str, FrontLayers]:
        """A front for each model that has layers here; one of the same layers goes on, with its
        moments."""
        fronts: dict[str, FrontLayers] = {}
        for whose, name in (("student", "cut"), ("teacher", "teacher_cut")):
            layers = self._plan.get(name, 0)
            if layers and before.get(name) == layers:
                fronts[whose] = self._fronts[whose]
            elif layers:
                fronts[whose] = self.front_of(whose, layers)
        return fronts


def _as_arrays(numbers: Mapping[str, float]) -> dict[str, np.ndarray]:
    return {name: np.array(number) for name, number in numbers.items()}


def softmax(logits_NV: np.ndarray) -> np.ndarray:
    """The probabilities, in place of the logits."""
    logits_NV -= logits_NV.max(axis=1, keepdims=True)
    np.exp(logits_NV, out=logits_NV)
    logits_NV /= logits_NV.sum(axis=1, keepdims=True)
    return logits_NV
