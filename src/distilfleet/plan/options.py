"""Every way to cut a model, as columns: what each takes of device, server, radio and memory in one
step.

A decoder sends the same number of bytes at every cut, so only computing and memory tell its cuts
apart; a convolutional net shrinks its activations, and there inner cuts pay. Formulas and sources:
docs/design/0008.

Axes: K options.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, product

import numpy as np

from ..core.errors import ConfigError
from ..core.types import LanguageProfile

KEPT_BYTES = 34
"""Bytes per token, number of width and layer that are kept for the backward pass in 16 bits with
fused attention (Korthikanti et al., "Reducing activation recomputation", MLSys 2023, eq. 2 without
its quadratic term)."""
RECOMPUTED_BYTES = 2
"""The same where a layer keeps its input alone and computes the rest again."""
PASSING_BYTES = 4
"""Bytes per token and number of width of a layer without a backward pass: input and output."""
STATE_BYTES = 16
"""Bytes per trained weight: full precision, two moments and a gradient."""
ADAPTED_WIDTHS = 8
"""A rank-one adapter of a layer's four attention matrices has about this many numbers per number of
width."""
LABEL_BYTES = 4
FRAME_BYTES = 256
"""About what a message takes beside its arrays; so no message is empty and every device has a share
each way."""
GROUP = 32
"""Numbers that share a 16-bit scale at 4 bits; at 8 bits a token's whole row does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a step takes under each choice, [K] each. Choices are named by their two cuts and the
    bits on the wire."""

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
        """Those with this cut of the student alone. Raises ConfigError for a cut beyond the
        model."""
        kept_K = self.cut == cut
        if not kept_K.any():
            raise ConfigError(
                f"a cut of {cut} is beyond {self.model}, which has {self.layers} layers"
            )
        columns = {name: getattr(self, name) for name in self.__slots__}
        return Options(
            **{name: v[kept_K] if isinstance(v, np.ndarray) else v for name, v in columns.items()}
        )

    def find(self, teacher_cut: int, cut: int, bits: int) -> int:
        """The row of a choice. Raises ConfigError where there is none."""
        (rows,) = np.nonzero(
            (self.teacher_cut == teacher_cut) & (self.cut == cut) & (self.bits == bits)
        )
        if not len(rows):
            raise ConfigError(
                f"{self.model} has no option with teacher cut {teacher_cut}, cut {cut} and {bits} "
                "bits"
            )
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
        """Bytes of activations that are kept per token, number of width and layer."""
        return RECOMPUTED_BYTES if self.recompute else KEPT_BYTES


def wire_bits(bits: int, width: int) -> float:
    """Bits of one smashed number, scales counted. Raises ConfigError."""
    if bits == 16:
        return 16.0
    if bits == 8:
        return 8 + 16 / width
    if bits == 4:
        return 4 + 16 / GROUP
    raise ConfigError(f"smashed data travel with 16, 8 or 4 bits, got {bits}")


def decoder_options(
    teacher: LanguageProfile | None, student: LanguageProfile, work: Workload
) -> Options:
    """Options of a decoder distilled from a teacher, or split without one. Raises ConfigError."""
    _check(teacher, work)
    split = _SplitDecoder.of(teacher, student, work)
    return Options(
        model=student.name,
        layers=len(student.layers),
        same_bytes=True,
        teacher_cut=split.teacher_cut_K,
        cut=split.cut_K,
        bits=split.bits_K,
        device_flops=split.device_flops(),
        device_moved_bytes=split.device_moved_bytes(),
        device_memory_bytes=split.device_memory_bytes(),
        server_flops=split.server_flops(),
        server_memory_bytes=split.server_memory_bytes(),
        up_bytes=split.up_bytes(),
        down_bytes=split.down_bytes(),
        server_held_bytes=float(split.teacher.held_bytes + split.student.held_bytes),
    )


# --- parts of a decoder ---------------------------------------------------------------------------


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
            return _Teacher(
                width=0, flops=np.zeros(1), weight_bytes=np.zeros(1), head_flops=0.0, held_bytes=0.0
            )
        bits = (
            work.teacher_bits
            if work.teacher_bits > 8
            else wire_bits(work.teacher_bits, teacher.width)
        )
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
    rows: int
    """Rows of an embedding table that a device holds."""
    flops: np.ndarray
    weight_bytes: np.ndarray
    state_bytes: np.ndarray
    trained_bytes: np.ndarray
    """What a device's part of the model weighs on the wire, with 16 bits."""
    head_flops: float
    held_bytes: float

    @staticmethod
    def of(student: LanguageProfile, work: Workload) -> "_Student":
        rows = student.vocabulary if work.rows is None else work.rows
        weight_bytes = _below([layer.weight_bytes for layer in student.layers])
        if work.rank:
            trained = _below([ADAPTED_WIDTHS * student.width * work.rank] * len(student.layers))
            every = trained[-1]
        else:
            trained = weight_bytes / student.bytes_per_weight + student.width * rows
            every = student.parameters
        return _Student(
            width=student.width,
            rows=rows,
            vocabulary=student.vocabulary,
            flops=_below([layer.forward_flops for layer in student.layers]) * work.batch_tokens,
            weight_bytes=weight_bytes,
            state_bytes=STATE_BYTES * trained,
            trained_bytes=2 * trained,
            head_flops=student.head_flops * work.batch_tokens,
            held_bytes=student.parameters * student.bytes_per_weight + STATE_BYTES * every,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SplitDecoder:
    """A decoder and its teacher under every choice: what a step takes of each, [K], summed over its
    parts."""

    teacher: _Teacher
    student: _Student
    work: Workload
    teacher_cut_K: np.ndarray
    cut_K: np.ndarray
    bits_K: np.ndarray

    @staticmethod
    def of(
        teacher: LanguageProfile | None, student: LanguageProfile, work: Workload
    ) -> "_SplitDecoder":
        """Choices in ascending order of the teacher's cut, then of the student's, then from the
        most bits down."""
        teacher_cuts = work.teacher_cuts if teacher and not work.teacher_cached else (0,)
        cuts = range(len(student.layers) + 1)
        choices = list(product(sorted(teacher_cuts), cuts, sorted(work.bits, reverse=True)))
        teacher_cut_K, cut_K, bits_K = (np.array(column) for column in zip(*choices, strict=True))
        return _SplitDecoder(
            teacher=_Teacher.of(teacher, work),
            student=_Student.of(student, work),
            work=work,
            teacher_cut_K=teacher_cut_K,
            cut_K=cut_K,
            bits_K=bits_K,
        )

    @property
    def widths(self) -> int:
        return self.teacher.width + self.student.width

    @property
    def head_bytes(self) -> int:
        """The student's output table, in 16 bits."""
        return 2 * self.student.width * self.student.vocabulary

    @property
    def passes(self) -> int:
        """Passes through a trained layer, in forward passes."""
        return 1 + self.work.backward

    def device_flops(self) -> np.ndarray:
        flops_K = (
            self.teacher.flops[self.teacher_cut_K] + self.passes * self.student.flops[self.cut_K]
        )
        head_flops = int(self.work.labels_kept) * (self.work.head * self.student.head_flops)
        return np.asarray(flops_K + head_flops)

    def device_moved_bytes(self) -> np.ndarray:
        """Weights once a pass, activations and embeddings written and read."""
        weights_K = (
            self.teacher.weight_bytes[self.teacher_cut_K]
            + self.passes * self.student.weight_bytes[self.cut_K]
        )
        embeddings_bytes = 2 * 2 * self.work.batch_tokens * self.widths
        head_bytes = int(self.work.labels_kept) * 2 * self.head_bytes
        return np.asarray(weights_K + 2 * self._activations_bytes() + embeddings_bytes + head_bytes)

    def device_memory_bytes(self) -> np.ndarray:
        weights_K = (
            self.teacher.weight_bytes[self.teacher_cut_K] + self.student.weight_bytes[self.cut_K]
        )
        state_K = self.student.state_bytes[self.cut_K]
        rows_bytes = 2 * self.widths * self.student.rows
        sent_bytes = 2 * self.work.batch_tokens * self.widths
        head_bytes = int(self.work.labels_kept) * self.head_bytes
        return np.asarray(
            weights_K + state_K + self._activations_bytes() + rows_bytes + sent_bytes + head_bytes
        )

    def _activations_bytes(self) -> np.ndarray:
        """What a device keeps of the student's layers, and what passes through the teacher's."""
        kept_K = self.cut_K * self.work.kept_bytes * self.student.width
        passing_K = (self.teacher_cut_K > 0) * PASSING_BYTES * self.teacher.width
        return np.asarray(self.work.batch_tokens * (kept_K + passing_K))

    def server_flops(self) -> np.ndarray:
        teacher = self.teacher
        student = self.student
        teacher_K = teacher.flops[-1] - teacher.flops[self.teacher_cut_K] + teacher.head_flops
        student_K = self.passes * (student.flops[-1] - student.flops[self.cut_K])
        head_flops = 0 if self.work.labels_kept else self.work.head * student.head_flops
        return np.asarray(teacher_K + student_K + head_flops)

    def server_memory_bytes(self) -> np.ndarray:
        layers_K = len(self.student.flops) - 1 - self.cut_K
        kept_K = layers_K * self.work.kept_bytes * self.student.width
        return np.asarray(self.work.batch_tokens * (kept_K + PASSING_BYTES * self.widths))

    def up_bytes(self) -> np.ndarray:
        """Smashed data, labels or the gradient of the loss, and a share of the trained weights."""
        smashed_K = self._packed(self.bits_K, self.teacher.width) + self._packed(
            self.bits_K, self.student.width
        )
        labels_bytes = 0 if self.work.labels_kept else LABEL_BYTES * self.work.batch_tokens
        gradient_K = int(self.work.labels_kept) * self._gradient_bytes()
        return np.asarray(
            FRAME_BYTES + smashed_K + self._per_step_bytes() + labels_bytes + gradient_K
        )

    def down_bytes(self) -> np.ndarray:
        """A gradient for who learns, a hidden state for who keeps labels, a share of the
        weights."""
        # a frozen embedding wants no gradient
        learns_K = (self.cut_K > 0) | (self.work.rank is None)
        gradient_K = np.where(learns_K, self._gradient_bytes(), 0.0)
        hidden_K = int(self.work.labels_kept) * self._packed(self.bits_K, self.student.width)
        return np.asarray(FRAME_BYTES + gradient_K + self._per_step_bytes() + hidden_K)

    def _gradient_bytes(self) -> np.ndarray:
        return self._packed(np.maximum(self.bits_K, 8), self.student.width)

    def _per_step_bytes(self) -> np.ndarray:
        """What travels once a round, spread over its steps."""
        return np.asarray(self.student.trained_bytes[self.cut_K] / self.work.steps)

    def _packed(self, bits_K: np.ndarray, width: int) -> np.ndarray:
        """Bytes of a batch's numbers of this width."""
        if not width:
            return np.zeros(len(bits_K))
        each_bits_K = np.array([wire_bits(int(bits), width) for bits in bits_K])
        return np.asarray(each_bits_K * width * self.work.batch_tokens / 8)


def _below(values: Sequence[float]) -> np.ndarray:
    """Sums over the layers below each cut, [L + 1]."""
    return np.array([0.0, *accumulate(values)])


def _check(teacher: LanguageProfile | None, work: Workload) -> None:
    deepest = max(work.teacher_cuts, default=0)
    if teacher is not None and deepest > len(teacher.layers):
        raise ConfigError(
            f"teacher cut {deepest} is beyond {teacher.name}, which has {len(teacher.layers)} "
            "layers"
        )
    if not work.bits or work.batch_tokens < 1 or work.steps < 1:
        raise ConfigError("a workload has at least one token, one step and one choice of bits")
