"""Every way to cut a model, as columns: what each takes of device, server, radio and memory in one step.

A decoder sends the same number of bytes at every cut, so only computing and memory tell its cuts apart; a
convolutional net shrinks its activations, and there inner cuts pay. Formulas and sources: docs/design/0008.

Axes: K options.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, product

import numpy as np

from ..core.errors import ConfigError
from ..core.types import LanguageProfile

KEPT_BYTES = 34
"""Bytes per token, number of width and layer that are kept for the backward pass in 16 bits with fused
attention (Korthikanti et al., "Reducing activation recomputation", MLSys 2023, eq. 2 without its quadratic term)."""
RECOMPUTED_BYTES = 2
"""The same where a layer keeps its input alone and computes the rest again."""
PASSING_BYTES = 4
"""Bytes per token and number of width of a layer without a backward pass: input and output."""
STATE_BYTES = 16
"""Bytes per trained weight: full precision, two moments and a gradient."""
ADAPTED_WIDTHS = 8
"""A rank-one adapter of a layer's four attention matrices has about this many numbers per number of width."""
LABEL_BYTES = 4
FRAME_BYTES = 256
"""About what a message takes beside its arrays; so no message is empty and every device has a share each way."""
GROUP = 32
"""Numbers that share a 16-bit scale at 4 bits; at 8 bits a token's whole row does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a step takes under each choice, [K] each. Choices are named by their two cuts and the bits on the wire."""

    model: str
    layers: int
    """Layers of the model that is trained; no cut lies beyond them."""
    same_bytes: bool
    """Whether every cut sends the same bytes, as in a decoder."""
    teacher_cut: np.ndarray
    cut: np.ndarray
    bits: np.ndarray
    device_flops: np.ndarray
    device_moved_bytes: np.ndarray
    device_memory_bytes: np.ndarray
    server_flops: np.ndarray
    server_memory_bytes: np.ndarray
    """What one device's step takes there, beside the models."""
    up_bytes: np.ndarray
    down_bytes: np.ndarray
    server_held_bytes: float
    """The models themselves, whoever takes part."""

    def __len__(self) -> int:
        return len(self.cut)

    def at(self, cut: int) -> "Options":
        """Those with this cut of the student alone. Raises ConfigError for a cut beyond the model."""
        kept_K = self.cut == cut
        if not kept_K.any():
            raise ConfigError(f"a cut of {cut} is beyond {self.model}, which has {self.layers} layers")
        columns = {name: getattr(self, name) for name in self.__slots__}
        return Options(**{name: v[kept_K] if isinstance(v, np.ndarray) else v for name, v in columns.items()})

    def find(self, teacher_cut: int, cut: int, bits: int) -> int:
        """The row of a choice. Raises ConfigError where there is none."""
        (rows,) = np.nonzero((self.teacher_cut == teacher_cut) & (self.cut == cut) & (self.bits == bits))
        if not len(rows):
            raise ConfigError(f"{self.model} has no option with teacher cut {teacher_cut}, cut {cut} and {bits} bits")
        return int(rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How a decoder is distilled."""

    batch_tokens: int
    """Tokens of one device in one step."""
    steps: int = 1
    """Steps of a round; what travels once per round is spread over them."""
    bits: Sequence[int] = (8,)
    """Choices on the way up; gradients come down with 8 or more, since 4 cost them too much."""
    rank: int | None = 8
    """Rank of the student's adapters; None trains every weight."""
    rows: int | None = None
    """Rows of the embedding tables that a device holds; None holds them whole."""
    teacher_cuts: Sequence[int] = (0,)
    teacher_bits: int = 16
    """Bits of the teacher's weights on the server."""
    teacher_cached: bool = False
    """The teacher's signal is at hand: no upload, no forward pass."""
    labels_kept: bool = False
    """The last hidden state comes back and the device computes the loss on its labels."""
    recompute: bool = False
    """Activations are computed again in the backward pass rather than kept."""

    @property
    def backward(self) -> int:
        """Passes through a trained layer after the forward one, in forward passes."""
        return (1 if self.rank else 2) + self.recompute

    @property
    def head(self) -> int:
        """Passes through the student's output table, the forward one included."""
        return 2 if self.rank else 3

    @property
    def kept_bytes(self) -> int:
        return RECOMPUTED_BYTES if self.recompute else KEPT_BYTES


def wire_bits(bits: int, width: int) -> float:
    """Of one smashed number, scales counted."""
    if bits == 16:
        return 16.0
    if bits == 8:
        return 8 + 16 / width
    if bits == 4:
        return 4 + 16 / GROUP
    raise ConfigError(f"smashed data travel with 16, 8 or 4 bits, got {bits}")


def decoder_options(teacher: LanguageProfile | None, student: LanguageProfile, work: Workload) -> Options:
    """Options of a decoder distilled from a teacher, or split without one. Raises ConfigError."""
    _check(teacher, work)
    teacher_cuts = work.teacher_cuts if teacher and not work.teacher_cached else (0,)
    choices = list(product(sorted(teacher_cuts), range(len(student.layers) + 1), sorted(work.bits, reverse=True)))
    ct_K, cs_K, bits_K = (np.array(column) for column in zip(*choices, strict=True))
    sides = _Teacher.of(teacher, work), _Student.of(student, work)
    return Options(
        model=student.name,
        layers=len(student.layers),
        same_bytes=True,
        teacher_cut=ct_K,
        cut=cs_K,
        bits=bits_K,
        **_device(*sides, work, (ct_K, cs_K)),
        **_server(*sides, work, (ct_K, cs_K)),
        **_wire(*sides, work, (ct_K, cs_K, bits_K)),
        server_held_bytes=float(sides[0].held_bytes + sides[1].held_bytes),
    )


# --- parts of a decoder -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Teacher:
    """Columns below each cut, [L + 1]; a teacher that is not there or cached is all zeros."""

    width: int
    flops: np.ndarray
    weight_bytes: np.ndarray
    head_flops: float
    held_bytes: float

    @staticmethod
    def of(teacher: LanguageProfile | None, work: Workload) -> "_Teacher":
        if teacher is None or work.teacher_cached:
            return _Teacher(width=0, flops=np.zeros(1), weight_bytes=np.zeros(1), head_flops=0.0, held_bytes=0.0)
        bits = work.teacher_bits if work.teacher_bits > 8 else wire_bits(work.teacher_bits, teacher.width)
        return _Teacher(
            width=teacher.width,
            flops=_below([layer.forward_flops for layer in teacher.layers]) * work.batch_tokens,
            weight_bytes=_below([layer.weight_bytes for layer in teacher.layers]),
            head_flops=teacher.head_flops * work.batch_tokens,
            held_bytes=teacher.parameters * bits / 8,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Student:
    """Columns below each cut, [L + 1]. `state_bytes` is what an optimiser adds to the weights."""

    width: int
    vocabulary: int
    flops: np.ndarray
    weight_bytes: np.ndarray
    state_bytes: np.ndarray
    trained_bytes: np.ndarray
    """What a device's part of the model weighs on the wire, with 16 bits."""
    head_flops: float
    held_bytes: float

    @staticmethod
    def of(student: LanguageProfile, work: Workload) -> "_Student":
        weight_bytes = _below([layer.weight_bytes for layer in student.layers])
        adapters = _below([ADAPTED_WIDTHS * student.width * (work.rank or 0)] * len(student.layers))
        rows = student.width * (student.vocabulary if work.rows is None else work.rows)
        trained = adapters if work.rank else weight_bytes / student.bytes_per_weight + rows
        every = adapters[-1] if work.rank else student.parameters
        return _Student(
            width=student.width,
            vocabulary=student.vocabulary,
            flops=_below([layer.forward_flops for layer in student.layers]) * work.batch_tokens,
            weight_bytes=weight_bytes,
            state_bytes=STATE_BYTES * trained,
            trained_bytes=2 * trained,
            head_flops=student.head_flops * work.batch_tokens,
            held_bytes=student.parameters * student.bytes_per_weight + STATE_BYTES * every,
        )


def _device(
    teacher: _Teacher, student: _Student, work: Workload, cuts: tuple[np.ndarray, ...]
) -> dict[str, np.ndarray]:
    ct_K, cs_K = cuts
    tokens, widths = work.batch_tokens, teacher.width + student.width
    weights_K = teacher.weight_bytes[ct_K] + student.weight_bytes[cs_K]
    kept_K = tokens * (cs_K * work.kept_bytes * student.width + (ct_K > 0) * PASSING_BYTES * teacher.width)
    rows_bytes = 2 * widths * (student.vocabulary if work.rows is None else work.rows)
    head_flops, head_bytes = (work.head * student.head_flops, 2 * student.width * student.vocabulary)
    kept_labels = int(work.labels_kept)
    passes_K = teacher.weight_bytes[ct_K] + (1 + work.backward) * student.weight_bytes[cs_K]
    flops_K = teacher.flops[ct_K] + (1 + work.backward) * student.flops[cs_K]
    return {
        "device_flops": flops_K + kept_labels * head_flops,
        "device_moved_bytes": passes_K + 2 * kept_K + 2 * 2 * tokens * widths + kept_labels * 2 * head_bytes,
        "device_memory_bytes": weights_K
        + student.state_bytes[cs_K]
        + kept_K
        + rows_bytes
        + 2 * tokens * widths
        + kept_labels * head_bytes,
    }


def _server(
    teacher: _Teacher, student: _Student, work: Workload, cuts: tuple[np.ndarray, ...]
) -> dict[str, np.ndarray]:
    ct_K, cs_K = cuts
    tokens = work.batch_tokens
    teacher_K = teacher.flops[-1] - teacher.flops[ct_K] + teacher.head_flops
    student_K = (1 + work.backward) * (student.flops[-1] - student.flops[cs_K])
    layers_K = len(student.flops) - 1 - cs_K
    return {
        "server_flops": teacher_K + student_K + (0 if work.labels_kept else work.head * student.head_flops),
        "server_memory_bytes": tokens
        * (layers_K * work.kept_bytes * student.width + PASSING_BYTES * (teacher.width + student.width)),
    }


def _wire(
    teacher: _Teacher, student: _Student, work: Workload, choice: tuple[np.ndarray, ...]
) -> dict[str, np.ndarray]:
    _, cs_K, bits_K = choice
    up_K = _packed(bits_K, teacher.width, work) + _packed(bits_K, student.width, work)
    gradient_K = _packed(np.maximum(bits_K, 8), student.width, work)
    learns_K = (cs_K > 0) | (work.rank is None)  # a frozen embedding wants no gradient
    per_round_K = student.trained_bytes[cs_K] / work.steps
    loop = int(work.labels_kept)  # hidden state down, its gradient up
    labels_bytes = 0 if work.labels_kept else LABEL_BYTES * work.batch_tokens
    return {
        "up_bytes": FRAME_BYTES + up_K + per_round_K + labels_bytes + loop * gradient_K,
        "down_bytes": FRAME_BYTES
        + np.where(learns_K, gradient_K, 0.0)
        + per_round_K
        + loop * _packed(bits_K, student.width, work),
    }


def _packed(bits_K: np.ndarray, width: int, work: Workload) -> np.ndarray:
    if not width:
        return np.zeros(len(bits_K))
    return np.array([wire_bits(int(bits), width) for bits in bits_K]) * width * work.batch_tokens / 8


def _below(values: Sequence[float]) -> np.ndarray:
    """Sums over the layers below each cut, [L + 1]."""
    return np.array([0.0, *accumulate(values)])


def _check(teacher: LanguageProfile | None, work: Workload) -> None:
    deepest = max(work.teacher_cuts, default=0)
    if teacher is not None and deepest > len(teacher.layers):
        raise ConfigError(f"teacher cut {deepest} is beyond {teacher.name}, which has {len(teacher.layers)} layers")
    if not work.bits or work.batch_tokens < 1 or work.steps < 1:
        raise ConfigError("a workload has at least one token, one step and one choice of bits")
