"""Arrays of several parts in one mapping, each under the name of its part: `part/name`."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def prefixed(part: str, arrays: Mapping[str, T]) -> dict[str, T]:
    """The arrays, or whatever there is of each, under the name of their part."""
    return {f"{part}/{name}": array for name, array in arrays.items()}


def under(part: str, arrays: Mapping[str, T]) -> dict[str, T]:
    """What `prefixed` put under this name; empty if nothing is."""
    start = f"{part}/"
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }
