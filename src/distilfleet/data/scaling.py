"""From stored numbers to what a model sees: the axes in order, the range fixed by the train
part."""

from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import ConfigError
from .reading import GUESSED, Axis, Kind, Reading

USUAL = (1, 3, 4)
"""Channels of pictures: grey, colour, colour and transparency."""
SIZES: dict[Kind, tuple[int, ...]] = {"table": (1, 2, 3, 4), "series": (2, 3), "image": (3, 4)}
"""Axes that an array of samples of each kind may have; the highest count has an axis of
channels."""
CHUNK = 4096
"""Samples that are scaled at once, in float64, so that memory stays near that of the result."""
SMALLEST_DEVIATION = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaling:
    """Everything needed to treat new samples as the training samples were treated.

    `apply` puts the axes in order (series: channels, steps; images: channels, height, width) and
    returns `(raw - offset) * factor`. Images of type uint8 are always divided by 255, so that bytes
    and ready-made 0..1 floats mix.
    """

    kind: Kind
    offset: np.ndarray
    """Broadcasts against one sample."""
    factor: np.ndarray
    """Zero for a column or channel that is constant in the train part."""
    channels: Axis = "last"
    """Which axis of a stored sample has the channels."""

    def shape(self, raw: np.ndarray) -> tuple[int, ...]:
        """Shape of one sample of `raw` once applied; `ConfigError` if it cannot be this kind."""
        return tuple(_arrange(raw, self.kind, self.channels).shape[1:])

    def stored_as(self, raw: np.ndarray, shape: tuple[int, ...]) -> "Scaling":
        """The same for pictures with their channels on the other axis, where only that makes them
        of this shape."""
        if self.kind != "image":
            return self
        other = replace(self, channels="first" if self.channels == "last" else "last")
        return other if self.shape(raw) != shape == other.shape(raw) else self

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Samples as float32, C-contiguous, ready for a `Dataset`."""
        arranged = _arrange(raw, self.kind, self.channels)
        offset = self.offset
        factor = self.factor
        if self.kind == "image" and raw.dtype == np.uint8:
            offset = np.zeros(1)
            factor = np.full(1, 1 / 255)
        scaled = np.empty(arranged.shape, dtype=np.float32)
        for start in range(0, len(arranged), CHUNK):
            rows = slice(start, start + CHUNK)
            scaled[rows] = (arranged[rows].astype(np.float64) - offset) * factor
        return scaled


def fit(raw: np.ndarray, layout: "Layout") -> Scaling:
    """The scaling that training samples call for: images to 0..1, columns and channels to mean 0,
    deviation 1."""
    arranged = _arrange(raw, layout.kind, layout.channels)
    if layout.kind == "image":
        return replace(_fit_range(arranged), channels=layout.channels)
    axes = (0,) if layout.kind == "table" else (0, 2)
    return replace(_fit_deviation(arranged, axes, layout.kind), channels=layout.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What stored samples are, where their channels are, and what of that was guessed."""

    kind: Kind
    channels: Axis = "last"
    notes: tuple[str, ...] = ()


PICTURES = Layout(kind="image")


def layout(raw: np.ndarray, where: str, reading: Reading = GUESSED) -> Layout:
    """What samples are, as the user says or by their shape. Raises ConfigError where that can be
    read in two ways."""
    kind = reading.sample_kind or _kind_of(raw, where)
    _check_kind(raw, kind, where)
    if kind == "table" or raw.ndim < SIZES[kind][-1]:
        if reading.channels_axis is not None:
            raise ConfigError(
                f"{where}: {_many(raw)} are read as {kind}, without channels: leave out "
                "--channels-axis"
            )
        return Layout(
            kind=kind,
            notes=_said(raw, kind) if raw.ndim > 2 and reading.sample_kind is None else (),
        )
    channels = reading.channels_axis or _channels_of(raw, kind, where)
    settled = reading.channels_axis is not None and reading.sample_kind is not None
    return Layout(kind=kind, channels=channels, notes=() if settled else _said(raw, kind, channels))


def _kind_of(raw: np.ndarray, where: str) -> Kind:
    if raw.ndim <= 2:
        return "table"
    if raw.ndim == 4 or (raw.ndim == 3 and (raw.dtype == np.uint8 or raw.shape[1] == raw.shape[2])):
        return "image"
    if raw.ndim == 3:
        return "series"
    raise ConfigError(
        f"{where}: samples have shape {raw.shape[1:]}; expected [features], [steps, channels], "
        "[height, width] or [height, width, channels]"
    )


def _check_kind(raw: np.ndarray, kind: Kind, where: str) -> None:
    if raw.ndim not in SIZES[kind]:
        raise ConfigError(
            f"{where}: {_many(raw)} cannot be read as {kind}: choose another --sample-kind"
        )


def _channels_of(raw: np.ndarray, kind: Kind, where: str) -> Axis:
    """The axis that is usual, or leaves square pictures, or is shorter."""
    first, *_, last = sizes = raw.shape[1:]
    evidence = [(first < last, last < first)]
    if kind == "image":
        evidence = [
            (first in USUAL, last in USUAL),
            (sizes[1] == sizes[2], sizes[0] == sizes[1]),
            *evidence,
        ]
    for is_first, is_last in evidence:
        if is_first != is_last:
            return "first" if is_first else "last"
    raise ConfigError(
        f"{where}: {_many(raw)} can have their channels on the first or the last axis: settle it "
        "with --channels-axis"
    )


def _said(raw: np.ndarray, kind: Kind, channels: Axis | None = None) -> tuple[str, ...]:
    sizes = list(raw.shape[1:])
    if channels is None:
        return (f"{_many(raw)} are read as {kind}, one channel (else: --sample-kind)",)
    count = sizes.pop(0 if channels == "first" else -1)
    rest = " x ".join(map(str, sizes)) + (" steps" if kind == "series" else "")
    return (
        f"{_many(raw)} are read as {kind}: {rest}, {count} channels on the {channels} axis (else: "
        "--sample-kind, --channels-axis)",
    )


def _many(raw: np.ndarray) -> str:
    return f"samples of shape {list(raw.shape[1:])}"


def _arrange(raw: np.ndarray, kind: Kind, channels: Axis) -> np.ndarray:
    if raw.ndim not in SIZES[kind]:
        raise ConfigError(
            f"an array of shape {raw.shape} holds no {kind} samples, which the training data are"
        )
    if kind == "table":
        return raw.reshape(len(raw), -1)
    if raw.ndim < SIZES[kind][-1]:
        return raw[:, np.newaxis]
    return raw if channels == "first" else np.moveaxis(raw, -1, 1)


def _fit_range(images: np.ndarray) -> Scaling:
    lowest = float(images.min())
    highest = float(images.max())
    ready = images.dtype == np.uint8 or (lowest >= 0 and highest <= 1) or lowest == highest
    offset, factor = (0.0, 1.0) if ready else (lowest, 1 / (highest - lowest))
    return Scaling(kind="image", offset=np.full(1, offset), factor=np.full(1, factor))


def _fit_deviation(arranged: np.ndarray, axes: tuple[int, ...], kind: Kind) -> Scaling:
    # float64 through the whole statistics: int16 sums overflow, float16 sums round
    mean = arranged.mean(axis=axes, keepdims=True, dtype=np.float64)
    deviation = arranged.std(axis=axes, keepdims=True, dtype=np.float64)
    varies = (arranged.max(axis=axes, keepdims=True) > arranged.min(axis=axes, keepdims=True)) & (
        deviation > SMALLEST_DEVIATION
    )
    factor = np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)
    return Scaling(kind=kind, offset=mean[0], factor=factor[0])
