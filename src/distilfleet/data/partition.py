"""Which device owns which samples. Seeded; rows are int64, every sample exactly once unless said
otherwise."""

import heapq
from collections.abc import Sequence

import numpy as np

from ..core.errors import ConfigError

Rows = tuple[np.ndarray, ...]
"""Row numbers of each device's samples."""


def iid(n: int, devices: int, rng: np.random.Generator, least: int = 2) -> Rows:
    """Equal shares of a shuffled dataset."""
    _check(n, devices, least)
    return _pieces(
        rng.permutation(n), [n // devices + (device < n % devices) for device in range(devices)]
    )


def dirichlet(
    labels: np.ndarray, devices: int, alpha: float, rng: np.random.Generator, least: int = 2
) -> Rows:
    """Label skew: each class is spread over the devices by a Dirichlet(alpha) draw; a small alpha
    is more skew.

    As in Hsu et al., arXiv 1909.06335 section 3, turned class-wise; then devices with fewer than
    `least` samples receive random ones from whichever device has most, which touches no more labels
    than it must.
    """
    _check(len(labels), devices, least)
    _check_alpha(alpha)
    owned: list[list[int]] = [[] for _ in range(devices)]
    for value in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == value))
        for device, piece in enumerate(_pieces(rows, _sizes(len(rows), devices, alpha, rng))):
            owned[device].extend(piece.tolist())
    _top_up(owned, least, rng)
    return tuple(rng.permutation(np.array(rows, dtype=np.int64)) for rows in owned)


def by_quantity(
    n: int, devices: int, alpha: float, rng: np.random.Generator, least: int = 2
) -> Rows:
    """Same labels everywhere, shares of unequal size by a Dirichlet(alpha) draw, none below
    `least`."""
    _check(n, devices, least)
    _check_alpha(alpha)
    sizes = least + _sizes(n - least * devices, devices, alpha, rng)
    return _pieces(rng.permutation(n), sizes)


def by_group(groups: np.ndarray) -> tuple[tuple[str, ...], Rows]:
    """One device per owner: names in sorted order, and each owner's rows, however few."""
    names, owner, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return tuple(str(name) for name in names), _pieces(np.argsort(owner, kind="stable"), counts)


def overlapping(n: int, devices: int, per_device: int, rng: np.random.Generator) -> np.ndarray:
    """Samples of fleets larger than the data: int32 [devices, per_device], samples shared between
    devices.

    No device has a sample twice, and samples are used about equally often: devices are dealt slices
    of one permutation after another.
    """
    if not 1 <= per_device <= n:
        raise ConfigError(f"{per_device} samples per device out of {n}; expected 1 to {n}")
    if devices < 1:
        raise ConfigError(f"{devices} devices; expected one or more")
    rows = np.empty((devices, per_device), dtype=np.int32)
    deals = n // per_device
    for first in range(0, devices, deals):
        count = min(deals, devices - first)
        rows[first : first + count] = rng.permutation(n)[: count * per_device].reshape(
            count, per_device
        )
    return rows


def describe(
    rows: Sequence[np.ndarray] | np.ndarray, labels: np.ndarray, classes: int
) -> np.ndarray:
    """How many samples of each class each device has: int64 [devices, classes]."""
    return np.stack([np.bincount(labels[own], minlength=classes) for own in rows])


def _check(n: int, devices: int, least: int) -> None:
    if devices < 1:
        raise ConfigError(f"{devices} devices; expected one or more")
    if n < devices * least:
        raise ConfigError(
            f"{n} samples cannot give {devices} devices {least} samples each; at most "
            f"{n // max(least, 1)} devices are possible: choose fewer, or let devices share samples"
        )


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < np.inf:
        raise ConfigError(
            f"alpha is {alpha}; expected a number above 0 (0.1 is strong skew, 100 nearly none)"
        )


def _sizes(total: int, devices: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers that sum to `total`, in proportions drawn from Dirichlet(alpha)."""
    shares = rng.dirichlet(np.full(devices, alpha))
    ends = np.round(np.cumsum(shares) * total).astype(np.int64)
    ends[-1] = total
    return np.diff(np.minimum(ends, total), prepend=0)


def _pieces(rows: np.ndarray, sizes: Sequence[int] | np.ndarray) -> Rows:
    return tuple(np.split(rows.astype(np.int64), np.cumsum(sizes)[:-1]))


def _top_up(owned: list[list[int]], least: int, rng: np.random.Generator) -> None:
    """Move samples from the largest devices until none has fewer than `least`."""
    largest = [(-len(rows), device) for device, rows in enumerate(owned)]
    heapq.heapify(largest)
    for rows in owned:
        while len(rows) < least:
            size, donor = heapq.heappop(largest)
            rows.append(owned[donor].pop(int(rng.integers(len(owned[donor])))))
            heapq.heappush(largest, (size + 1, donor))
