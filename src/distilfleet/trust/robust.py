"""Aggregation rules that a minority of lying devices cannot steer, for weight updates and for soft
labels alike.

Every rule is a weighted mean of changed rows. From the distances between devices it decides, once,
which rows are mixed with which, how much each device counts, and how many of the lowest and highest
values of each number are left out (`Verdict`); that is then applied to blocks of numbers, so that
no second copy of a large model's answers is ever held. Rows are differences from what the server
sent (updates), or from the plain mean (soft labels).

No rule is safe against a majority, and none finds a device whose answer is wrong but within the
spread of the honest.

Axes: D devices, W numbers, B numbers of a block.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil
from typing import Any, get_args

import numpy as np

from .choices import Rule

CHOICES: tuple[str, ...] = get_args(Rule)
MOST_BAD_SHARE = 0.2
"""Of the devices that answered: so many may lie, rounded up. Rules that leave devices out leave out
so many."""
FEWEST = 3
"""With fewer devices nobody can be told apart, and every rule is the mean."""
MOST_WEIGHT = 2.0
"""Of one device, in medians: sample counts are the device's own word, which a rule against liars
cannot rely on."""
MOST_NORM = 10.0
"""Times the median of the round: longer updates are left out under every rule. Where devices own
very different amounts of data, honest ones reach seven."""
FEWEST_NORMS = 5
"""With fewer devices the median says too little: of three with very different data, an honest one
may stand out."""
DOUBTED = 0.5
"""A device that counts for less than this, beside the median device, is named in the record."""
SIDE = 0.2
"""A median took a side if it lets an honest device count for less than this, beside the middle one
of them."""
ROUNDS = 300
TOLERANCE = 1e-8
"""Of the geometric median and of centred clipping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a rule decided about the devices."""

    mix_DD: np.ndarray | None = None
    """Each row is replaced by this mixture of rows; None: rows stay."""
    keep_D: np.ndarray
    """0 to 1: how much of its weight each device keeps."""
    shrink_D: np.ndarray
    """0 to 1: what each row is multiplied by."""
    trim: int = 0
    """So many of the lowest and of the highest values of each number are left out."""


def bad(devices: int) -> int:
    """How many of so many devices may lie."""
    return ceil(MOST_BAD_SHARE * devices - 1e-9) if devices >= FEWEST else 0


def capped(shares_D: np.ndarray) -> np.ndarray:
    """Shares that add up to one, none above `MOST_WEIGHT` times their median."""
    capped_D = np.minimum(shares_D, MOST_WEIGHT * np.median(shares_D))
    return np.asarray(capped_D / capped_D.sum())


def stays(norm_D: np.ndarray) -> np.ndarray:
    """Which devices' updates are in proportion to the others'; all, where too few can be
    compared."""
    most = MOST_NORM * np.median(norm_D)
    return np.asarray((norm_D <= most) | (most == 0.0) | (len(norm_D) < FEWEST_NORMS))


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Stands for the products of many rows without working them out, where a rule only multiplies
    them by weights."""

    rows_DW: np.ndarray

    def __matmul__(self, weights_D: np.ndarray) -> np.ndarray:
        return np.asarray(
            self.rows_DW @ (weights_D.astype(self.rows_DW.dtype) @ self.rows_DW), np.float64
        )

    def diagonal(self) -> np.ndarray:
        return np.asarray(
            (self.rows_DW[:, None, :] @ self.rows_DW[:, :, None])[:, 0, 0], np.float64
        )


def products(blocks_DB: Iterable[np.ndarray]) -> np.ndarray:
    """Inner products of all rows with each other, [D, D]: all that a rule sees of the numbers."""
    return np.asarray(sum(np.asarray(rows_DB @ rows_DB.T, np.float64) for rows_DB in blocks_DB))


def judge(rule: Rule, gram_DD: np.ndarray | Rows, shares_D: np.ndarray) -> Verdict:
    """The rule's verdict on devices whose rows have these inner products and that count by these
    shares.

    `Rows` will do for the rules of `LINEAR`.
    """
    if len(shares_D) < FEWEST:
        return _mean(gram_DD, shares_D)
    return RULES[rule](gram_DD, shares_D)


def changed(verdict: Verdict, rows_DB: np.ndarray) -> np.ndarray:
    """The rows that the mean is taken of, float64."""
    rows_DB = np.asarray(rows_DB, np.float64)
    if verdict.mix_DD is not None:
        return np.asarray(verdict.mix_DD @ rows_DB)
    return (
        rows_DB
        if verdict.shrink_D.min() == 1.0
        else np.asarray(rows_DB * verdict.shrink_D[:, None])
    )


