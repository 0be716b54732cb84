"""Refine: from many devices' soft labels to one consensus, in one place, with named choices.

A choice is weights times sharpening: `mean`, `prior`, `entropy`, `variance` say how much each device counts for
each sample; a suffix `+era` or `+sharp` says how the mean is sharpened afterwards.

Axes: N devices, P proxy samples, C classes.
"""

from typing import Literal, get_args

import numpy as np

Refine = Literal[
    "mean", "prior", "entropy", "variance", "mean+era", "mean+sharp", "prior+era", "prior+sharp", "entropy+sharp"
]
CHOICES: tuple[str, ...] = get_args(Refine)
ERA_TEMPERATURE = 0.1
SHARP_POWER = 1.5
_TINY = np.float32(1e-12)


def refine(soft_NPC: np.ndarray, labels_NC: np.ndarray, choice: Refine) -> np.ndarray:
    """The consensus, [P, C], each row a distribution.

    Args:
        soft_NPC: each device's soft labels.
        labels_NC: how many samples of each class each device trained on; used for its size and for `prior`.
        choice: see the module docstring.

    Sources: `mean`: Lin et al., FedDF, https://arxiv.org/abs/2006.07242. `variance`: Cho et al., Fed-ET,
    https://arxiv.org/abs/2204.12703. `era`: Itahara et al., DS-FL, https://arxiv.org/abs/2008.06180. `sharp`, a
    power mean that stays stable where ERA saturates: SCARLET, https://arxiv.org/abs/2504.19602.
    """
    weigh, _, sharpen = choice.partition("+")
    mean_PC = _WEIGH[weigh](soft_NPC, labels_NC.astype(np.float32))
    return _SHARPEN[sharpen](mean_PC)


def _mean(soft_NPC: np.ndarray, labels_NC: np.ndarray) -> np.ndarray:
    return _weighted(soft_NPC, labels_NC.sum(axis=1)[:, None, None])


def _prior(soft_NPC: np.ndarray, labels_NC: np.ndarray) -> np.ndarray:
    """A device counts, class by class, by how much of that class it has seen."""
    return _weighted(soft_NPC, labels_NC[:, None, :])


def _entropy(soft_NPC: np.ndarray, labels_NC: np.ndarray) -> np.ndarray:
    """A device counts, sample by sample, by how sure it is: one minus the normalised entropy."""
    entropy_NP = -(soft_NPC * np.log(soft_NPC + _TINY)).sum(axis=-1)
    sure_NP = np.maximum(1 - entropy_NP / np.log(soft_NPC.shape[-1]), 1e-3)
    return _weighted(soft_NPC, (sure_NP * labels_NC.sum(axis=1, keepdims=True))[:, :, None])


def _variance(soft_NPC: np.ndarray, labels_NC: np.ndarray) -> np.ndarray:
    """A device counts, sample by sample, by the variance of its output over the classes."""
    variance_NP = soft_NPC.var(axis=-1) + _TINY
    return _weighted(soft_NPC, (variance_NP * labels_NC.sum(axis=1, keepdims=True))[:, :, None])


def _weighted(soft_NPC: np.ndarray, weights_NPC: np.ndarray) -> np.ndarray:
    """Where no device has any weight, all count the same."""
    total_PC = (soft_NPC * weights_NPC).sum(axis=0) / np.maximum(weights_NPC.sum(axis=0), _TINY)
    sum_P1 = total_PC.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(sum_P1 > 0, total_PC / np.maximum(sum_P1, _TINY), soft_NPC.mean(axis=0)), np.float32)


def _as_is(mean_PC: np.ndarray) -> np.ndarray:
    return mean_PC


def _era(mean_PC: np.ndarray) -> np.ndarray:
    """Entropy reduction: the probabilities themselves through a cold softmax."""
    powers_PC = np.exp((mean_PC - mean_PC.max(axis=-1, keepdims=True)) / ERA_TEMPERATURE)
    return np.asarray(powers_PC / powers_PC.sum(axis=-1, keepdims=True), np.float32)


def _sharp(mean_PC: np.ndarray) -> np.ndarray:
    powers_PC = mean_PC**SHARP_POWER
    return np.asarray(powers_PC / np.maximum(powers_PC.sum(axis=-1, keepdims=True), _TINY), np.float32)


_WEIGH = {"mean": _mean, "prior": _prior, "entropy": _entropy, "variance": _variance}
_SHARPEN = {"": _as_is, "era": _era, "sharp": _sharp}
