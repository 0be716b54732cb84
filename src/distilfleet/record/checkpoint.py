"""Checkpoints: everything that a run needs to go on, in one safetensors file per kept round.

Written to a temporary name, synced, renamed: a crash leaves the old one or the new one, never half
of one. A digest over all arrays is kept inside, so that damage is told from data.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ..core.disk import write_atomically
from ..core.errors import RecordError
from ..core.failpoint import reached
from ..core.tensor_file import pieces, raw

GENERATIONS = 3
SEALED = "sealed"
"""The one entry of a file's metadata: digest and note. Of several entries the order would be drawn
at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """State after a round: named arrays, and plain data that refers to some of them."""

    round: int
    arrays: Mapping[str, np.ndarray]
    plain: Mapping[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write one and drop all but the newest generations."""
    folder.mkdir(exist_ok=True)
    note = json.dumps({"round": checkpoint.round, "plain": checkpoint.plain}, separators=(",", ":"))
    file = folder / f"round-{checkpoint.round:08d}.safetensors"
    sealed = f"{_digest(note, checkpoint.arrays)} {note}"
    write_atomically(file, pieces(checkpoint.arrays, {SEALED: sealed}))
    reached("checkpoint.written")
    for old in _files(folder)[:-GENERATIONS]:
        old.unlink()
    reached("checkpoint.kept")
    return file


def read_checkpoint(folder: Path) -> Checkpoint:
    """The newest one that is sound. Raises RecordError if there is none."""
    return newest(folder)[0]


def newest(folder: Path) -> tuple[Checkpoint, Mapping[Path, str]]:
    """The newest one that is sound, and what is wrong with those after it. Raises RecordError if
    there is none."""
    files = _files(folder)
    faults = dict[Path, str]()
    if not files:
        raise RecordError(
            f"{folder} holds no checkpoint, so there is nothing to resume. Start the run anew."
        )
    for file in reversed(files):
        try:
            return _read(file), faults
        except RecordError as fault:
            faults[file] = str(fault)
    raise RecordError(
        f"{next(iter(faults.values()))} No older one is sound: restore a copy, or start the run "
        "anew."
    )


def set_aside(file: Path) -> None:
    """A damaged one, so that it is neither read nor counted again."""
    file.replace(file.with_name(file.name + ".damaged"))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*.safetensors"))


def _read(file: Path) -> Checkpoint:
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            names = opened.keys()  # not a dict, and no iterable itself
            arrays = {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as fault:
        raise RecordError(f"{file} is truncated or damaged: {fault}.") from None
    digest, _, note = metadata.get(SEALED, "").partition(" ")
    if SEALED not in metadata:  # written before 0.2.0
        digest = metadata.get("digest", "")
        note = metadata.get("note", "")
    if digest != _digest(note, arrays):
        raise RecordError(f"{file} is damaged: its content does not match its digest.")
    parsed = json.loads(note)
    return Checkpoint(round=parsed["round"], arrays=arrays, plain=parsed["plain"])


def _digest(note: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(note.encode(), digest_size=32)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(raw(array))
    return digest.hexdigest()