def combine(
    verdict: Verdict, rows_DB: np.ndarray, shares_D: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The aggregate of a block [B], float64, and in how many of its numbers each row counted,
    [D]."""
    rows_DB = changed(verdict, rows_DB)
    weights_D = shares_D * verdict.keep_D
    if not verdict.trim:
        return weights_D @ rows_DB / weights_D.sum(), np.full(len(rows_DB), rows_DB.shape[1])
    inside_DB = within(rows_DB, verdict.trim)
    weights_DB = weights_D[:, None] * inside_DB
    return (weights_DB * rows_DB).sum(axis=0) / weights_DB.sum(axis=0), inside_DB.sum(axis=1)


def within(rows_DB: np.ndarray, trim: int) -> np.ndarray:
    """How much of each value stays when `trim` at either end of its number go: 1, 0, or a part
    among equals."""
    ordered_DB = np.partition(rows_DB, (trim, len(rows_DB) - 1 - trim), axis=0)
    low_B = ordered_DB[trim]
    high_B = ordered_DB[-1 - trim]
    inside_DB = ((rows_DB >= low_B) & (rows_DB <= high_B)).astype(np.float64)
    for edge_B, beyond_DB in ((low_B, rows_DB < low_B), (high_B, rows_DB > high_B)):
        at_DB = rows_DB == edge_B
        part_B = np.where(
            low_B < high_B, 1 - (trim - beyond_DB.sum(axis=0)) / at_DB.sum(axis=0), 1.0
        )
        inside_DB = np.where(at_DB, inside_DB * part_B, inside_DB)
    return np.asarray(inside_DB)


def counted(verdict: Verdict, inside_D: np.ndarray) -> np.ndarray:
    """How much each device counted beside the median device, [D]; `inside_D` as `combine` gives it,
    added up."""
    weight_D = verdict.keep_D * verdict.shrink_D * inside_D
    if verdict.mix_DD is not None:
        weight_D = weight_D @ verdict.mix_DD
    return np.asarray(np.minimum(weight_D / max(np.median(weight_D), np.finfo(float).tiny), 1.0))


def distances(gram_DD: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances between rows, [D, D]."""
    squares_D = gram_DD.diagonal()
    return np.asarray(np.maximum(squares_D[:, None] + squares_D - 2 * gram_DD, 0.0))


def _as_they_are(shares_D: np.ndarray) -> np.ndarray:
    return np.ones(len(shares_D))


def _mean(gram_DD: np.ndarray | Rows, shares_D: np.ndarray) -> Verdict:
    return Verdict(keep_D=_as_they_are(shares_D), shrink_D=_as_they_are(shares_D))


def _clipped_mean(gram_DD: np.ndarray | Rows, shares_D: np.ndarray) -> Verdict:
    """Rows longer than the median row are cut to its length.

    Source: Sun et al., "Can you really backdoor federated learning?", 2019,
    https://arxiv.org/abs/1911.07963; the bound from the round itself: Allouah et al., "Adaptive
    gradient clipping for robust federated learning", ICLR 2025, https://arxiv.org/abs/2405.14432.
    """
    norm_D = np.sqrt(gram_DD.diagonal())
    shrink_D = np.minimum(1.0, np.median(norm_D) / np.maximum(norm_D, np.finfo(float).tiny))
    return Verdict(keep_D=_as_they_are(shares_D), shrink_D=shrink_D)


def _trimmed_mean(gram_DD: np.ndarray | Rows, shares_D: np.ndarray) -> Verdict:
    """Number by number, without the lowest and the highest values.

    Source: Yin et al., "Byzantine-robust distributed learning", ICML 2018,
    https://arxiv.org/abs/1803.01498.
    """
    return Verdict(
        keep_D=_as_they_are(shares_D), shrink_D=_as_they_are(shares_D), trim=bad(len(shares_D))
    )


def _geometric_median(gram_DD: np.ndarray | Rows, shares_D: np.ndarray) -> Verdict:
    """The point whose weighted sum of distances to all rows is least, by Weiszfeld's iteration on
    inner products.

    Source: Pillutla et al., "Robust aggregation for federated learning", IEEE TSP 2022,
    https://arxiv.org/abs/1912.13445.
    """
    weights_D = shares_D / shares_D.sum()
    least = 0.0
    for _ in range(ROUNDS):
        away_D = _away(gram_DD, weights_D)
        least = least or 1e-6 * float(np.median(away_D)) + np.finfo(float).tiny
        before_D = weights_D
        weights_D = shares_D / np.maximum(away_D, least)
        weights_D = weights_D / weights_D.sum()
        if np.abs(weights_D - before_D).max() < TOLERANCE:
            break
    keep_D = weights_D / shares_D
    return Verdict(keep_D=keep_D / keep_D.max(), shrink_D=_as_they_are(shares_D))


def _centred_clipping(gram_DD: np.ndarray | Rows, shares_D: np.ndarray) -> Verdict:
    """The point that is the mean of all rows, once those furthest from it are drawn in to as far as
    the others reach.

    As many as may lie are drawn in, and no more: a camp of the honest that is larger than that
    counts in full, as where each device has one class, and where a geometric median takes the side
    of one camp. The radius is the distance of the furthest row that stays, found anew with each
    centre.

    Source: Karimireddy, He, Jaggi, "Learning from history for Byzantine robust optimization", ICML
    2021, https://arxiv.org/abs/2012.10333; how many are clipped: Allouah et al., "Adaptive gradient
    clipping for robust federated learning", ICLR 2025, https://arxiv.org/abs/2405.14432.
    """
    inside = len(shares_D) - bad(len(shares_D))
    weights_D = shares_D / shares_D.sum()
    for _ in range(ROUNDS):
        away_D = _away(gram_DD, weights_D)
        radius = max(float(np.partition(away_D, inside - 1)[inside - 1]), np.finfo(float).tiny)
        keep_D = radius / np.maximum(away_D, radius)
        before_D = weights_D
        weights_D = shares_D * keep_D / (shares_D @ keep_D)
        if (np.abs(weights_D - before_D) <= TOLERANCE * weights_D).all():
            break
    return Verdict(keep_D=keep_D, shrink_D=_as_they_are(shares_D))


def _guarded_median(gram_DD: np.ndarray | Rows, shares_D: np.ndarray) -> Verdict:
    """The geometric median, unless it discounts more devices than may lie: then centred clipping.

    A median of two camps takes a side. Where the other one is larger than liars can be, it is
    honest, as devices that have one class each are, and its classes would never be learnt.
    """
    median = _geometric_median(gram_DD, shares_D)
    rest_D = np.sort(median.keep_D)[bad(len(shares_D)) :]
    return _centred_clipping(gram_DD, shares_D) if rest_D[0] < SIDE * np.median(rest_D) else median


def _away(gram_DD: np.ndarray | Rows, weights_D: np.ndarray) -> np.ndarray:
    """How far each row is from the weighted mean of all, [D]."""
    toward_D = gram_DD @ weights_D
    return np.asarray(
        np.sqrt(np.maximum(gram_DD.diagonal() - 2 * toward_D + weights_D @ toward_D, 0.0))
    )


def _multi_krum(gram_DD: np.ndarray, shares_D: np.ndarray) -> Verdict:
    """The mean of the rows that are nearest to their nearest rows.

    Source: Blanchard et al., "Machine learning with adversaries: Byzantine tolerant gradient
    descent", NeurIPS 2017, https://arxiv.org/abs/1703.02757.
    """
    devices = len(shares_D)
    lying = bad(len(shares_D))
    # without itself
    near_DD = np.sort(distances(gram_DD), axis=1)[:, 1 : max(2, devices - lying - 1)]
    chosen = np.argsort(near_DD.sum(axis=1), kind="stable")[: devices - lying]
    keep_D = np.zeros(devices)
    keep_D[chosen] = 1.0
    return Verdict(keep_D=keep_D, shrink_D=_as_they_are(shares_D))


def _neighbour_mixing(gram_DD: np.ndarray, shares_D: np.ndarray) -> Verdict:
    """Every row becomes the mean of its nearest rows, itself among them; then the trimmed mean.

    Source: Allouah et al., "Fixing by mixing: a recipe for optimal Byzantine ML under
    heterogeneity", AISTATS 2023, https://arxiv.org/abs/2302.01772.
    """
    devices = len(shares_D)
    lying = bad(len(shares_D))
    nearest_DN = np.argsort(distances(gram_DD), axis=1, kind="stable")[:, : devices - lying]
    mix_DD = np.zeros((devices, devices))
    np.put_along_axis(mix_DD, nearest_DN, shares_D[nearest_DN], axis=1)
    mix_DD /= mix_DD.sum(axis=1, keepdims=True)
    return Verdict(
        mix_DD=mix_DD, keep_D=_as_they_are(shares_D), shrink_D=_as_they_are(shares_D), trim=lying
    )


LINEAR = frozenset({"clipped-mean", "geometric-median", "centred-clipping", "guarded-median"})
"""Rules whose cost grows with the number of devices, not with its square."""
RULES: dict[str, Callable[[Any, np.ndarray], Verdict]] = {
    "mean": _mean,
    "clipped-mean": _clipped_mean,
    "trimmed-mean": _trimmed_mean,
    "geometric-median": _geometric_median,
    "centred-clipping": _centred_clipping,
    "guarded-median": _guarded_median,
    "multi-krum": _multi_krum,
    "neighbour-mixing": _neighbour_mixing,
}
