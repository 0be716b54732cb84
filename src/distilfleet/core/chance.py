"""Chance comes in through the door: one independent stream per purpose, derived from the run's seed."""

import hashlib
from collections.abc import Sequence

import numpy as np

Key = tuple[str | int, ...]
"""Seed and words of a stream."""
FEW = 512
"""Up to so many numbers, hashing costs less than a generator: 2 instead of 8 microseconds for one shuffle of 15."""


def stream(seed: int, *words: str | int) -> np.random.Generator:
    """A generator that depends on the seed and on these words alone; equal in every process and on every machine."""
    digest = hashlib.blake2b(repr((seed, *words)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(np.frombuffer(digest, "<u4")))


def shuffles(keys: Sequence[Key], samples: int, count: int) -> np.ndarray:
    """So many independent orders of 0 to `samples` - 1 for each of K keys, [K, count, samples]."""
    if count * samples > FEW:
        streams = [stream(int(seed), *words) for seed, *words in keys]
        return np.array([[rng.permutation(samples) for _ in range(count)] for rng in streams])
    digests = [hashlib.shake_128(repr(key).encode()).digest(8 * count * samples) for key in keys]
    return np.frombuffer(b"".join(digests), "<u8").reshape(len(keys), count, samples).argsort(axis=2)
