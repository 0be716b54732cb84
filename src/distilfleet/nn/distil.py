"""Distillation on proxy inputs: a student learns from soft labels, and, if asked, from a teacher's
features.

Axes: P proxy samples, B batch, C classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..core.chance import stream
from ..core.errors import RecordError
from ..core.types import Arrays, Dataset
from .adam import adam_of, resident_moments
from .features import ITSELF, Adapter, Tap, of_all, pairs, taps, watching
from .forward import logits
from .losses import feature_distance, soft_kl
from .place import as_array, borrowed, device_of, to_tensor
from .resident import Resident
from .retention import Retention, keep_statistics
from .train import drawing, schedule
from .trainable import train_mode
from .weights import put, to_arrays

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
    """The weight beta of the intermediate-layer loss, where a teacher's layers are at hand; zero
    leaves it out."""
    early_stop: bool = False
    """Stop when the loss on a tenth of the proxy set, kept aside, no longer falls."""
    retention: Retention | None = None
    """How a student that knows something is kept from losing it; None of one that knows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """A student after distillation, its optimiser's moments, and its last loss in nats."""

    weights: Arrays
    moments: Arrays
    loss_nats: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TeacherOutputs:
    """What a large model gives for proxy inputs, for any number of small models and passes."""

    inputs: Tensor
    """The proxy samples as small models take them."""
    taps: tuple[Tap, ...]
    """The layers of the large model whose features are taught; empty without."""
    outputs_of: Callable[[Tensor], Mapping[str, Tensor]]
    """Gives the outputs of the large model (its logits) and of its taps, by module, for rows of the
    samples."""
    kept: bool
    """Whether the outputs were worked out once, instead of whenever they are read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Augmented:
    """Proxy samples and mixtures of them: row r is `share[r]` of sample `own[r]`, the rest of
    `partner[r]`."""

    data: Dataset
    own: np.ndarray
    partner: np.ndarray
    share: np.ndarray

    def mix(self, soft_PC: np.ndarray) -> np.ndarray:
        """Soft labels of the rows, where only those of the proxy samples are known."""
        share = self.share[:, None]
        return np.asarray(
            share * soft_PC[self.own] + (1 - share) * soft_PC[self.partner], np.float32
        )


def predict(module: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Logits, [samples, C], in evaluation mode; the same each time, even of a net that draws at
    random."""
    module.eval()
    device = device_of(module)
    parts = []
    with drawing(stream(0, "predict")), torch.no_grad():
        for at in range(0, len(inputs), PREDICT_BATCH):
            x_B = to_tensor(inputs[at : at + PREDICT_BATCH], device)
            parts.append(as_array(logits(module, x_B)))
    return np.concatenate(parts)


def accuracy(logits_PC: np.ndarray, labels_P: np.ndarray) -> float:
    """Share of samples whose largest logit is at the label."""
    return float((logits_PC.argmax(axis=1) == labels_P).mean())


def distil(
    student: nn.Module,
    inputs: np.ndarray,
    soft_PC: np.ndarray,
    settings: Distillation,
    rng: np.random.Generator,
    moments: Arrays | None = None,
    prior_PC: np.ndarray | None = None,
) -> Distilled:
    """Reverse distillation: the student, as it stands, learns the soft labels; no labels, no
    cross-entropy.

    Args:
        student: holds the weights to start from; trained in place.
        inputs: proxy inputs, [P, ...].
        soft_PC: the teacher's probabilities at `settings.temperature`.
        moments: those of an earlier call, to go on with the same optimiser.
        prior_PC: logits that a student which knows something is held to. None: its own, now.

    Source: KOALA, https://arxiv.org/abs/2407.05268 (step "reverse knowledge distillation").
    """
    retention = settings.retention
    if retention is not None:
        prior_PC = predict(student, inputs) if prior_PC is None else prior_PC
        soft_PC = retention.targets(prior_PC, soft_PC, settings.temperature)
    device = device_of(student)
    x = borrowed(inputs, device) if isinstance(inputs, np.memmap) else to_tensor(inputs, device)
    soft = to_tensor(soft_PC, device)

    def loss(rows_B: Tensor) -> Tensor:
        return soft_kl(logits(student, x[rows_B]), soft[rows_B], temperature=settings.temperature)

    named = {name: one for name, one in student.named_parameters() if one.requires_grad}
    _check_moments(moments or {}, named)
    rates = (
        {} if retention is None else {name: retention.lr_of(name, settings.lr) for name in named}
    )
    adam = adam_of(named, settings.lr, moments or {}, rates)
    with drawing(rng):
        last = _descend(student, loss, adam, len(inputs), settings, rng)
    kept = resident_moments(named, adam)
    return Distilled(weights=Resident.of(student), moments=kept, loss_nats=last)


