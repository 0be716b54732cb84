"""IDX files, the format of MNIST and its family: big-endian header, then the values."""

import gzip
import math
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from ..core.errors import ConfigError
from . import files
from .raw import Part, Raw
from .reading import GUESSED, Reading
from .scaling import PICTURES

NAME = re.compile(
    r"(?P<set>.*?)(?P<part>train|t10k|test)[-_.](?P<what>images|labels)[-_.]idx\d-ubyte(\.gz)?",
    re.I,
)
MOST_AXES = 4
GZIP = b"\x1f\x8b"
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def holds(path: Path) -> bool:
    """Whether a file, or one in a folder, is called as those of MNIST are."""
    entries = path.iterdir() if path.is_dir() else [path]
    return any(NAME.fullmatch(entry.name) for entry in entries)


def read(path: Path, reading: Reading = GUESSED) -> Raw:
    """A folder of the four files (the test pair may be missing), or any one file of such a folder.

    Samples are pictures, unless their arrays are of another shape or type, or are said to be of
    another kind.
    """
    family = _family(path)
    train = _pair(family, "train", path)
    if train is None:
        raise ConfigError(
            f"{path}: no train-images and train-labels IDX files; found {_list(family.values())}"
        )
    is_grey = train.inputs.ndim == 3 and train.inputs.dtype == np.uint8
    layout = PICTURES if is_grey and reading.sample_kind is None else None
    return Raw(where=str(path), train=train, test=_pair(family, "test", path), layout=layout)


def _family(path: Path) -> dict[tuple[str, str], Path]:
    """Files of one dataset by (part, what)."""
    folder = path if path.is_dir() else path.parent
    named = [
        (match, folder / match.string) for match in map(NAME.fullmatch, _names(folder)) if match
    ]
    sets = {match["set"] for match, _ in named}
    if not path.is_dir():
        own = NAME.fullmatch(path.name)
        sets = {own["set"] if own else ""}
    if len(sets) > 1:
        raise ConfigError(
            f"{path}: IDX files of several datasets ({_list(sets)}): name one of the files instead"
        )
    return {
        ("train" if match["part"].lower() == "train" else "test", match["what"].lower()): file
        for match, file in named
        if match["set"] in sets
    }


def _pair(family: dict[tuple[str, str], Path], part: str, path: Path) -> Part | None:
    images = family.get((part, "images"))
    labels = family.get((part, "labels"))
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        raise ConfigError(
            f"{path}: {images or labels} has no counterpart; expected images and labels of the "
            f"{part} part"
        )
    return Part(inputs=read_file(images), labels=read_file(labels))


def read_file(path: Path) -> np.ndarray:
    """The array of one IDX file, gzipped or not."""
    files.check_file(path)
    try:
        with _open(path) as file:
            return _values(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}): it may be truncated; fetch it again"
        ) from error


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP or path.suffix.lower() == ".gz"
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb")


def _values(file: IO[bytes], path: Path) -> np.ndarray:
    kind, axes = _head(file, path)
    sizes = file.read(4 * axes)
    whole_bytes = len(sizes) // 4 * 4
    shape = tuple(np.frombuffer(sizes[:whole_bytes], dtype=">u4").tolist())
    announced_bytes = math.prod(shape) * kind.itemsize
    content = _content(file, announced_bytes, path)
    if len(shape) != axes or len(content) != announced_bytes:
        read_bytes = f"{4 + len(sizes) + len(content)} bytes"
        more = " or more" if len(content) > announced_bytes else ""
        raise ConfigError(
            f"{path}: {read_bytes}{more}, but its header {list(shape)} announces "
            f"{4 + 4 * axes + announced_bytes}: it is truncated or damaged; fetch it again"
        )
    values = np.frombuffer(content, dtype=kind).reshape(shape)
    return values.astype(kind.newbyteorder("="))


def _head(file: IO[bytes], path: Path) -> tuple[np.dtype[Any], int]:
    """The type of the numbers, and how many axes they have."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES:
        raise ConfigError(
            f"{path}: not an IDX file: it starts with {head.hex()!r}, expected 0000, type, axes"
        )
    axes = head[3]
    if axes > MOST_AXES:
        raise ConfigError(
            f"{path}: {axes} axes; expected at most {MOST_AXES}: it is damaged; fetch it again"
        )
    return np.dtype(TYPES[head[2]]), axes


def _content(file: IO[bytes], announced: int, path: Path) -> bytes:
    """What follows a header, one byte beyond what it announces at most; however much a packed file
    unfolds to."""
    files.check_size(announced, path)
    return file.read(announced + 1)


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _list(items: Iterable[object]) -> str:
    return ", ".join(sorted(str(item) for item in items)) or "none"
