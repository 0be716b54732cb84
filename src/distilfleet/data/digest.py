"""What data are, in 32 hexadecimal digits: by it a run that is resumed can tell that its data
changed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def of_arrays(arrays: Iterable[np.ndarray | None]) -> str:
    """The digest of these arrays in this order, their types and shapes; about a gigabyte a
    second."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(
            b"none" if array is None else f"{array.dtype.str}{list(array.shape)}".encode()
        )
        if array is not None and array.size:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def of_files(path: Path) -> str:
    """The digest of a file, or of all files below a folder and their names."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(
                f"{file.relative_to(path.parent)}\0{file.stat().st_size}\0".encode(
                    errors="surrogateescape"
                )
            )
            with file.open("rb") as content:
                while block := content.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