def _check_moments(moments: Arrays, named: Iterable[str]) -> None:
    if moments and not any(f"step/{name}" in moments for name in named):
        raise RecordError(
            "the run's optimiser was kept in an older form, by the places of weights and not by "
            "their names. Resume it with the distilfleet that wrote it, or start the run anew."
        )


def teacher_outputs(large: nn.Module, proxy: Dataset, settings: Distillation) -> TeacherOutputs:
    """What the large model, frozen, gives for these samples.

    It is worked out once if it fits into memory, else when read.
    """
    device = device_of(large)
    x = to_tensor(proxy.for_large.inputs, device)
    small_x = x if proxy.large_inputs is None else to_tensor(proxy.inputs, device)
    stages = taps(large, x) if settings.feature_weight else ()

    def compute(rows_B: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), watching(large.eval(), [tap.module for tap in stages]) as seen:
            logits_BC = logits(large, x[rows_B])
        features = {
            tap.module: tap.features(seen[tap.module]) for tap in stages if tap.module in seen
        }
        outputs = of_all({**features, ITSELF: logits_BC}, len(rows_B))
        return {name: output.detach().float() for name, output in outputs.items()}

    sample_bytes = sum(output.nbytes for output in compute(torch.arange(1, device=device)).values())
    if len(x) * sample_bytes > KEPT_BYTES:
        return TeacherOutputs(inputs=small_x, taps=stages, outputs_of=compute, kept=False)
    whole = _worked_out(compute, torch.arange(len(x), device=device))

    def read(rows_B: Tensor) -> dict[str, Tensor]:
        return {name: output[rows_B] for name, output in whole.items()}

    return TeacherOutputs(inputs=small_x, taps=stages, outputs_of=read, kept=True)


def _worked_out(
    compute: Callable[[Tensor], Mapping[str, Tensor]], rows_P: Tensor
) -> dict[str, Tensor]:
    """The outputs for all samples, of the modules that have one for each of them."""
    parts = [compute(rows_B) for rows_B in torch.split(rows_P, PREDICT_BATCH)]
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def teach(
    small: nn.Module,
    teacher: TeacherOutputs,
    settings: Distillation,
    rng: np.random.Generator,
    adapters: Arrays,
) -> tuple[Distilled, Arrays]:
    """Forward distillation: the small model learns the large one's outputs and, through adapters,
    its features.

    Args:
        small: holds the weights to start from; trained in place.
        teacher: the outputs of the large model, with features if `settings` has a weight for them.
        adapters: weights of an earlier call, or empty.

    Source: KOALA, https://arxiv.org/abs/2407.05268 (output and intermediate-layer loss; pairing and
    metric are ours).
    """
    stages = pairs(taps(small, teacher.inputs), teacher.taps) if teacher.taps else ()
    bridges = _adapters(stages, adapters).to(device_of(small))
    with watching(small, [own.module for own, _ in stages]) as features:

        def loss(rows_B: Tensor) -> Tensor:
            taught = teacher.outputs_of(rows_B)
            soft_BC = torch.softmax(taught[ITSELF] / settings.temperature, dim=-1)
            features.clear()
            logits_BC = logits(small, teacher.inputs[rows_B])
            total = soft_kl(logits_BC, soft_BC, temperature=settings.temperature)
            learnt = of_all(features, len(rows_B))
            for distance in _distances(bridges, stages, learnt, taught):
                total = total + settings.feature_weight * distance
            return total

        trained = {**dict(small.named_parameters()), **_of_bridges(bridges)}
        adam = adam_of(trained, settings.lr, {})
        with drawing(rng):
            last = _descend(small, loss, adam, len(teacher.inputs), settings, rng)
    return Distilled(weights=to_arrays(small), moments={}, loss_nats=last), to_arrays(bridges)


