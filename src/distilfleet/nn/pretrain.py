"""A language model, or a text classifier, trained and judged the plain way: all of it on one
machine.

Axes: B windows, T tokens of a window, N positions that count, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..core.chance import stream
from ..core.types import PADDING, Dataset
from ..core.units import pretty_count
from . import split
from .fused import fused_kd
from .language import LanguageModel
from .place import CPU, borrowed, device_of

JUDGED = 64
"""Windows that are judged at a time."""
JUDGED_TOKENS = 4096
"""Tokens that are judged at a time, where windows are long."""
LOGITS = 512
"""Positions whose logits exist at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretraining:
    """Adam, with a warm-up over the first twentieth of the steps and a cosine to a tenth of the
    step size."""

    steps: int = 400
    batch: int = 16
    lr: float = 3e-3


def pretraining_story(model: LanguageModel | None, windows: Dataset | None) -> tuple[str, ...]:
    """The sentence of a run's page on a large model that the server trains first; none where it
    comes trained."""
    if model is None or windows is None:
        return ()
    own = pretty_count(len(windows), "window" if windows.labels is None else "text")
    return (f"Before, the server trained its large model ({model.name}) on {own} of its own.",)


def mask_of(lengths_B: np.ndarray, context: int, device: torch.device = CPU) -> Tensor:
    """One where there is text, [B, T] int64, on that device."""
    is_text_BT = np.arange(context)[None] < np.asarray(lengths_B)[:, None]
    return borrowed(is_text_BT.astype(np.int64), device)


def pretrain(module: nn.Module, windows: Dataset, settings: Pretraining, seed: int) -> None:
    """Train in place on cross-entropy."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(trained, lr=settings.lr)
    pace = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: _pace(step, settings.steps))
    rng = stream(seed, "pretrain")
    batch = min(settings.batch, len(windows))
    module.train()
    read = reader(module)
    for _ in range(settings.steps):
        rows = np.sort(rng.choice(len(windows), batch, replace=False))
        hidden_ND, labels_N = read(windows.take(rows))
        loss = fused_kd(hidden_ND, split.output_table(module), labels_N=labels_N)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        pace.step()
    module.eval()


def nats_per_token(module: nn.Module, windows: Dataset) -> tuple[float, float]:
    """Mean cross-entropy of what comes next, or of the class, and the share of positions where the
    model is right."""
    module.eval()
    read = reader(module)
    table_VD = split.output_table(module)
    nats = 0.0
    right = count = 0
    with torch.no_grad():
        for some in windows.batches(min(JUDGED, max(1, JUDGED_TOKENS // windows.inputs.shape[1]))):
            hidden_ND, labels_N = read(some)
            parts = zip(torch.split(hidden_ND, LOGITS), torch.split(labels_N, LOGITS), strict=True)
            for hidden_RD, labels_R in parts:
                logits_RV = (hidden_RD @ table_VD.T).float()
                nats += float(
                    torch.nn.functional.cross_entropy(logits_RV, labels_R, reduction="sum")
                )
                right += int((logits_RV.argmax(dim=-1) == labels_R).sum())
            count += len(labels_N)
    positions = max(1, count)
    return nats / positions, right / positions


def reader(module: nn.Module) -> Callable[[Dataset], tuple[Tensor, Tensor]]:
    """Reads windows with the model, in the mode that it is in now, again and again.

    Gives last hidden states of the positions that count, [N, D], and what is to be predicted there,
    [N].
    """
    # which takes as long to make as a small model's step
    return partial(_read, module, split.Back(module, 0))


def _read(module: nn.Module, back: split.Back, windows: Dataset) -> tuple[Tensor, Tensor]:
    device = device_of(module)
    ids_BT = borrowed(np.maximum(windows.inputs, 0).astype(np.int64), device)
    lengths_B = (windows.inputs != PADDING).sum(axis=1)
    mask_BT = mask_of(lengths_B, ids_BT.shape[1], device)
    rows_BTD = split.token_table(module)[ids_BT]
    hidden_BTD = back(rows_BTD, mask_BT, split.positions(mask_BT))
    if windows.labels is not None:
        return split.last_token(hidden_BTD, mask_BT), borrowed(windows.labels, device)
    real_BT = mask_BT[:, 1:] > 0
    return hidden_BTD[:, :-1][real_BT], ids_BT[:, 1:][real_BT]


def _pace(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return 0.1 + 0.45 * (1 + float(np.cos(np.pi * progress)))
