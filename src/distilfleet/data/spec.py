"""What a run means by its samples and labels, by name: what a device maps its own file onto, or
declines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from ..core.errors import ConfigError
from ..core.types import Dataset
from .raw import UNSAMPLED, FeatureColumn, Sampling
from .reading import Axis
from .scaling import Scaling
from .words import Words

AXES = {"table": 1, "series": 2, "image": 3, "text": 1, "words": 1}
"""Axes of the largest sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Names and units of a run's inputs and labels, small enough to travel."""

    kind: Literal["table", "series", "image", "text", "words"]
    """What one sample is: numbers of one, two or three axes, a window of tokens, or the hashed
    words of a text."""
    shape: tuple[int, ...]
    """Shape of one sample, as models see it."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their numbers; empty for a run without labels."""
    stored: tuple[str, ...] = ()
    """The labels as the run's own data store them, where those are numbers that have a name
    besides."""
    columns: tuple[FeatureColumn, ...] = ()
    """Feature columns in the order of the inputs, or the column of texts; empty where inputs have
    no names."""
    label: str = ""
    """The column or key of labels in the run's own data, where somebody named it."""
    offset: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()
    """The scaling of the run's own data, for each column or channel, or one for all pixels: see
    `Scaling`."""
    channels: Axis = "last"
    """Which axis of a stored sample has the channels, in the run's own data."""
    sampling: Sampling = UNSAMPLED
    """How series were measured and cut."""
    tokenizer: str = ""
    """The digest of the tokenizer that text was cut with."""

    @property
    def scaling(self) -> Scaling:
        """Raises ConfigError for text, which is not scaled, and for figures that are not as many as
        the inputs."""
        if self.kind == "text" or self.kind == "words":
            raise ConfigError("the run is of text; this device's data are numbers")
        count = 1 if self.kind == "image" else self.shape[0]
        if not len(self.offset) == len(self.factor) == count:
            raise ConfigError(f"the run's scaling has {len(self.offset)} offsets; expected {count}")
        form = (-1, 1) if self.kind == "series" else (-1,)
        offset, factor = (
            np.array(values, np.float64).reshape(form) for values in (self.offset, self.factor)
        )
        return Scaling(kind=self.kind, offset=offset, factor=factor, channels=self.channels)

    @property
    def words(self) -> Words:
        """What makes inputs of texts, for a run of those."""
        return Words(length=self.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mapped:
    """Samples as a run means them."""

    data: Dataset
    notes: tuple[str, ...] = ()
    """What was decided on the way."""


def figures(scaling: Scaling | Words) -> dict[str, Any]:
    """Kind, offset and factor of a scaling, as a `DataSpec` has them; of texts the kind alone."""
    if isinstance(scaling, Words):
        return {"kind": scaling.kind}
    offset, factor = (tuple(values.ravel().tolist()) for values in (scaling.offset, scaling.factor))
    return {"kind": scaling.kind, "offset": offset, "factor": factor, "channels": scaling.channels}


def write(spec: DataSpec) -> dict[str, Any]:
    """Plain data for a `RunSpec`."""
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    return plain


def read(plain: Mapping[str, Any]) -> DataSpec | None:
    """None for a run that does not say. Raises ConfigError."""
    if not plain:
        return None
    try:
        spec = msgspec.convert(plain, DataSpec)
        if len(spec.shape) != AXES[spec.kind]:
            raise msgspec.ValidationError(f"samples of shape {list(spec.shape)} are no {spec.kind}")
        return spec
    except (msgspec.ValidationError, RecursionError) as fault:
        raise ConfigError(f"what the run says of its data cannot be read: {fault}") from None
