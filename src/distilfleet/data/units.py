"""A device's numbers in a run's units: converted as its owner says, scaled as the run scales, and
looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import UnmatchedError
from .naming import Naming, check_shape, check_some
from .raw import FeatureColumn
from .scaling import Scaling
from .spec import DataSpec

FAR = 10.0
NEAR = 3.0
"""Deviations of the run's own data. Half of a column beyond the first is in another unit, or must
be said to be meant; half of it beyond the second is worth a word."""
NARROW = 0.01
ENOUGH = 10
"""A column that varies less than this beside the run's, over so many samples, is worth a word."""
FARTHEST = 1.0
FARTHEST_OF_BYTES = 0.1
LEAST_SPAN = 0.02
USUAL_SPAN = 0.6
"""How far pixels may leave the range of the run's, which is that of the format where they are bytes
or 0 to 1; how much of it they must fill, and of how much less it is worth a word."""


def converted(raw: np.ndarray, columns: Sequence[FeatureColumn], naming: Naming) -> np.ndarray:
    """Columns of numbers in the run's units."""
    at = 0
    for column in columns:
        if column.name in naming.units:
            factor, offset = naming.units[column.name]
            raw[:, at] = raw[:, at] * factor + offset
        at += len(column.values) or 1
    return raw


def scaled(
    raw: np.ndarray, spec: DataSpec, where: str, naming: Naming
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Inputs in the run's units. Raises ConfigError where nothing is left, or where values are of
    another unit."""
    check_some(len(raw), where)
    inputs = spec.scaling.apply(raw)
    check_shape(tuple(inputs.shape[1:]), spec, where)
    if spec.kind == "image":
        return inputs, _check_pixels(inputs, spec, where, naming)
    return inputs, _check_units(_measured(inputs, raw, spec), len(inputs), where, naming)


def is_natural(scaling: Scaling) -> bool:
    """Whether the range of pixels is that of their format: bytes, or 0 to 1."""
    return bool((scaling.offset == 0).all() and (scaling.factor == 1).all())


def fits(inputs: np.ndarray, scaling: Scaling) -> bool:
    """Whether pixels can be stored as those that the scaling was fitted to."""
    lowest = float(inputs.min())
    highest = float(inputs.max())
    farthest = FARTHEST_OF_BYTES if is_natural(scaling) else FARTHEST
    return lowest >= -farthest and highest <= 1 + farthest and highest - lowest >= LEAST_SPAN


def _check_pixels(
    inputs: np.ndarray, spec: DataSpec, where: str, naming: Naming
) -> tuple[str, ...]:
    lowest = float(inputs.min())
    highest = float(inputs.max())
    come_to = (
        f"pixels come to {lowest:g} to {highest:g} in the run's units, where its own are 0 to 1"
    )
    if naming.any_range or fits(inputs, spec.scaling):
        return () if _is_usual(inputs) else (come_to,)
    begin = spec.offset[0]
    end = begin + 1 / spec.factor[0]
    stored = f"from {begin:g} to {end:g}"
    raise UnmatchedError(
        f"{where}: {come_to}: store them {stored}, as the run does, or as bytes; --any-range "
        "takes them as they are",
        mismatch=f"pixels of another range; the run's are stored {stored}",
    )


def _is_usual(inputs: np.ndarray) -> bool:
    """Whether pixels have the range that pictures of bytes have."""
    lowest = float(inputs.min())
    highest = float(inputs.max())
    within = lowest >= -FARTHEST_OF_BYTES and highest <= 1 + FARTHEST_OF_BYTES
    return within and highest - lowest >= USUAL_SPAN


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Columns or channels beside the run's, one entry each, in the run's deviations from its
    means."""

    names: Sequence[str]
    middles: np.ndarray
    spreads: np.ndarray
    spec: DataSpec

    def sentence(self, at: int) -> str:
        """A sentence on where the middle is, in the numbers that were stored."""
        mean = self.spec.offset[at]
        return (
            f"{self.names[at]} is about {self.middles[at] / self.spec.factor[at] + mean:g} here "
            f"and {mean:g} in the run"
        )


def _measured(inputs: np.ndarray, raw: np.ndarray, spec: DataSpec) -> Measured:
    """All that have a unit: what is 0 or 1 has none, nor has what is constant in the run; those are
    0 apart."""
    axes = (0,) if spec.kind == "table" else (0, 2)
    unitless = np.array(spec.factor) == 0
    if spec.kind == "table":
        unitless |= np.isin(raw.reshape(len(raw), -1), (0, 1)).all(axis=0)
    middles = np.where(unitless, 0.0, np.median(inputs, axis=axes))
    spreads = np.where(unitless, 0.0, inputs.std(axis=axes, dtype=np.float64))
    return Measured(names=_input_names(spec), middles=middles, spreads=spreads, spec=spec)


def _check_units(measured: Measured, samples: int, where: str, naming: Naming) -> tuple[str, ...]:
    """Notes on what lies far from the run's, or hardly varies compared to it. Raises ConfigError
    for another unit."""
    apart = np.abs(measured.middles)
    far = np.flatnonzero(apart > FAR).tolist()
    if far and not naming.any_range:
        raise _another_unit(measured, far[0], where)
    beyond = [measured.sentence(at) for at in np.flatnonzero(apart > NEAR).tolist()]
    if samples < ENOUGH:
        return tuple(beyond)
    narrow = (measured.spreads > 0) & (measured.spreads < NARROW)
    varies = [
        f"{measured.names[at]} varies {measured.spreads[at]:.2g} times as much as in the run"
        for at in np.flatnonzero(narrow).tolist()
    ]
    return (*beyond, *varies)


def _another_unit(measured: Measured, at: int, where: str) -> UnmatchedError:
    name = measured.names[at]
    deviations = abs(measured.middles[at])
    convert = (
        f"--units {name}=FACTOR,OFFSET brings it to the run's; " if measured.spec.columns else ""
    )
    return UnmatchedError(
        f"{where}: {measured.sentence(at)}, {deviations:.0f} of the run's deviations apart: is it "
        f"in another unit? {convert}--any-range takes it as it is",
        mismatch=f"{name} seems to be in another unit than the run's",
    )


def _input_names(spec: DataSpec) -> list[str]:
    """One for each input of a table, or channel of a series."""
    if not spec.columns:
        what = "input" if spec.kind == "table" else "channel"
        return [f"{what} {number}" for number in range(spec.shape[0])]
    return [
        f"{column.name}={value}" if value else column.name
        for column in spec.columns
        for value in (column.values or ("",))
    ]
