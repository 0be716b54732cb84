"""Parts of a dataset that was loaded, scaled and divided elsewhere: samples as models see them.

`distilfleet split` writes them and they are taken as they are, to the bit. Names and scaling go
with them: a device holds its part against what a run means, and the server treats further samples,
such as a proxy dataset, alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np

from ..core.errors import ConfigError
from ..core.types import Dataset
from .labelled_text import packed, unpacked
from .raw import UNSAMPLED, FeatureColumn, Sampling, check_numbers
from .reading import Axis, Kind
from .scaling import Scaling
from .words import Words

INPUTS = "prepared_x"
LABELS = "prepared_y"
CLASSES = "classes"
NAME = "name"
KIND = "scaling_kind"
OFFSET = "scaling_offset"
FACTOR = "scaling_factor"
COLUMNS = "columns"
CHANNELS = "scaling_channels"
"""Absent from files of versions that knew the last axis alone."""
SAMPLING = "sampling"
"""Absent from files of versions that cut no series."""
WHOSE = "whose"
WORDS = "words"
"""The kind of a part that holds hashed words of texts."""
TEXTS = "texts"
TEXT_ENDS = "text_ends"
TOKENIZER_DIGEST = "tokenizer_digest"
DEVICE = "device"
SERVER = "server"
PROXY = "proxy"
"""Whose a part is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedFacts:
    """What a part says of its samples."""

    whose: str
    classes: tuple[str, ...]
    scaling: Scaling | Words | None
    """None: windows of tokens."""
    columns: tuple[FeatureColumn, ...]
    tokenizer: str = ""
    """Digest of the one that cut the windows."""


