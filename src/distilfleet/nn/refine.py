"""Refine: from many devices' soft labels to one consensus, in one place, with named choices.

A choice is weights times sharpening: `mean`, `prior`, `entropy`, `variance` say how much each
device counts for each sample; a suffix `+era` or `+sharp` says how the mean is sharpened
afterwards.

Axes: N devices, P proxy samples, C classes.
"""

from typing import get_args

import numpy as np

from ..trust import robust
from ..trust.choices import Refine, Rule

CHOICES: tuple[str, ...] = get_args(Refine)
ERA_TEMPERATURE = 0.1
SHARP_POWER = 1.5
_TINY = np.float32(1e-12)


def refine(soft_NPC: np.ndarray, labels_NC: np.ndarray, choice: Refine) -> np.ndarray:
    """The consensus, [P, C], each row a distribution.

    Args:
        soft_NPC: each device's soft labels.
        labels_NC: how many samples of each class each device trained on; used for its size and for
            `prior`.
        choice: see the module docstring.

    Sources: `mean`: Lin et al., FedDF, https://arxiv.org/abs/2006.07242. `variance`: Cho et al.,
    Fed-ET, https://arxiv.org/abs/2204.12703. `era`: Itahara et al., DS-FL,
    https://arxiv.org/abs/2008.06180. `sharp`, a power mean that stays stable where ERA saturates:
    SCARLET, https://arxiv.org/abs/2504.19602.
    """
    weigh, _, sharpen = choice.partition("+")
    mean_PC = _weighted(soft_NPC, _WEIGH[weigh](soft_NPC, labels_NC.astype(np.float32)))
    return _SHARPEN[sharpen](mean_PC)


def consensus(
    soft_NPC: np.ndarray, labels_NC: np.ndarray, choice: Refine, rule: Rule
) -> tuple[np.ndarray, np.ndarray]:
    """`refine` under an aggregation rule, and how much each device counted relative to the median
    device, [N].

    The rule sees each device's soft labels as one row, less the plain mean of all. It changes the
    rows and how much a device counts, and sharpening comes last.
    """
    if rule == "mean":
        return refine(soft_NPC, labels_NC, choice), np.ones(len(soft_NPC))
    rows_NB = soft_NPC.reshape(len(soft_NPC), -1)
    size_N = np.maximum(labels_NC.sum(axis=1), 1.0)
    share_N = robust.capped(size_N)
    verdict, centre_B = _verdict(rows_NB, share_N, rule)
    changed_NB = centre_B + robust.changed(verdict, rows_NB - centre_B)
    changed_NPC = changed_NB.astype(np.float32).reshape(soft_NPC.shape)
    labels_NC = labels_NC * (share_N / size_N)[:, None]
    weigh, _, sharpen = choice.partition("+")
    weights_NPC = _weights(changed_NPC, labels_NC, weigh, verdict)
    inside_N = np.ones(len(soft_NPC))
    if verdict.trim:
        inside_NPC = robust.within(changed_NPC, verdict.trim)
        weights_NPC = weights_NPC * inside_NPC
        inside_N = inside_NPC.mean(axis=(1, 2))
    consensus_PC = _SHARPEN[sharpen](_weighted(changed_NPC, weights_NPC))
    return consensus_PC, robust.counted(verdict, inside_N)


def _weights(
    soft_NPC: np.ndarray, labels_NC: np.ndarray, weigh: str, verdict: robust.Verdict
) -> np.ndarray:
    """How much each device's soft labels count, [N, P, C], as far as the verdict keeps it."""
    if verdict.mix_DD is not None:
        labels_NC = verdict.mix_DD @ labels_NC
    weights_NPC = _bounded(_WEIGH[weigh](soft_NPC, labels_NC.astype(np.float32)))
    return np.asarray(weights_NPC * verdict.keep_D[:, None, None])


def _verdict(
    rows_NB: np.ndarray, share_N: np.ndarray, rule: Rule
) -> tuple[robust.Verdict, np.ndarray]:
    """What a rule makes of rows less their plain mean, and that mean, [B]."""
    centre_B = rows_NB.mean(axis=0)
    return robust.judge(rule, robust.products([rows_NB - centre_B]), share_N), centre_B


