"""Bytes and text of a user's file: whatever cannot be read is one sentence that names file, place
and remedy."""

import codecs
import os
from pathlib import Path

from ..core.errors import ConfigError
from ..core.units import pretty_bytes

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
OTHERS = {
    b"PK\x03\x04": "a spreadsheet or zip archive and no text: export it as .csv",
    b"\xd0\xcf\x11\xe0": "a spreadsheet and no text: export it as .csv",
    b"\x1f\x8b": "packed with gzip: unpack it with gunzip",
    b"BZh": "packed with bzip2: unpack it with bunzip2",
    b"\xfd7zXZ": "packed with xz: unpack it with unxz",
    b"PAR1": "a Parquet file and no text: export it as .csv",
    b"\x89HDF": "an HDF5 file and no text: export it as .csv",
}
"""First bytes of files that are no text, and what these are."""
LARGEST_SHARE = 0.5
"""The part of memory that data may fill: what is read is copied once to scale it."""


def named(path: str) -> Path:
    """A path as a person types it, `~` included. Raises ConfigError for the home of nobody."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: {error} Write the path in full.") from None


def same_named(name: str) -> tuple[str, ...]:
    """A note where a file or folder is called as a built-in dataset is."""
    there = Path(name).exists()
    return (
        (f"{name} is the dataset that comes with distilfleet; for what lies here give ./{name}",)
        if there
        else ()
    )


def check_file(path: Path) -> None:
    """Refuse what opening would wait for, or what is no file: folders, pipes, devices, links in a
    circle."""
    try:
        regular = path.is_file()
        there = path.exists()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; expected a file that can be read") from None
    if not there:
        raise ConfigError(f"{path}: no such file; expected one that can be read")
    if not regular:
        what = "a folder" if path.is_dir() else "a pipe, socket or device"
        raise ConfigError(f"{path}: {what}; expected a regular file")


def check_size(content_bytes: int, path: Path) -> None:
    """Refuse content that would fill this machine."""
    check_fits(content_bytes, f"{path}: holds", "give a part of it")


def check_fits(content_bytes: int, what: str, remedy: str) -> None:
    """Refuse what would fill this machine, in the caller's words."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if content_bytes > LARGEST_SHARE * memory_bytes:
        raise ConfigError(
            f"{what} {pretty_bytes(content_bytes)}, and this machine has "
            f"{pretty_bytes(memory_bytes)} of memory: "
            f"{remedy}"
        )


def read_bytes(path: Path) -> bytes:
    """The whole of a regular file. Raises ConfigError."""
    check_file(path)
    check_size(path.stat().st_size, path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; expected a file that can be read: check its rights"
        ) from None


def read_text(path: Path) -> str:
    """UTF-8, or UTF-16 that begins with its mark; line ends as they are. Raises ConfigError with
    the line."""
    data = read_bytes(path)
    for begin, what in OTHERS.items():
        if data.startswith(begin):
            raise ConfigError(f"{path}: {what}")
    text = _decoded(data, path)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError(
            f"{path}: line {line} holds a NUL character; expected text: save the file as UTF-8"
        )
    return text


def _decoded(data: bytes, path: Path) -> str:
    coding = "utf-16" if data.startswith(UTF_16) else "utf-8-sig"
    try:
        return data.decode(coding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        name = coding.removesuffix("-sig").upper()
        raise ConfigError(
            f"{path}: line {line} is not {name} text (byte {data[error.start]:#x}): "
            f"save the file as UTF-8, for example with iconv -f latin1 -t utf-8"
        ) from error
