"""Parts of a dataset that was loaded, scaled and divided elsewhere: samples as models see them.

`distilfleet split` writes them and they are taken as they are, to the bit. The server's part has the scaling with it,
so that further samples of the same kind, such as a proxy dataset, can be treated alike.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np

from distilfleet.core.errors import ConfigError
from distilfleet.core.types import Dataset
from distilfleet.data.raw import Column, check_numbers
from distilfleet.data.reading import Axis, Kind
from distilfleet.data.scaling import Scaling

INPUTS, LABELS, CLASSES, NAME = "prepared_x", "prepared_y", "classes", "name"
KIND, OFFSET, FACTOR, COLUMNS = "scaling_kind", "scaling_offset", "scaling_factor", "columns"
CHANNELS = "scaling_channels"
"""Absent from files of versions that knew the last axis alone."""


def holds(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a file has such a part."""
    return INPUTS in arrays


def write(file: Path, data: Dataset, **more: np.ndarray) -> None:
    labels = {} if data.labels is None else {LABELS: data.labels}
    np.savez(file, allow_pickle=False, **{INPUTS: data.inputs}, **labels, **more)


def facts(classes: tuple[str, ...], scaling: Scaling, columns: tuple[Column, ...]) -> dict[str, np.ndarray]:
    """What the server's part has besides samples."""
    return {
        CLASSES: np.array(classes),
        KIND: np.array(scaling.kind),
        OFFSET: scaling.offset,
        FACTOR: scaling.factor,
        CHANNELS: np.array(scaling.channels),
        COLUMNS: np.array(msgspec.json.encode(columns).decode()),
    }


def named(name: str) -> dict[str, np.ndarray]:
    """What the whole was called, without its folder."""
    return {NAME: np.array(Path(name).name)}


def name_of(arrays: Mapping[str, np.ndarray], where: str) -> str:
    return str(arrays[NAME]) if NAME in arrays else where


def dataset(arrays: Mapping[str, np.ndarray], where: str) -> Dataset:
    """Raises ConfigError for what `write` does not write."""
    inputs, labels = arrays[INPUTS], arrays.get(LABELS)
    check_numbers(inputs, where)
    if inputs.ndim < 2 or inputs.dtype.str not in ("<f4", "<i4"):
        raise ConfigError(f"{where}: {INPUTS} is {inputs.dtype}{list(inputs.shape)}; expected float32 or int32 samples")
    if labels is not None and (labels.dtype.str != "<i8" or labels.shape != (len(inputs),)):
        raise ConfigError(
            f"{where}: {LABELS} is {labels.dtype}{list(labels.shape)}; expected int64, one per sample: {len(inputs)}"
        )
    return Dataset(inputs, labels)


def treatment(arrays: Mapping[str, np.ndarray], where: str) -> tuple[tuple[str, ...], Scaling, tuple[Column, ...]]:
    """Class names, scaling and columns of the server's part. Raises ConfigError."""
    missing = [name for name in (CLASSES, KIND, OFFSET, FACTOR, COLUMNS) if name not in arrays]
    if missing:
        raise ConfigError(f"{where}: the part of a device, without {missing[0]}; the server's is server.npz")
    kind = str(arrays[KIND])
    try:
        columns = msgspec.json.decode(str(arrays[COLUMNS]), type=tuple[Column, ...])
    except msgspec.DecodeError as fault:
        raise ConfigError(f"{where}: {COLUMNS} cannot be read: {fault}") from None
    channels = str(arrays.get(CHANNELS, "last"))
    for key, value, known in ((KIND, kind, get_args(Kind)), (CHANNELS, channels, get_args(Axis))):
        if value not in known:
            raise ConfigError(f"{where}: {key} is {value!r}; expected one of {', '.join(known)}")
    scaling = Scaling(kind=kind, offset=arrays[OFFSET], factor=arrays[FACTOR], channels=channels)  # type: ignore[arg-type]
    return tuple(arrays[CLASSES].tolist()), scaling, columns
