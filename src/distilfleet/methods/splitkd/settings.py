"""What both halves of split KD know: the settings of a run, and what they say about noise.

Axes: S samples.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...core.types import LanguageProfile
from .choices import Lengths

DIGEST_BYTES = 16
NOTHING = -1
"""As a slot: no micro-batch is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """What both halves know: the settings of a run."""

    teacher: LanguageProfile
    student: LanguageProfile
    batch: int = 4
    """Samples of a device in a step."""
    steps: int = 10
    """Steps of a round."""
    micro_batches: int = 2
    """Parts of a step that are in flight at a time; a step's gradient is the sum of theirs."""
    context: int = 64
    cut: int = 0
    """Layers of the student on a device, where no plan says otherwise."""
    bits: Literal[4, 8, 16] = 8
    """Size of a smashed number on the way up, where no plan says otherwise."""
    gradient_bits: Literal[8, 16] = 8
    labels: Literal["shared", "kept"] = "shared"
    classes: int | None = None
    """How many classes a classifier has; None for a language model, whose labels are its own
    tokens."""
    lr: float = 2e-3
    train_rows: bool = True
    """Whether the student's embedding rows are trained."""
    with_teacher: bool = True
    tables: Literal["rows", "file"] = "rows"
    """Where a device's teacher rows come from: sent once, those that occur there; or a table file
    of its own."""
    noise: Lengths = 0.0
    """Expected length of the noise that a device adds to every smashed vector; 0: none."""
    distinct: bool = True
    """Whether a device without layers sends each row of a micro-batch once; False: a row per token,
    as published."""

    @property
    def sends_distinct(self) -> bool:
        """With noise, equal tokens have different vectors."""
        return self.distinct and not self.noise


def is_frozen(split: SplitSettings, whose: str, cut: int) -> bool:
    """Whether a sample is smashed to the same vectors each time.

    Where it is not, a draw that is the same each time protects nothing: the difference of two
    visits is free of it.
    """
    return whose == "teacher" or (cut == 0 and not split.train_rows)


def spent_nats(split: SplitSettings, cut: int, visits_S: np.ndarray) -> np.ndarray:
    """Each sample's account after so many visits, for texts that are a typical embedding's length
    apart, [S].

    A draw spends width over noise; draws add up, over both models, and over visits where vectors
    change.
    """
    student_S = np.minimum(visits_S, 1) if is_frozen(split, "student", cut) else visits_S
    teacher_S = np.minimum(visits_S, 1) * split.with_teacher
    return np.asarray(
        (split.student.width * student_S + split.teacher.width * teacher_S) / split.noise,
        np.float64,
    )


def disclosure(split: SplitSettings) -> str:
    """What the edge server learns about a device's data; one line."""
    if split.noise:
        first_nats, both_nats = spent_nats(split, split.cut, np.array([1, 2]))
        again = (
            ""
            if both_nats == first_nats
            else f", {both_nats - first_nats:.4g} more for each later one"
        )
        return (
            f"noisy: smashed data with metric-DP noise of {split.noise:g} embedding lengths; "
            f"between texts one such length apart it tells at most {first_nats:.4g} nats at a "
            f"sample's first visit{again}; labels and gradients that return tell more"
        )
    if split.labels == "shared":
        return (
            "recoverable: smashed data and labels; the edge server can read every token that a "
            "device trains on"
        )
    return (
        "recoverable: smashed data; labels stay, yet the edge server can look up every token in "
        "its own table"
    )
