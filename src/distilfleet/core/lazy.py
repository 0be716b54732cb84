"""Named arrays that lie elsewhere: on an accelerator, or in the module that computes with them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np


class LazyArrays(Mapping[str, np.ndarray]):
    """Arrays of which each is fetched when it is asked for, so that they are read one at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Fetched(LazyArrays):
    """Arrays by what fetches each of them."""

    fetch: Mapping[str, Callable[[], np.ndarray]]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.fetch[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.fetch)

    def __len__(self) -> int:
        return len(self.fetch)
