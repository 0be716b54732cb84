"""Frozen state <-> named arrays and plain data, so that a checkpoint needs no pickle.

A state is a frozen dataclass whose fields are numbers, strings, tuples, mappings and numpy arrays.
"""

from typing import Any, TypeVar

import msgspec
import numpy as np

from .types import Arrays

T = TypeVar("T")


def pack(state: object) -> tuple[dict[str, np.ndarray], Any]:
    """Arrays under running names, and the rest as plain data in which each array is its name."""
    arrays: dict[str, np.ndarray] = {}

    def keep(value: object) -> str:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"a state holds numbers, strings, tuples, mappings and arrays, not {type(value).__name__}")
        name = f"{len(arrays):06d}"
        arrays[name] = value
        return name

    return arrays, msgspec.to_builtins(state, enc_hook=keep)


def unpack(plain: Any, arrays: Arrays, kind: type[T]) -> T:
    """The state again, bit for bit. Raises msgspec.ValidationError or KeyError if it is of another kind."""

    def fetch(wanted: type, name: str) -> np.ndarray:
        return arrays[name]

    return msgspec.convert(plain, kind, dec_hook=fetch)
