"""The embedded text: sources of the Python standard library, which every machine has."""

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import ConfigError

LIMIT_BYTES = 2_000_000
"""Bytes of text in the sample: enough for a small model, and read and cut in a second or two."""
LARGEST_BYTES = 150_000
"""Larger files are tables or pages of help."""
SKIPPED = frozenset(
    [
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "encodings",
        "pydoc_data",
        "__pycache__",
    ]
)


def sample(limit_bytes: int = LIMIT_BYTES) -> tuple[list[str], str]:
    """(texts of some files in the order of their names, a note). The same for the same release of
    Python.

    A digest of a file's name decides whether it is in, so that a release which adds a file changes
    little.
    """
    root = Path(sysconfig.get_path("stdlib"))
    texts: dict[str, str] = {}
    left_bytes = limit_bytes
    for name in sorted(_names(root), key=_lot):
        text = _text(root / name)
        if text and len(text) <= left_bytes:
            texts[name] = text
            left_bytes -= len(text)
    if not texts:
        raise ConfigError(
            f"{root}: no sources of the standard library here: give --data a text of your own"
        )
    release = ".".join(map(str, sys.version_info[:3]))
    note = (
        f"{len(texts)} sources of the standard library of Python {release}, "
        f"{limit_bytes - left_bytes} characters"
    )
    return [texts[name] for name in sorted(texts)], note


def _names(root: Path) -> Iterator[str]:
    for folder, inner, files in os.walk(root):
        inner[:] = [
            name for name in inner if name not in SKIPPED and not name.startswith("config-")
        ]
        yield from (
            (Path(folder) / name).relative_to(root).as_posix() for name in files if _wanted(name)
        )


def _wanted(name: str) -> bool:
    return name.endswith(".py") and not name.startswith(("test_", "_sysconfigdata"))


def _lot(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _text(path: Path) -> str | None:
    """None for what is too large or not UTF-8."""
    data = path.read_bytes()
    try:
        return data.decode() if len(data) <= LARGEST_BYTES else None
    except UnicodeDecodeError:
        return None
