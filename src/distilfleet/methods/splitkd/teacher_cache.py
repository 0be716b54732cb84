"""The teacher's signal on samples that it has seen, so that its upload and its forward pass happen
once per sample.

Axes: n samples remembered, P positions of a sample that count, N counted positions of several
samples, E width of the teacher, m draws, k kept classes, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...core.types import Arrays
from ...nn.fused import DenseTeacher, SampledTeacher, Teacher, TopKTeacher
from ...nn.place import as_array, to_tensor
from . import codec
from .choices import Sort

ROWS = 128
"""Positions whose logits exist at a time."""


@dataclass(slots=True, kw_only=True)
class TeacherCache:
    """Signals by sample digest; grows while a round goes on."""

    sort: Sort
    parts: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """[n, P, ...] each, in pieces."""
    row_of: dict[bytes, int] = field(default_factory=dict)

    @staticmethod
    def of(sort: Sort, stored: Arrays) -> "TeacherCache":
        digests = stored.get("digests", np.zeros((0, 1), np.uint8))
        return TeacherCache(
            sort=sort,
            parts={name: [array] for name, array in stored.items()},
            row_of={digest.tobytes(): row for row, digest in enumerate(digests)},
        )

    def stored(self) -> dict[str, np.ndarray]:
        return {name: np.concatenate(pieces) for name, pieces in self.parts.items()}

    def knows(self, digests: np.ndarray) -> np.ndarray:
        return np.array([digest.tobytes() in self.row_of for digest in digests], bool)

    def add(self, digests: np.ndarray, signals: Arrays) -> None:
        """Signals of these samples, [samples, P, ...] each; of one that is known already they are
        left out."""
        if self.sort == "none":
            return
        fresh = [i for i, known in enumerate(self.knows(digests)) if not known]
        for i in fresh:
            self.row_of[digests[i].tobytes()] = len(self.row_of)
        for name, array in {"digests": digests, **signals}.items():
            self.parts.setdefault(name, []).append(array[fresh])

    def recall(
        self, digests: np.ndarray, counted_BP: np.ndarray, table_VE: Tensor, temperature: float
    ) -> Teacher:
        """The teacher on the counted positions of known samples."""
        rows = [self.row_of[digest.tobytes()] for digest in digests]
        found = {
            name: array[rows][counted_BP]
            for name, array in self.stored().items()
            if name != "digests"
        }
        device = table_VE.device
        if self.sort == "ids":
            return SampledTeacher(
                ids_NK=to_tensor(found["ids"].astype(np.int64), device), temperature=temperature
            )
        if self.sort == "top":
            return TopKTeacher(
                ids_NK=to_tensor(found["ids"].astype(np.int64), device),
                log_p_NK=to_tensor(found["log_p"].astype(np.float32), device),
                temperature=temperature,
            )
        hidden_NE = to_tensor(found["codes"] * found["scales"][:, None], device)
        return DenseTeacher(hidden_ND=hidden_NE, table_VD=table_VE)


def signals_of(
    sort: Sort,
    teacher: DenseTeacher,
    counted_BP: np.ndarray,
    temperature: float,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """What will be remembered of these positions, padded to [samples, P, ...]."""
    if sort == "hidden":
        sent = codec.encode(as_array(teacher.hidden_ND), 8)
        flat = {
            "codes": sent["codes"],
            "scales": np.ldexp(sent["scales"].astype(np.float32), int(sent["exponent"])),
        }
    else:
        seeded = torch.Generator(teacher.hidden_ND.device).manual_seed(int(rng.integers(1 << 62)))
        pieces = [_drawn(sort, logits, temperature, draws, seeded) for logits in _logits(teacher)]
        flat = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return {name: _padded(array, counted_BP) for name, array in flat.items()}


def _drawn(
    sort: Sort, logits_NV: Tensor, temperature: float, draws: int, rng: torch.Generator
) -> dict[str, np.ndarray]:
    shares_NV = torch.softmax(logits_NV.float() / temperature, dim=-1)
    narrow = np.uint16 if logits_NV.shape[-1] <= 1 << 16 else np.int32
    if sort == "ids":
        drawn = torch.multinomial(shares_NV, draws, replacement=True, generator=rng)
        return {"ids": as_array(drawn).astype(narrow)}
    top = shares_NV.topk(min(draws, shares_NV.shape[-1]), dim=-1)
    return {
        "ids": as_array(top.indices).astype(narrow),
        "log_p": as_array(top.values.log()).astype(np.float16),
    }


def _logits(teacher: DenseTeacher) -> Iterator[Tensor]:
    for at in range(0, len(teacher.hidden_ND), ROWS):
        yield teacher.hidden_ND[at : at + ROWS] @ teacher.table_VD.T


def _padded(array_N: np.ndarray, counted_BP: np.ndarray) -> np.ndarray:
    padded = np.zeros((*counted_BP.shape, *array_N.shape[1:]), array_N.dtype)
    padded[counted_BP] = array_N
    return padded
