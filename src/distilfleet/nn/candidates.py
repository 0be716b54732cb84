"""What layers before a cut give for each of many next tokens, with the text before them computed
once.

Candidates stand side by side at one position: each sees the text before and itself, none another.
So the keys and values of the text are neither computed again nor copied for every candidate.

Axes: t tokens so far, K candidates, R candidate rows, Q queries, D width.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from .place import as_array, to_tensor
from .split import Front

SIDE_BY_SIDE = 512
"""Candidates in one pass: attention among them grows with the square."""


class Candidates:
    """A front with at least one layer, asked for one text after the other. Implements
    `trust.audit.Step`."""

    def __init__(self, front: Front, rows_RD: np.ndarray) -> None:
        """Candidates are numbers of these embedding rows."""
        self._net, self._rows_RD = front.net, to_tensor(np.asarray(rows_RD, np.float32))
        self._cache: Any = DynamicCache()
        self._prefix = np.zeros(0, np.int64)

    def __call__(self, prefix_t: np.ndarray, candidates_K: np.ndarray) -> np.ndarray:
        """What stands at position t if each candidate does, float32 [K, D]."""
        with torch.no_grad():
            self._read(prefix_t)
            spans = range(0, len(candidates_K), SIDE_BY_SIDE)
            return np.concatenate(
                [self._side_by_side(candidates_K[at : at + SIDE_BY_SIDE]) for at in spans]
            )

    def _read(self, prefix_t: np.ndarray) -> None:
        seen = len(self._prefix)
        if seen > len(prefix_t) or (prefix_t[:seen] != self._prefix).any():
            self._forget()
        fresh = prefix_t[len(self._prefix) :]
        if len(fresh):
            steps = torch.arange(len(self._prefix), len(prefix_t))
            self._run(fresh, steps, torch.arange(len(prefix_t)) <= steps[:, None])
        self._prefix = np.array(prefix_t)

    def _side_by_side(self, candidates_K: np.ndarray) -> np.ndarray:
        before = len(self._prefix)
        count = len(candidates_K)
        seen_QK = torch.cat(
            [torch.ones(count, before, dtype=torch.bool), torch.eye(count, dtype=torch.bool)], dim=1
        )
        out_KD = self._run(candidates_K, torch.full((count,), before), seen_QK)
        if before:
            self._cache.crop(-count)
        else:
            self._forget()
        return as_array(out_KD)

    def _run(self, tokens_Q: np.ndarray, steps_Q: Tensor, seen_QK: Tensor) -> Tensor:
        mask_QK = torch.zeros(seen_QK.shape).masked_fill(~seen_QK, torch.finfo(torch.float32).min)
        out_QD: Tensor = self._net(
            inputs_embeds=self._rows_RD[to_tensor(np.asarray(tokens_Q, np.int64))][None],
            attention_mask=mask_QK[None, None],
            position_ids=steps_Q[None],
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state[0]
        return out_QD

    def _forget(self) -> None:
        self._cache, self._prefix = DynamicCache(), np.zeros(0, np.int64)
