"""A trained model as exporters take it: a module that answers with one tensor, and samples of what
it is asked.

Axes: N samples, K classes, T positions of a text, V entries of a vocabulary.
"""

import copy
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..nn.folding import folded
from ..nn.place import to_array, to_tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoder:
    """A language model as `transformers` has it, for runtimes that have its family built in."""

    model: Any
    """The decoder, with its `config`."""
    tokenizer: bytes
    """Its `tokenizer.json`."""
    separator: int | None
    """The id that goes before each text; None where nothing does."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exportable:
    """A trained model, ready to be written for any runtime."""

    module: nn.Module
    """In evaluation mode; answers inputs with logits, [N, K], or, of each position, [N, T, V]."""
    samples: np.ndarray
    """Inputs as the module takes them, at least two: float32, or int32 for text. int8 is calibrated
    on them."""
    language: bool = False
    """Whether it is a language model, which answers each position of a text of any length."""
    decoder: Decoder | None = None
    """The same where it is a decoder of `transformers`."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of its weights and buffers as they are, a tied one once."""
        tensors = {
            id(tensor): tensor for tensor in (*self.module.parameters(), *self.module.buffers())
        }
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    def example(self, count: int) -> Tensor:
        """The first samples, in memory of their own."""
        return to_tensor(self.samples[:count])


def exportable(
    module: nn.Module,
    samples: np.ndarray,
    *,
    language: bool = False,
    decoder: Decoder | None = None,
) -> Exportable:
    """The module as runtimes take it: a copy without gradients, in evaluation mode, normalisations
    folded away where they can be, that answers with logits alone. Raises ConfigError for fewer than
    two samples.
    """
    if len(samples) < 2:
        raise ConfigError(
            f"an export needs at least 2 samples to try the model on, not {len(samples)}"
        )
    answering = _Logits(folded(copy.deepcopy(module).eval())).requires_grad_(requires_grad=False)
    return Exportable(
        module=answering.eval(),
        samples=np.ascontiguousarray(samples),
        language=language,
        decoder=decoder,
    )


class _Logits(nn.Module):
    """Answers with a tensor where the module answers with one of Hugging Face's outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        answer = self.module(inputs)
        logits: Tensor = answer if isinstance(answer, Tensor) else answer.logits
        return logits


def answers(module: nn.Module, inputs: np.ndarray, batch: int = 64) -> np.ndarray:
    """What the module says of these inputs, float32 with the sample axis first."""
    parts = (inputs[at : at + batch] for at in range(0, len(inputs), batch))
    with torch.no_grad():
        return np.concatenate([to_array(module(to_tensor(part)).float()) for part in parts])


def samples_within(module: nn.Module, inputs: np.ndarray, most_bytes: int) -> int:
    """How many of these inputs have answers that take no more than `most_bytes`; at least two."""
    one = answers(module, inputs[:1])
    return max(2, min(len(inputs), most_bytes // (4 * prod(one.shape))))


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of exporters, which are about their own insides, in Python and below."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), _silent(sys.stdout, 1), _silent(sys.stderr, 2):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _silent(stream: TextIO, descriptor: int) -> Iterator[None]:
    """What a process prints there, libraries in C included, goes nowhere."""
    stream.flush()
    kept = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    try:
        yield
    finally:
        stream.flush()
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(nowhere)
