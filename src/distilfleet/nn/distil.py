"""Distillation on proxy inputs: a student learns from soft labels, and, if asked, from a teacher's features.

Axes: P proxy samples, B batch, C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..core.chance import stream
from ..core.errors import RecordError
from ..core.types import Arrays
from .adam import adam_of, moments_of
from .features import ITSELF, Adapter, Tap, of_all, pairs, taps, watching
from .forward import logits
from .losses import feature_distance, soft_kl
from .train import drawing, schedule
from .weights import put, to_arrays, to_tensor

PREDICT_BATCH = 512
NOISE = 0.05
"""Standard deviation of the noise on a mixture, relative to the inputs'."""
HELD_OUT = 10
"""With early stopping, one proxy sample in this many tells when to stop."""
KEPT_BYTES = 256 << 20
"""A large model's outputs and features on the proxy inputs are kept for a round up to this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation:
    """How a model is distilled: Adam on T^2 KL(soft labels || student)."""

    passes: int = 4
    """Passes over the proxy set per round."""
    batch: int = 64
    lr: float = 1e-3
    temperature: float = 3.0
    feature_weight: float = 0.0
    """Beta, of the intermediate-layer loss; zero leaves it out. Used where a teacher's layers are at hand."""
    early_stop: bool = False
    """Stop when the loss on a tenth of the proxy set, kept aside, no longer falls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """A student after distillation, its optimiser's moments, and its last loss in nats."""

    weights: Arrays
    moments: Arrays
    loss_nats: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TeacherOutputs:
    """What a large model has to say about proxy inputs, for any number of small models and passes."""

    inputs: Tensor
    taps: tuple[Tap, ...]
    """Of the large model, where features are taught."""
    say: Callable[[Tensor], Mapping[str, Tensor]]
    """From rows of the inputs to the outputs of the large model (its logits) and of its taps, by module."""
    kept: bool
    """Worked out once, instead of whenever it is read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Augmented:
    """Proxy inputs and mixtures of them: row r is `share[r]` of sample `own[r]`, the rest of `partner[r]`."""

    inputs: np.ndarray
    own: np.ndarray
    partner: np.ndarray
    share: np.ndarray

    def mix(self, soft_PC: np.ndarray) -> np.ndarray:
        """Soft labels of the rows, where only those of the proxy samples are known."""
        share = self.share[:, None]
        return np.asarray(share * soft_PC[self.own] + (1 - share) * soft_PC[self.partner], np.float32)


def predict(module: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Logits, [samples, C], in evaluation mode; the same each time, even of a net that draws at random."""
    module.eval()
    with drawing(stream(0, "predict")), torch.no_grad():
        parts = [
            logits(module, to_tensor(inputs[at : at + PREDICT_BATCH])).detach().numpy()
            for at in range(0, len(inputs), PREDICT_BATCH)
        ]
    return np.concatenate(parts)


def accuracy(logits_PC: np.ndarray, labels_P: np.ndarray) -> float:
    """Share of samples whose largest logit is at the label."""
    return float((logits_PC.argmax(axis=1) == labels_P).mean())


def distil(
    student: nn.Module,
    inputs: np.ndarray,
    soft_PC: np.ndarray,
    how: Distillation,
    rng: np.random.Generator,
    moments: Arrays | None = None,
) -> Distilled:
    """Reverse distillation: the student, as it stands, learns the soft labels; no labels, no cross-entropy.

    Args:
        student: holds the weights to start from; trained in place.
        inputs: proxy inputs, [P, ...].
        soft_PC: the teacher's probabilities at `how.temperature`.
        moments: of an earlier call, to go on with the same optimiser.

    Source: KOALA, https://arxiv.org/abs/2407.05268 (step "reverse knowledge distillation").
    """
    x, soft = to_tensor(inputs), to_tensor(soft_PC)

    def loss(rows_B: Tensor) -> Tensor:
        return soft_kl(logits(student, x[rows_B]), soft[rows_B], temperature=how.temperature)

    named = dict(student.named_parameters())
    if moments and not any(f"step/{name}" in moments for name in named):
        raise RecordError(
            "the run's optimiser was kept in an older form, by the places of weights and not by their names. Resume it "
            "with the distilfleet that wrote it, or start the run anew."
        )
    adam = adam_of(named, how.lr, moments or {})
    with drawing(rng):
        last = _descend(student, loss, adam, len(inputs), how, rng)
    return Distilled(weights=to_arrays(student), moments=moments_of(named, adam), loss_nats=last)


def teacher_outputs(large: nn.Module, inputs: np.ndarray, how: Distillation) -> TeacherOutputs:
    """What the large model, frozen, says about these inputs: worked out once if it fits into memory, else when read."""
    x, stages = to_tensor(inputs), taps(large, inputs.shape[1:]) if how.feature_weight else ()

    def say(rows_B: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), watching(large.eval(), [tap.module for tap in stages]) as outputs:
            said = logits(large, x[rows_B])
        outputs = of_all({**outputs, ITSELF: said}, len(rows_B))
        return {name: output.detach().float() for name, output in outputs.items()}

    parts = say(torch.arange(1))
    if len(x) * sum(part.nbytes for part in parts.values()) > KEPT_BYTES:
        return TeacherOutputs(inputs=x, taps=stages, say=say, kept=False)
    rows_P = torch.arange(len(x))
    said = [say(rows_P[at : at + PREDICT_BATCH]) for at in range(0, len(x), PREDICT_BATCH)]
    of_every_part = [name for name in said[0] if all(name in part for part in said)]
    whole = {name: torch.cat([part[name] for part in said]) for name in of_every_part}
    return TeacherOutputs(
        inputs=x, taps=stages, say=lambda rows_B: {n: one[rows_B] for n, one in whole.items()}, kept=True
    )


