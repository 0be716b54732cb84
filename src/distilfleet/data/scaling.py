"""From stored numbers to what a model sees: the axes in order, the range fixed by the train part."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from distilfleet.core.errors import ConfigError

Kind = Literal["table", "series", "image"]

CHUNK = 4096
"""Samples that are scaled at once, in float64, so that memory stays near that of the result."""
SMALLEST_DEVIATION = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaling:
    """Everything needed to treat new samples as the training samples were treated.

    `apply` puts the axes in order (series: channels, steps; images: channels, height, width) and returns
    `(raw - offset) * factor`. Images of type uint8 are always divided by 255, so that bytes and ready-made 0..1
    floats mix.
    """

    kind: Kind
    offset: np.ndarray
    """Broadcasts against one sample."""
    factor: np.ndarray
    """Zero for a column or channel that is constant in the train part."""

    def shape(self, raw: np.ndarray) -> tuple[int, ...]:
        """Shape of one sample of `raw` once applied; `ConfigError` if it cannot be this kind."""
        return tuple(_arrange(raw, self.kind).shape[1:])

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Samples as float32, C-contiguous, ready for a `Dataset`."""
        arranged = _arrange(raw, self.kind)
        offset, factor = self.offset, self.factor
        if self.kind == "image" and raw.dtype == np.uint8:
            offset, factor = np.zeros(1), np.full(1, 1 / 255)
        scaled = np.empty(arranged.shape, dtype=np.float32)
        for start in range(0, len(arranged), CHUNK):
            rows = slice(start, start + CHUNK)
            scaled[rows] = (arranged[rows].astype(np.float64) - offset) * factor
        return scaled


def fit(raw: np.ndarray, where: str) -> Scaling:
    """The scaling that training samples call for: images to 0..1, columns and channels to mean 0, deviation 1."""
    kind = _kind_of(raw, where)
    arranged = _arrange(raw, kind)
    if kind == "image":
        return _fit_range(arranged)
    axes = (0,) if kind == "table" else (0, 2)
    return _fit_deviation(arranged, axes, kind)


def _kind_of(raw: np.ndarray, where: str) -> Kind:
    if raw.ndim <= 2:
        return "table"
    if raw.ndim == 4 or (raw.ndim == 3 and (raw.dtype == np.uint8 or raw.shape[1] == raw.shape[2])):
        return "image"
    if raw.ndim == 3:
        return "series"
    raise ConfigError(
        f"{where}: samples have shape {raw.shape[1:]}; expected [features], [steps, channels], [height, width] or "
        f"[height, width, channels]"
    )


def _arrange(raw: np.ndarray, kind: Kind) -> np.ndarray:
    if kind == "table" and raw.ndim in (1, 2):
        return raw.reshape(len(raw), -1)
    if kind == "series" and raw.ndim == 3:
        return raw.transpose(0, 2, 1)
    if kind == "image" and raw.ndim == 3:
        return raw[:, np.newaxis]
    if kind == "image" and raw.ndim == 4:
        return raw.transpose(0, 3, 1, 2) if raw.shape[3] in (1, 3, 4) else raw
    raise ConfigError(f"an array of shape {raw.shape} holds no {kind} samples, which the training data are")


def _fit_range(images: np.ndarray) -> Scaling:
    lowest, highest = float(images.min()), float(images.max())
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
