"""Chance comes in through the door: one independent stream per purpose, derived from the run's
seed."""

import hashlib
from collections.abc import Sequence

import numpy as np

Key = tuple[str | int, ...]
"""The seed and the words of a stream."""
FEW = 512
"""The count of numbers up to which hashing costs less than a generator: 2, not 8, microseconds to
shuffle 15."""


def stream(seed: int, *words: str | int) -> "np.random.Generator":
    """A generator that depends on the seed and on these words alone; equal in every process and on
    every machine."""
    digest = hashlib.blake2b(repr((seed, *words)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(np.frombuffer(digest, "<u4")))


def shuffles(keys: Sequence[Key], samples: int, count: int) -> np.ndarray:
    """So many independent orders of 0 to `samples` - 1 for each of K keys, [K, count, samples]."""
    if count * samples > FEW:
        streams = [stream(int(seed), *words) for seed, *words in keys]
        return np.array([[rng.permutation(samples) for _ in range(count)] for rng in streams])
    size_bytes = 8 * count * samples
    digests = [hashlib.shake_128(repr(key).encode()).digest(size_bytes) for key in keys]
    numbers = np.frombuffer(b"".join(digests), "<u8")
    return numbers.reshape(len(keys), count, samples).argsort(axis=2)