def teach(
    small: nn.Module, given: TeacherOutputs, how: Distillation, rng: np.random.Generator, adapters: Arrays
) -> tuple[Distilled, Arrays]:
    """Forward distillation: the small model learns the large one's outputs and, through adapters, its features.

    Args:
        small: holds the weights to start from; trained in place.
        given: of the large model, for any number of small ones; with features if `how` has a weight for them.
        adapters: weights of an earlier call, or empty.

    Source: KOALA, https://arxiv.org/abs/2407.05268 (output and intermediate-layer loss; pairing and metric are ours).
    """
    stages = pairs(taps(small, tuple(given.inputs.shape[1:])), given.taps) if given.taps else ()
    bridges = _adapters(stages, adapters)
    with watching(small, [own.module for own, _ in stages]) as features:

        def loss(rows_B: Tensor) -> Tensor:
            said = given.say(rows_B)
            soft_BC = torch.softmax(said[ITSELF] / how.temperature, dim=-1)
            features.clear()
            total = soft_kl(logits(small, given.inputs[rows_B]), soft_BC, temperature=how.temperature)
            seen = of_all(features, len(rows_B))
            for bridge, (own, its) in zip(bridges, stages, strict=True):
                if own.module in seen and its.module in said:
                    distance = feature_distance(bridge(seen[own.module].float()), said[its.module])
                    total = total + how.feature_weight * distance
            return total

        adam = adam_of({**dict(small.named_parameters()), **_of_bridges(bridges)}, how.lr, {})
        with drawing(rng):
            last = _descend(small, loss, adam, len(given.inputs), how, rng)
    return Distilled(weights=to_arrays(small), moments={}, loss_nats=last), to_arrays(bridges)


def augment(inputs: np.ndarray, mixtures: int, rng: np.random.Generator) -> "Augmented":
    """The proxy inputs, followed by `mixtures` of one with another, with a little noise on top.

    Source: mixup, https://arxiv.org/abs/1710.09412.
    """
    first = np.arange(len(inputs))
    own = np.concatenate([first, rng.integers(0, len(inputs), mixtures)])
    partner = np.concatenate([first, rng.integers(0, len(inputs), mixtures)])
    share = np.concatenate([np.ones(len(inputs)), rng.uniform(0.5, 1.0, mixtures)]).astype(np.float32)
    wide = share.reshape(-1, *[1] * (inputs.ndim - 1))
    mixed = wide * inputs[own] + (1 - wide) * inputs[partner]
    noise = rng.standard_normal((mixtures, *inputs.shape[1:]), np.float32) * (NOISE * inputs.std())
    mixed[len(inputs) :] += noise
    return Augmented(inputs=np.asarray(mixed, np.float32), own=own, partner=partner, share=share)


def _descend(
    student: nn.Module,
    loss: Callable[[Tensor], Tensor],
    adam: torch.optim.Adam,
    samples: int,
    how: Distillation,
    rng: np.random.Generator,
) -> float:
    """Seeded passes over the proxy rows; the mean loss of the last one."""
    rows = rng.permutation(samples)
    kept, used = (rows[: samples // HELD_OUT], rows[samples // HELD_OUT :]) if how.early_stop else (rows[:0], rows)
    best = last = float("inf")
    for _ in range(how.passes):
        rows_SB = schedule(rng.permutation(len(used))[None, None], how.batch)[0]
        losses = [_step(student, loss, adam, used[rows_B]) for rows_B in rows_SB]
        last = float(np.mean(losses))
        if how.early_stop and len(kept):
            left = _held_out_loss(student, loss, kept)
            if left >= best:
                break
            best = left
    return last


def _step(student: nn.Module, loss: Callable[[Tensor], Tensor], adam: torch.optim.Adam, rows_B: np.ndarray) -> float:
    student.train()
    adam.zero_grad()
    value = loss(torch.from_numpy(rows_B))
    value.backward()  # type: ignore[no-untyped-call]
    adam.step()
    return float(value.detach())


def _held_out_loss(student: nn.Module, loss: Callable[[Tensor], Tensor], kept: np.ndarray) -> float:
    student.eval()
    with torch.no_grad():
        return float(loss(torch.from_numpy(kept)))


def _of_bridges(bridges: nn.ModuleList) -> dict[str, nn.Parameter]:
    """Under names that no weight of a net can have."""
    return {f".adapter.{name}": weight for name, weight in bridges.named_parameters()}


def _adapters(stages: Sequence[tuple[Tap, Tap]], adapters: Arrays) -> nn.ModuleList:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bridges = nn.ModuleList(Adapter(small, large) for small, large in stages)
    if adapters:
        put(bridges, adapters)
    return bridges
