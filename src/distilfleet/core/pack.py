"""Frozen state <-> named arrays and plain data, so that a checkpoint needs no pickle.

A state is a frozen dataclass whose fields are numbers, strings, tuples, mappings and numpy arrays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np

from .types import Arrays

T = TypeVar("T")


def pack(state: object) -> tuple[dict[str, np.ndarray], Any]:
    """Arrays under running names, and the rest as plain data in which each array is its name.

    Raises TypeError for anything that would not come back as it was.
    """
    _check(state)
    arrays: dict[str, np.ndarray] = {}

    def keep(value: np.ndarray) -> str:
        name = f"{len(arrays):06d}"
        arrays[name] = value
        return name

    plain = msgspec.to_builtins(state, enc_hook=keep)
    if _count(unpack(plain, arrays, type(state))) != len(arrays):
        raise TypeError(
            f"{type(state).__name__} holds arrays in a field that is not typed as arrays"
        )
    return arrays, plain


def unpack(plain: Any, arrays: Arrays, kind: type[T]) -> T:
    """The state again, bit for bit. Raises msgspec.ValidationError or KeyError if it is of another
    kind."""

    def fetch(wanted: type, name: str) -> np.ndarray:
        return arrays[name]

    return msgspec.convert(plain, kind, dec_hook=fetch)


def _check(value: object) -> None:
    parts = _parts(value)
    if parts is None and type(value) not in (int, float, str, bool, type(None), np.ndarray):
        raise TypeError(
            "a state holds numbers, strings, tuples, mappings and arrays, not "
            f"{type(value).__name__}"
        )
    for part in parts or ():
        _check(part)


def _count(value: object) -> int:
    """How many arrays are in it."""
    return isinstance(value, np.ndarray) + sum(_count(part) for part in _parts(value) or ())


def _parts(value: object) -> Iterable[object] | None:
    """What is inside; None for what has no inside."""
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, tuple | list):
        return value
    if is_dataclass(value):
        return (getattr(value, field.name) for field in fields(value))
    return None
