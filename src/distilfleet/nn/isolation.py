"""A user's Python held apart from the rest: what it draws from is seeded, and what it sets is set
back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch, numpy's old generator and Python's own start at this seed, and go on where they were
    afterwards."""
    of_python = random.getstate()
    of_numpy = np.random.get_state()
    try:
        cards = list(range(torch.cuda.device_count()))
        with torch.random.fork_rng(devices=cards):
            torch.default_generator.manual_seed(seed)
            if cards:
                torch.cuda.manual_seed_all(seed)
            random.seed(seed)
            np.random.seed(seed % (1 << 32))
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Torch's default type and gradient mode afterwards are what they were before."""
    dtype = torch.get_default_dtype()
    gradients = torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
