"""What a run keeps for an audit: a few exchanges as they travelled, in `wire.safetensors`, and what
came of it, in `audit.json`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..core.disk import write_atomically
from ..core.errors import RecordError

WIRE = "wire.safetensors"
AUDIT = "audit.json"
AUDIT_SCHEMA = 1
PARTS = ("job", "reply", "before", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Frames of a job and its reply."""

    job: bytes
    reply: bytes
    before: bytes = b""
    """An earlier job to the same device, without which the reply means little; empty if there is
    none."""
    after: bytes = b""
    """A later reply of the same device that tells more about this one; empty if none came."""


def write_wire(path: Path, kept: Mapping[str, Exchange]) -> None:
    """Replace what the run in this directory has kept, by job id."""
    arrays = {}
    for job, exchange in kept.items():
        for part in PARTS:
            arrays[f"{job}/{part}"] = np.frombuffer(getattr(exchange, part), np.uint8)
    write_atomically(path / WIRE, save(arrays))


def read_wire(path: Path) -> dict[str, Exchange]:
    """By job id, in a fixed order; empty if nothing was kept. Raises RecordError."""
    file = path / WIRE
    if not file.is_file():
        return {}
    try:
        arrays = load(file.read_bytes())
        jobs = sorted({name.rpartition("/")[0] for name in arrays})
        return {job: _exchange(arrays, job) for job in jobs}
    except (SafetensorError, KeyError) as fault:
        raise RecordError(f"{file} is truncated or damaged: {fault}. Start the run anew.") from None


def _exchange(arrays: Mapping[str, np.ndarray], job: str) -> Exchange:
    """Raises KeyError if a part is missing."""
    return Exchange(**{part: arrays[f"{job}/{part}"].tobytes() for part in PARTS})


def write_audit(path: Path, result: Mapping[str, Any]) -> None:
    """What a curious server recovered, for the page and for comparisons."""
    write_atomically(path / AUDIT, json.dumps(result, indent=1).encode())


def read_audit(path: Path) -> Mapping[str, Any]:
    """Empty if none was made. Raises RecordError."""
    file = path / AUDIT
    if not file.is_file():
        return {}
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as fault:
        raise RecordError(
            f"{file} is damaged: {fault}. Delete it and run distilfleet audit {path} again."
        ) from None
    if not isinstance(result, dict) or result.get("schema") != AUDIT_SCHEMA:
        raise RecordError(
            f"{file} is not of schema {AUDIT_SCHEMA}. Delete it and run distilfleet audit {path} "
            "again."
        )
    return result