def holds(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a file has such a part."""
    return INPUTS in arrays


def write(file: Path, data: Dataset, **more: np.ndarray) -> None:
    """Write a part as one .npz file, which `dataset` and `facts_of` read."""
    labels = {} if data.labels is None else {LABELS: data.labels}
    np.savez(file, allow_pickle=False, **{INPUTS: data.inputs}, **labels, **more)


def facts(
    whose: str,
    classes: tuple[str, ...],
    scaling: Scaling | Words,
    columns: tuple[FeatureColumn, ...],
    sampling: Sampling = UNSAMPLED,
) -> dict[str, np.ndarray]:
    """What a part has besides samples."""
    common = {
        WHOSE: np.array(whose),
        CLASSES: np.array(classes),
        KIND: np.array(scaling.kind),
        COLUMNS: np.array(msgspec.json.encode(columns).decode()),
        SAMPLING: np.array(msgspec.json.encode(sampling).decode()),
    }
    if isinstance(scaling, Words):
        return common
    offset, factor = figures_of(scaling)
    return {**common, OFFSET: offset, FACTOR: factor, CHANNELS: np.array(scaling.channels)}


def figures_of(scaling: Scaling | Words) -> tuple[np.ndarray, ...]:
    """The numbers by which samples are scaled; none for texts."""
    return () if isinstance(scaling, Words) else (scaling.offset, scaling.factor)


def texts(texts: np.ndarray | None) -> dict[str, np.ndarray]:
    """What the server's part of texts has besides: the texts themselves, for its large model's
    tokenizer."""
    if texts is None:
        return {}
    coded, ends = packed(texts)
    return {TEXTS: coded, TEXT_ENDS: ends}


def texts_of(arrays: Mapping[str, np.ndarray], where: str) -> np.ndarray | None:
    """The texts of a part that has them. Raises ConfigError where they are damaged."""
    if TEXTS not in arrays or TEXT_ENDS not in arrays:
        return None
    try:
        return unpacked(arrays[TEXTS], arrays[TEXT_ENDS])
    except (UnicodeDecodeError, ValueError, TypeError) as fault:
        raise ConfigError(
            f"{where}: its texts cannot be read ({fault}): split the data again"
        ) from None


def text_facts(whose: str, classes: tuple[str, ...], tokenizer: str) -> dict[str, np.ndarray]:
    """What a part of windows has besides them."""
    origin = {WHOSE: np.array(whose), TOKENIZER_DIGEST: np.array(tokenizer)}
    return {**origin, CLASSES: np.array(classes, np.str_)}


def facts_of(arrays: Mapping[str, np.ndarray], where: str) -> PreparedFacts | None:
    """None for a part that says nothing. Raises ConfigError for one that is damaged."""
    if WHOSE not in arrays:
        return None
    whose = str(arrays[WHOSE])
    tokenizer = str(arrays.get(TOKENIZER_DIGEST, ""))
    if KIND in arrays:
        classes, scaling, columns = treatment(arrays, where)
        return PreparedFacts(whose=whose, classes=classes, scaling=scaling, columns=columns)
    classes = tuple(arrays[CLASSES].tolist()) if CLASSES in arrays else ()
    return PreparedFacts(
        whose=whose, classes=classes, scaling=None, columns=(), tokenizer=tokenizer
    )


def named(name: str) -> dict[str, np.ndarray]:
    """What the whole was called, without its folder."""
    return {NAME: np.array(Path(name).name)}


def name_of(arrays: Mapping[str, np.ndarray], where: str) -> str:
    """What the whole was called; the place of the part where it does not say."""
    return str(arrays[NAME]) if NAME in arrays else where


def dataset(arrays: Mapping[str, np.ndarray], where: str) -> Dataset:
    """Raises ConfigError for what `write` does not write."""
    inputs = arrays[INPUTS]
    check_numbers(inputs, where)
    if inputs.ndim < 2 or inputs.dtype.str not in ("<f4", "<i4"):
        raise ConfigError(
            f"{where}: {INPUTS} is {inputs.dtype}{list(inputs.shape)}; expected float32 or int32 "
            "samples"
        )
    labels = arrays.get(LABELS)
    if labels is not None:
        _check_labels(labels, len(inputs), where)
    if not len(inputs):
        raise ConfigError(f"{where}: {INPUTS} has no samples; expected one at least")
    return Dataset(inputs, labels)


def _check_labels(labels: np.ndarray, samples: int, where: str) -> None:
    if labels.dtype.str != "<i8" or labels.shape != (samples,):
        raise ConfigError(
            f"{where}: {LABELS} is {labels.dtype}{list(labels.shape)}; expected int64, one per "
            f"sample: {samples}"
        )
    if labels.min(initial=0) < 0:
        raise ConfigError(f"{where}: {LABELS} has {labels.min()}; expected classes from 0 on")


def treatment(
    arrays: Mapping[str, np.ndarray], where: str
) -> tuple[tuple[str, ...], Scaling | Words, tuple[FeatureColumn, ...]]:
    """Class names, scaling and columns of a part. Raises ConfigError."""
    scaled = () if str(arrays.get(KIND, "")) == WORDS else (OFFSET, FACTOR)
    missing = [name for name in (CLASSES, KIND, *scaled, COLUMNS) if name not in arrays]
    if missing:
        raise ConfigError(
            f"{where}: the part of a device, without {missing[0]}; the server's is server.npz"
        )
    try:
        columns = msgspec.json.decode(str(arrays[COLUMNS]), type=tuple[FeatureColumn, ...])
    except msgspec.DecodeError as fault:
        raise ConfigError(f"{where}: {COLUMNS} cannot be read: {fault}") from None
    return tuple(arrays[CLASSES].tolist()), _scaling(arrays, where), columns


def _scaling(arrays: Mapping[str, np.ndarray], where: str) -> Scaling | Words:
    kind = str(arrays[KIND])
    if kind == WORDS:
        return Words(length=int(arrays[INPUTS].shape[-1]))
    channels = str(arrays.get(CHANNELS, "last"))
    _check_word(kind, KIND, get_args(Kind), where)
    _check_word(channels, CHANNELS, get_args(Axis), where)
    return Scaling(
        kind=kind,  # type: ignore[arg-type]
        offset=arrays[OFFSET],
        factor=arrays[FACTOR],
        channels=channels,  # type: ignore[arg-type]
    )


def sampling_of(arrays: Mapping[str, np.ndarray], where: str) -> Sampling:
    """How the series of a part were measured and cut. Raises ConfigError."""
    try:
        return msgspec.json.decode(str(arrays.get(SAMPLING, "{}")), type=Sampling)
    except msgspec.DecodeError as fault:
        raise ConfigError(f"{where}: {SAMPLING} cannot be read: {fault}") from None


def _check_word(value: str, key: str, known: Sequence[str], where: str) -> None:
    if value not in known:
        raise ConfigError(f"{where}: {key} is {value!r}; expected one of {', '.join(known)}")