def _distances(
    bridges: nn.ModuleList,
    stages: Sequence[tuple[Tap, Tap]],
    learnt: Mapping[str, Tensor],
    taught: Mapping[str, Tensor],
) -> Iterator[Tensor]:
    """How far the small model's features are from the large one's, a stage after the other, where
    both have some."""
    for bridge, (small, large) in zip(bridges, stages, strict=True):
        if small.module in learnt and large.module in taught:
            features = small.features(learnt[small.module]).float()
            yield feature_distance(bridge(features), taught[large.module])


def augment(proxy: Dataset, mixtures: int, rng: np.random.Generator) -> "Augmented":
    """The proxy samples, followed by `mixtures` of one with another, with a little noise on top.

    Tokens are not mixed, and neither are samples that have a form for each side.

    Source: mixup, https://arxiv.org/abs/1710.09412.
    """
    inputs = proxy.inputs
    samples = len(inputs)
    if inputs.dtype.kind != "f" or proxy.large_inputs is not None or mixtures == 0:
        rows = np.arange(samples)
        return Augmented(data=proxy, own=rows, partner=rows, share=np.ones(samples, np.float32))
    itself = np.arange(samples)
    own = np.concatenate([itself, rng.integers(0, samples, mixtures)])
    partner = np.concatenate([itself, rng.integers(0, samples, mixtures)])
    share = np.concatenate([np.ones(samples), rng.uniform(0.5, 1.0, mixtures)]).astype(np.float32)
    share_of_sample = share.reshape(-1, *[1] * (inputs.ndim - 1))
    mixed = share_of_sample * inputs[own] + (1 - share_of_sample) * inputs[partner]
    deviation = NOISE * inputs.std()
    noise = rng.standard_normal((mixtures, *inputs.shape[1:]), np.float32) * deviation
    mixed[samples:] += noise
    return Augmented(
        data=Dataset(np.asarray(mixed, np.float32)), own=own, partner=partner, share=share
    )


def _descend(
    student: nn.Module,
    loss: Callable[[Tensor], Tensor],
    adam: torch.optim.Adam,
    samples: int,
    settings: Distillation,
    rng: np.random.Generator,
) -> float:
    """Seeded passes over the proxy rows; the mean loss of the last one."""
    rows = rng.permutation(samples)
    aside = samples // HELD_OUT if settings.early_stop else 0
    kept = rows[:aside]
    used = rows[aside:]
    best = last = float("inf")
    for _ in range(settings.passes):
        order_KPN = rng.permutation(len(used))[None, None]
        rows_SB = schedule(order_KPN, settings.batch)[0]
        losses = [_step(student, loss, adam, used[rows_B], settings) for rows_B in rows_SB]
        last = float(np.mean(losses))
        if len(kept):
            held_out_loss = _held_out_loss(student, loss, kept)
            if held_out_loss >= best:
                break
            best = held_out_loss
    return last


def _step(
    student: nn.Module,
    loss: Callable[[Tensor], Tensor],
    adam: torch.optim.Adam,
    rows_B: np.ndarray,
    settings: Distillation,
) -> float:
    train_mode(student)
    if settings.retention is not None:
        keep_statistics(student)
    adam.zero_grad()
    value = loss(borrowed(rows_B, device_of(student)))
    value.backward()  # type: ignore[no-untyped-call]
    adam.step()
    return float(value.detach())


def _held_out_loss(student: nn.Module, loss: Callable[[Tensor], Tensor], kept: np.ndarray) -> float:
    student.eval()
    with torch.no_grad():
        return float(loss(borrowed(kept, device_of(student))))


def _of_bridges(bridges: nn.ModuleList) -> dict[str, nn.Parameter]:
    """The adapters' weights, under names that no weight of a net can have."""
    return {f".adapter.{name}": weight for name, weight in bridges.named_parameters()}


def _adapters(stages: Sequence[tuple[Tap, Tap]], adapters: Arrays) -> nn.ModuleList:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        bridges = nn.ModuleList(Adapter(small, large) for small, large in stages)
    if adapters:
        put(bridges, adapters)
    return bridges
