"""Frozen state <-> named arrays and plain data, so that a checkpoint needs no pickle.

A state is a frozen dataclass whose fields are numbers, strings, tuples, mappings and numpy arrays,
which may be lazy: those are fetched one at a time, by whoever reads what comes out.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np

from .lazy import Fetched, LazyArrays
from .types import Arrays

T = TypeVar("T")
NOTHING = np.zeros(0)
"""Stands for an array where none is looked at."""


def pack(state: object) -> tuple[Fetched, Any]:
    """Arrays under running names, and the rest as plain data in which each array is its name.

    Raises TypeError for anything that would not come back as it was.
    """
    _check(state)
    fetch: dict[str, Callable[[], np.ndarray]] = {}

    def keep(value: np.ndarray | LazyArrays) -> str | dict[str, str]:
        if isinstance(value, LazyArrays):
            return {name: put(partial(value.__getitem__, name)) for name in value}
        return put(lambda: value)

    def put(source: Callable[[], np.ndarray]) -> str:
        name = f"{len(fetch):06d}"
        fetch[name] = source
        return name

    plain = msgspec.to_builtins(state, enc_hook=keep)
    if _count(unpack(plain, dict.fromkeys(fetch, NOTHING), type(state))) != len(fetch):
        raise TypeError(
            f"{type(state).__name__} holds arrays in a field that is not typed as arrays"
        )
    return Fetched(fetch), plain


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
    if isinstance(value, LazyArrays):
        return ()
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, tuple | list):
        return value
    if is_dataclass(value):
        return (getattr(value, field.name) for field in fields(value))
    return None
