"""The arrays of many devices side by side: one array per name, with a device axis in front.

What is done to each device's arrays is then done to all of them in one operation, and a device's
own are a row.

Axes: D devices.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .types import Arrays


@dataclass(frozen=True, slots=True, eq=False)
class DeviceRow(Mapping[str, np.ndarray]):
    """One device's arrays: views of a table."""

    table: Arrays
    """The arrays of all devices, [D, ...] each."""
    at: int
    """The device's place along the first axis."""

    def __getitem__(self, name: str) -> np.ndarray:
        return self.table[name][self.at, ...]

    def __contains__(self, name: object) -> bool:
        return name in self.table

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


def column(rows: Sequence[Arrays], name: str) -> np.ndarray:
    """One array of each, [D, ...]: a view if they are neighbours in one table."""
    first = rows[0]
    table = first.table if isinstance(first, DeviceRow) else None
    places = [row.at for row in rows if isinstance(row, DeviceRow) and row.table is table]
    if table is None or len(places) < len(rows):
        flat = np.concatenate([row[name].reshape(-1) for row in rows])
        return flat.reshape(len(rows), *first[name].shape)
    start = places[0]
    end = start + len(places)
    if places == list(range(start, end)):
        return table[name][start:end]
    return table[name].take(places, axis=0)