def _bounded(weights_NPC: np.ndarray) -> np.ndarray:
    """No device counts out of all proportion to the median one: to be sure is a device's own word,
    too."""
    most_PC = robust.MOST_WEIGHT * np.median(weights_NPC, axis=0)
    return np.asarray(np.minimum(weights_NPC, np.maximum(most_PC, _TINY)))


def ensemble(scores_NPC: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """The mean of scores of any scale, under a rule, and how much each device counted, as in
    `consensus`."""
    devices = len(scores_NPC)
    if rule == "mean":
        return np.asarray(np.mean(scores_NPC, axis=0)), np.ones(devices)
    rows_NB = scores_NPC.reshape(devices, -1)
    share_N = np.full(devices, 1 / devices)
    verdict, centre_B = _verdict(rows_NB, share_N, rule)
    total_B, inside_N = robust.combine(verdict, rows_NB - centre_B, share_N)
    scores_B = (centre_B + total_B).astype(scores_NPC.dtype)
    return scores_B.reshape(scores_NPC.shape[1:]), robust.counted(verdict, inside_N)


def _mean(soft_NPC: np.ndarray, labels_NC: np.ndarray) -> np.ndarray:
    return np.asarray(labels_NC.sum(axis=1)[:, None, None])


def _prior(soft_NPC: np.ndarray, labels_NC: np.ndarray) -> np.ndarray:
    """A device counts, class by class, by how much of that class it has seen."""
    return labels_NC[:, None, :]


def _entropy(soft_NPC: np.ndarray, labels_NC: np.ndarray) -> np.ndarray:
    """A device counts, sample by sample, by how sure it is: one minus the normalised entropy."""
    entropy_NP = -(soft_NPC * np.log(soft_NPC + _TINY)).sum(axis=-1)
    most = np.log(soft_NPC.shape[-1])
    sure_NP = np.maximum(1 - entropy_NP / most, 1e-3)
    size_N1 = labels_NC.sum(axis=1, keepdims=True)
    return np.asarray((sure_NP * size_N1)[:, :, None])


def _variance(soft_NPC: np.ndarray, labels_NC: np.ndarray) -> np.ndarray:
    """A device counts, sample by sample, by the variance of its output over the classes."""
    variance_NP = soft_NPC.var(axis=-1) + _TINY
    size_N1 = labels_NC.sum(axis=1, keepdims=True)
    return np.asarray((variance_NP * size_N1)[:, :, None])


def _weighted(soft_NPC: np.ndarray, weights_NPC: np.ndarray) -> np.ndarray:
    """The weighted mean; all devices count the same where none has any weight."""
    weight_PC = np.maximum(weights_NPC.sum(axis=0), _TINY)
    total_PC = (soft_NPC * weights_NPC).sum(axis=0) / weight_PC
    sum_P1 = total_PC.sum(axis=-1, keepdims=True)
    mean_PC = total_PC / np.maximum(sum_P1, _TINY)
    return np.asarray(np.where(sum_P1 > 0, mean_PC, soft_NPC.mean(axis=0)), np.float32)


def _as_is(mean_PC: np.ndarray) -> np.ndarray:
    return mean_PC


def _era(mean_PC: np.ndarray) -> np.ndarray:
    """Entropy reduction: the probabilities themselves through a cold softmax."""
    highest_P1 = mean_PC.max(axis=-1, keepdims=True)
    powers_PC = np.exp((mean_PC - highest_P1) / ERA_TEMPERATURE)
    return np.asarray(powers_PC / powers_PC.sum(axis=-1, keepdims=True), np.float32)


def _sharp(mean_PC: np.ndarray) -> np.ndarray:
    powers_PC = mean_PC**SHARP_POWER
    sum_P1 = powers_PC.sum(axis=-1, keepdims=True)
    return np.asarray(powers_PC / np.maximum(sum_P1, _TINY), np.float32)


_WEIGH = {"mean": _mean, "prior": _prior, "entropy": _entropy, "variance": _variance}
_SHARPEN = {"": _as_is, "era": _era, "sharp": _sharp}
