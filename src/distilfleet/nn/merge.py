"""Many devices' weights become one model's: by an aggregation rule, and never by an update out of
all proportion.

An update whose norm is over `robust.MOST_NORM` times the median of its round is left out under
every rule, the plain mean included. Rules look at parameters alone. Normalisation statistics go
along with the plain mean; beside every other rule they are trimmed, and counters take the middle
one instead of the largest.

Axes: D devices, B numbers of a block.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.table import column
from ..core.types import Arrays, DeviceId, Discount, Reply
from ..trust import robust
from ..trust.choices import Rule
from .weight_worker import layout, sizes
from .weights import BLOCK_BYTES, average
from .zoo import Model

ROWS_BYTES = 1 << 24
"""Bytes of updates that are laid side by side at once."""
MANY = 200
MOST_NUMBERS = 1 << 26
"""All updates of more devices than this are laid side by side, if they are at most so many numbers
(256 MB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """One model, and the devices whose answers did not count in full."""

    weights: dict[str, np.ndarray]
    discounts: Sequence[Discount] = ()


def merge(model: Model, sent: Arrays, replies: Sequence[Reply], rule: Rule) -> Merged:
    """One model of the replies' weights, each counted by its samples."""
    answers = [reply.arrays for reply in replies]
    devices = [reply.device for reply in replies]
    return combine(
        answers, {name: sent[name] for name in layout(model)}, sizes(replies), devices, rule
    )


def combine(
    answers: Sequence[Arrays],
    sent: Arrays,
    shares: Sequence[float],
    devices: Sequence[DeviceId],
    rule: Rule,
) -> Merged:
    """One model of weights that devices made of what was sent; `shares` is how much they say that
    they count."""
    stays_D = robust.stays(lengths(answers, sent))
    outside = [device for device, stays in zip(devices, stays_D, strict=True) if not stays]
    discounts = [Discount(device=device, kept=0.0, by="norm") for device in outside]
    inside = np.flatnonzero(stays_D).tolist()
    answers = [answers[d] for d in inside]
    shares = [shares[d] for d in inside]
    if rule == "mean":
        return Merged(weights=average(answers, shares, sent), discounts=discounts)
    merged, counted_D = _by_rule(answers, sent, robust.capped(np.array(shares)), rule)
    discounts += doubted([devices[d] for d in inside], counted_D, rule)
    return Merged(weights=merged, discounts=discounts)


def away(groups: Iterable[Merged]) -> set[DeviceId]:
    """The devices whose updates were out of proportion."""
    return {one.device for merged in groups for one in merged.discounts if one.by == "norm"}


def lowest(discounts: Iterable[Discount]) -> list[Discount]:
    """One for each device, that of what counted it least."""
    found: dict[DeviceId, Discount] = {}
    for one in discounts:
        found[one.device] = min(one, found.get(one.device, one), key=lambda some: some.kept)
    return list(found.values())


def doubted(devices: Sequence[DeviceId], counted_D: np.ndarray, rule: Rule) -> list[Discount]:
    """The devices that counted for far less than the median device."""
    return [
        Discount(device=device, kept=kept, by=rule)
        for device, kept in zip(devices, counted_D.tolist(), strict=True)
        if kept < robust.DOUBTED
    ]


def lengths(answers: Sequence[Arrays], sent: Arrays) -> np.ndarray:
    """The Euclidean norm of each device's change of the parameters, [D]."""
    squares_D = np.zeros(len(answers))
    for name, start in _parameters(sent):
        many = max(1, BLOCK_BYTES // max(1, start.nbytes))
        for at in range(0, len(answers), many):
            rows = column(answers[at : at + many], name) - start
            flat = rows.reshape(len(rows), -1)
            dots_K11 = flat[:, None, :] @ flat[:, :, None]
            squares_D[at : at + many] += dots_K11[:, 0, 0]
    return np.sqrt(squares_D)


def _by_rule(
    answers: Sequence[Arrays], sent: Arrays, shares_D: np.ndarray, rule: Rule
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One model's arrays, and how much each device counted, [D]."""
    verdict = robust.judge(rule, _geometry(answers, sent, rule), shares_D)
    trimmed = robust.judge("trimmed-mean", np.eye(len(answers)), shares_D)
    merged: dict[str, np.ndarray] = {}
    inside_D = np.zeros(len(answers))
    for name, start in sent.items():
        if start.dtype.kind != "f":
            merged[name] = _middle(answers, name)
        elif _is_statistic(name):
            merged[name], _ = _combined(answers, name, start, trimmed, shares_D)
        else:
            merged[name], own_D = _combined(answers, name, start, verdict, shares_D)
            inside_D += own_D
    return merged, robust.counted(verdict, inside_D)


def _middle(answers: Sequence[Arrays], name: str) -> np.ndarray:
    in_order = np.sort([answer[name] for answer in answers], axis=0)
    return np.asarray(in_order[len(answers) // 2])


def _geometry(answers: Sequence[Arrays], sent: Arrays, rule: Rule) -> np.ndarray | robust.Rows:
    """Inner products of updates, or, of many devices, the updates themselves where the rule can do
    with them."""
    rows = _parameter_rows(answers, sent)
    size = len(answers) * sum(start.size for _, start in _parameters(sent))
    if rule in robust.LINEAR and len(answers) > MANY and size <= MOST_NUMBERS:
        return robust.Rows(np.concatenate(list(rows), axis=1))
    return robust.products(rows)


def _combined(
    answers: Sequence[Arrays],
    name: str,
    start: np.ndarray,
    verdict: robust.Verdict,
    shares_D: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """One array by a rule, and in how many of its numbers each device counted, [D]."""
    moved = np.zeros(start.size)
    inside_D = np.zeros(len(answers))
    for part, rows_DB in _rows(answers, name, start.astype(np.float64)):
        moved[part], own_D = robust.combine(verdict, rows_DB, shares_D)
        inside_D += own_D
    return (start.ravel() + moved).astype(start.dtype).reshape(start.shape), inside_D


def _parameter_rows(answers: Sequence[Arrays], sent: Arrays) -> Iterator[np.ndarray]:
    """Every device's change of some of the parameters, [D, B] float32."""
    for name, start in _parameters(sent):
        yield from (rows_DB for _, rows_DB in _rows(answers, name, start))


def _parameters(sent: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    """What a rule looks at, float32."""
    for name, start in sent.items():
        if start.dtype.kind == "f" and not _is_statistic(name):
            yield name, start.astype(np.float32, copy=False)


def _rows(
    answers: Sequence[Arrays], name: str, start: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Every device's change of some numbers of one array, with where they are, in the precision of
    `start`."""
    wide = max(1, ROWS_BYTES // (start.itemsize * len(answers)))
    start_W = start.ravel()
    flat = [answer[name].reshape(-1) for answer in answers]
    for at in range(0, start.size, wide):
        part = slice(at, at + wide)
        rows_DB = np.concatenate([one[part] for one in flat]).reshape(len(flat), -1)
        yield part, rows_DB - start_W[part]


def _is_statistic(name: str) -> bool:
    """Whether a normalisation layer has seen it, not learnt it."""
    return name.rpartition(".")[2] in ("running_mean", "running_var")
