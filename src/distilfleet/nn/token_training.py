"""Steps of a whole language model on windows, by weights and moments as arrays; and what they take.

For methods in which one place trains all of a model. Split KD, where two places share a step, has
its own.

Axes: B windows of a step, S steps, T tokens of a window, N positions that count, K ids drawn for a
position, V vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from ..core.chance import stream
from ..core.types import Arrays, Dataset, LanguageProfile, Load
from . import split
from .adam import adam_of, moments_of
from .fused import DenseTeacher, Teacher, fused_kd
from .language import LanguageModel
from .place import as_array, device_of
from .pretrain import Pretraining, nats_per_token, pretrain, reader
from .weights import to_arrays

TeacherOf = Callable[[Dataset, np.ndarray], Teacher]
"""(windows of a step, which they are) -> what it says of the positions that count."""
DRAWN = 512
"""Positions whose probabilities exist at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTraining:
    """Steps of Adam in a round, at one step size."""

    steps: int = 20
    batch: int = 4
    """Windows of a step."""
    lr: float = 2e-3
    kd_weight: float = 0.5
    """Share of the distillation loss, where there is a teacher; the rest is cross-entropy."""
    temperature: float = 1.0


@lru_cache(maxsize=4)
def scratch(model: LanguageModel) -> nn.Module:
    """A module to work in: whoever takes it puts weights in first."""
    return model.build(0)


def pretrained(
    model: LanguageModel, pretraining_data: Dataset | None, settings: Pretraining, seed: int
) -> dict[str, np.ndarray]:
    """Weights after the plain training on these windows; without windows those that the model comes
    with."""
    module = model.build(seed)
    if pretraining_data is not None:
        pretrain(module, pretraining_data, settings, seed)
    return to_arrays(module)


def rows_of(
    windows: int, settings: TokenTraining, round_number: int, key: Sequence[str | int]
) -> np.ndarray:
    """Which windows the steps of a round take, [S, B]: endless seeded passes; `key` is seed and
    words of a stream."""
    seed, *words = key
    wanted = settings.steps * settings.batch
    drawn = np.arange((round_number - 1) * wanted, round_number * wanted)
    pass_number, place = np.divmod(drawn, windows)
    orders = {
        one: stream(int(seed), *words, int(one)).permutation(windows)
        for one in np.unique(pass_number)
    }
    rows = [orders[one][at] for one, at in zip(pass_number, place, strict=True)]
    return np.array(rows, np.int64).reshape(settings.steps, settings.batch)


def train_steps(
    module: nn.Module,
    windows: Dataset,
    rows_SB: np.ndarray,
    settings: TokenTraining,
    moments: Arrays,
    teacher_of: TeacherOf | None = None,
) -> dict[str, np.ndarray]:
    """Train in place; gives the optimiser's moments, to go on with."""
    named = {
        name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad
    }
    adam = adam_of(named, settings.lr, moments)
    module.train()
    read = reader(module)
    for rows_B in rows_SB:
        some = windows.take(rows_B)
        hidden_ND, labels_N = read(some)
        loss = fused_kd(
            hidden_ND,
            split.output_table(module),
            labels_N=labels_N,
            teacher=None if teacher_of is None else teacher_of(some, rows_B),
            kd_weight=settings.kd_weight,
            temperature=settings.temperature,
        )
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    module.eval()
    return moments_of(named, adam)


def dense(teacher: nn.Module) -> TeacherOf:
    """A teacher at hand."""
    teacher.eval()
    read = reader(teacher)

    def of(windows: Dataset, rows_B: np.ndarray) -> Teacher:
        with torch.no_grad():
            hidden_NE, _ = read(windows)
        return DenseTeacher(hidden_ND=hidden_NE, table_VD=split.output_table(teacher).detach())

    return of


def draw_ids(
    module: nn.Module, windows: Dataset, draws: int, temperature: float, rng: np.random.Generator
) -> np.ndarray:
    """Ids drawn from what the model says of every position that counts, [N, K]."""
    seeded = torch.Generator(device_of(module)).manual_seed(int(rng.integers(1 << 62)))
    table_VD = split.output_table(module)
    module.eval()
    drawn: list[np.ndarray] = []
    with torch.no_grad():
        for hidden_ND in _hidden(module, windows):
            shares_NV = torch.softmax(hidden_ND @ table_VD.T / temperature, dim=-1)
            drawn.append(
                as_array(torch.multinomial(shares_NV, draws, replacement=True, generator=seeded))
            )
    return np.concatenate(drawn).astype(np.dtype(id_dtype(len(table_VD))))


def id_dtype(vocabulary: int) -> str:
    """The type of a token id on the wire."""
    return "<u2" if vocabulary <= 1 << 16 else "<u4"


def quality(size: str, module: nn.Module, test: Dataset) -> Mapping[str, float]:
    """`SIZE_loss`, held-out nats per token; of a classifier `SIZE_accuracy`."""
    nats, right_share = nats_per_token(module, test)
    return {f"{size}_loss": nats} if test.labels is None else {f"{size}_accuracy": right_share}


def predicted(windows: Dataset) -> np.ndarray:
    """Positions of each window with something to predict, or one for a class."""
    if windows.labels is not None:
        return np.ones(len(windows), np.int64)
    return np.asarray(np.maximum((windows.inputs >= 0).sum(axis=1) - 1, 0))


# --- what it takes --------------------------------------------------------------------------------


def training_load(profile: LanguageProfile, settings: TokenTraining, context: int) -> Load:
    """Forward and twice that backward, at full windows; memory for weights, gradient and two
    moments, float32, for activations as in https://arxiv.org/abs/2205.05198, and for blocks of
    logits."""
    tokens = settings.batch * context
    activations_bytes = 34 * tokens * profile.width * len(profile.layers)
    logits_bytes = 16 * min(tokens, 128) * profile.vocabulary
    step_bytes = 28 * profile.parameters + 2 * activations_bytes
    return Load(
        flops=3.0 * forward_flops(profile) * tokens * settings.steps,
        moved_bytes=float(settings.steps * step_bytes),
        memory_bytes=16 * profile.parameters + activations_bytes + logits_bytes,
    )


def forward_flops(profile: LanguageProfile) -> float:
    """FLOPs of one token, output table and all."""
    return sum(layer.forward_flops for layer in profile.layers) + profile.head_flops


def _hidden(module: nn.Module, windows: Dataset) -> Iterator[torch.Tensor]:
    read = reader(module)
    for some in windows.batches(64):
        hidden_ND, _ = read(some)
        yield from torch.split(hidden_ND, DRAWN)
