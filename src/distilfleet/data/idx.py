"""IDX files, the format of MNIST and its family: big-endian header, then the values."""

import gzip
import math
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from distilfleet.core.errors import ConfigError
from distilfleet.data.raw import Part, Raw

NAME = re.compile(r"(?P<set>.*?)(?P<part>train|t10k|test)[-_.](?P<what>images|labels)[-_.]idx\d-ubyte(\.gz)?", re.I)
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def holds(folder: Path) -> bool:
    return any(NAME.fullmatch(entry.name) for entry in folder.iterdir())


def read(path: Path) -> Raw:
    """A folder of the four files (the test pair may be missing), or any one file of such a folder."""
    family = _family(path)
    train = _pair(family, "train", path)
    if train is None:
        raise ConfigError(f"{path}: no train-images and train-labels IDX files; found {_list(family.values())}")
    return Raw(where=str(path), train=train, test=_pair(family, "test", path))


def _family(path: Path) -> dict[tuple[str, str], Path]:
    """Files of one dataset by (part, what)."""
    folder = path if path.is_dir() else path.parent
    named = [(match, folder / match.string) for match in map(NAME.fullmatch, _names(folder)) if match]
    sets = {match["set"] for match, _ in named}
    if not path.is_dir():
        own = NAME.fullmatch(path.name)
        sets = {own["set"] if own else ""}
    if len(sets) > 1:
        raise ConfigError(f"{path}: IDX files of several datasets ({_list(sets)}): name one of the files instead")
    return {
        ("train" if match["part"].lower() == "train" else "test", match["what"].lower()): file
        for match, file in named
        if match["set"] in sets
    }


def _pair(family: dict[tuple[str, str], Path], part: str, path: Path) -> Part | None:
    images, labels = family.get((part, "images")), family.get((part, "labels"))
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        raise ConfigError(
            f"{path}: {images or labels} has no counterpart; expected images and labels of the {part} part"
        )
    return Part(inputs=read_file(images), labels=read_file(labels))


def read_file(path: Path) -> np.ndarray:
    """The array of one IDX file, gzipped or not."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be read ({error}): it may be truncated; fetch it again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        raise ConfigError(f"{path}: not an IDX file: it starts with {content[:4].hex()!r}, expected 0000, type, axes")
    return _values(content, path)


def _values(content: bytes, path: Path) -> np.ndarray:
    kind, axes = np.dtype(TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    shape = tuple(int(size) for size in np.frombuffer(content[4 : min(start, len(content)) // 4 * 4], dtype=">u4"))
    announced = start + math.prod(shape) * kind.itemsize
    if len(shape) != axes or len(content) != announced:
        raise ConfigError(
            f"{path}: {len(content)} bytes, but its header {list(shape)} announces {announced}: it is truncated or "
            f"damaged; fetch it again"
        )
    return np.frombuffer(content, dtype=kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _list(items: Iterable[object]) -> str:
    return ", ".join(sorted(str(item) for item in items)) or "none"
