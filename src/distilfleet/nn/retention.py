"""What a pretrained model knows, and how it learns from a teacher without losing that.

Four things keep it. Its own earlier answers are the prior, and the teacher's soft labels the
evidence: what it learns is their product, in which the teacher counts for less where it is less
sure than the model itself. Of a model that knew the classes before round 1 they are those of that
time, so that evidence does not pile up round by round; of one whose head is new they are those of
the last round, so that a teacher who errs here and there is not learnt by heart. The step size is
small for weights that come trained and larger for the head. And the statistics of normalisations
stay as they are, for proxy samples that are mixed with one another have others.

Whether a net comes trained is known of models of `transformers`. Of a user's own it is found out:
weights that are the same whatever the seed were not drawn.

Axes: P proxy samples, C classes.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import nn

from ..core.types import Arrays
from . import soft_labels as soft
from .trainable import head_of
from .weights import to_arrays
from .zoo import Model

LR = 2e-5
"""Adam's step size for weights that come trained."""
HEAD_LR = 1e-3
"""And for a head that is new."""
KNOWN_HEAD_LR = 2e-4
"""And for one that came trained for the classes."""
ADAPTER = ".lora_"
"""What names of weights of adapters have."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How a model that knows something is taught."""

    head: str
    """The submodule that gives the logits."""
    head_lr: float = HEAD_LR
    """Adam's step size for the head, and for adapters."""
    anchor: float = 1.0
    """How much the model's own earlier answers count; zero leaves them out."""
    since_start: bool = False
    """Whether those are of round 0, or else of the round before."""

    def lr_of(self, weight: str, lr: float) -> float:
        """The step size for a weight, by its name."""
        is_new = _is_in(weight, self.head) or ADAPTER in weight
        return self.head_lr if is_new else lr

    def targets(self, own_PC: np.ndarray, taught_PC: np.ndarray, temperature: float) -> np.ndarray:
        """What the model learns, [P, C], each row a distribution.

        Args:
            own_PC: its own logits before the step.
            taught_PC: the teacher's probabilities at `temperature`.
        """
        if not self.anchor:
            return taught_PC
        weight_P1 = _counted(taught_PC, own_PC, temperature)[:, None]
        evidence_PC = weight_P1 * temperature * np.log(np.maximum(taught_PC, _TINY))
        return soft.soften(self.anchor * own_PC + evidence_PC, temperature)


def _counted(taught_PC: np.ndarray, own_PC: np.ndarray, temperature: float) -> np.ndarray:
    """How much the teacher counts, [P]: in full where it is as sure as the model, else in the
    ratio of their certainty."""
    teacher_P = certainty(soft.soften(np.log(np.maximum(taught_PC, _TINY)), 1 / temperature))
    own_P = certainty(soft.soften(own_PC, 1.0))
    return np.asarray(teacher_P / np.maximum(np.maximum(teacher_P, own_P), _TINY))


def certainty(soft_PC: np.ndarray) -> np.ndarray:
    """One minus the normalised entropy of each row, [P]."""
    entropy_P = -(soft_PC * np.log(np.maximum(soft_PC, _TINY))).sum(axis=-1)
    return np.asarray(np.maximum(0.0, 1 - entropy_P / np.log(soft_PC.shape[-1])))


def keep_statistics(module: nn.Module) -> None:
    """Normalisations go on with the statistics that they have."""
    for part in module.modules():
        if getattr(part, "running_mean", None) is not None:
            part.eval()


# --- what a model knows -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What a model brings along."""

    head: str
    """The submodule that gives the logits."""
    knows_classes: bool
    """Whether the head came trained, too, for the classes of the data."""


@lru_cache(maxsize=64)
def knowledge(model: Model) -> Knowledge | None:
    """What the model brings along; None if its weights are drawn."""
    if model.is_pretrained:
        return _of_transformers(model)
    if not model.is_own:
        return None
    module = model.build(seed=0)
    first = to_arrays(module)
    loaded = _loaded(first, to_arrays(model.build(seed=1)))
    drawn = [name for name, array in first.items() if _tells(array) and name not in loaded]
    if not loaded or _size(first, drawn) > _size(first, loaded):
        return None
    head = head_of(module)
    return Knowledge(head=head, knows_classes=not any(_is_in(name, head) for name in drawn))


def _of_transformers(model: Model) -> Knowledge:
    from . import pretrained  # seconds, for those who want one

    module = model.build(seed=0)
    is_new = isinstance(module, pretrained.Pretrained) and module.has_new_head
    return Knowledge(head=head_of(module), knows_classes=not is_new)


def assumed(model: Model) -> Knowledge:
    """Of a model that is said to come trained, for the classes of the data."""
    return Knowledge(head=head_of(model.build(seed=0)), knows_classes=True)


def _loaded(first: Arrays, second: Arrays) -> list[str]:
    """Names of weights that two seeds make alike."""
    telling = [name for name, array in first.items() if _tells(array)]
    return [name for name in telling if np.array_equal(first[name], second[name])]


def _tells(array: np.ndarray) -> bool:
    """Whether it could have been drawn: ones and zeros are the same of any seed."""
    return array.dtype.kind == "f" and array.size > 1 and bool(array.min() < array.max())


def _size(arrays: Arrays, names: list[str]) -> int:
    return sum(arrays[name].size for name in names)


def _is_in(weight: str, head: str) -> bool:
    return not head or weight.startswith(f"{head}.")
