"""The recipe `koala`: small models on a simulated fleet teach a large one and learn from it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..core.errors import ConfigError
from ..trust.choices import ROBUST, Refine, Rule
from .flags import (
    Common,
    CommonFlags,
    Placement,
    PlacementFlags,
    ProxyData,
    ProxyFlags,
    SmallFlags,
    Smalls,
    Training,
    TrainingFlags,
    option,
)

if TYPE_CHECKING:
    from ..methods.koala import KoalaSettings
    from ..nn.distil import Distillation
    from ..nn.retention import Knowledge, Retention
    from ..nn.zoo import Model
    from ..training.experiment import Experiment

PRETRAINED = "pretrained"
FORWARD = {"homogeneous": (1, 1e-4), "heterogeneous": (3, 1e-3), PRETRAINED: (3, 1e-3)}
"""Passes and step size of forward distillation. Where few devices share an architecture, its
average has more to learn from the large model; where all do, the large model has learnt from that
average, and harder teaching sets both back."""
DRAWN_LR = 2e-3
"""Step size of reverse distillation for weights that were drawn."""
WARM_PASSES = 10
WARM_LR = 1e-3
"""Passes and step size of the lesson before round 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """KOALA: devices train small models; the server distils them into a large one, and the large
    one back."""

    common: CommonFlags = Common()
    smalls: SmallFlags = Smalls()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    placement: PlacementFlags = Placement()
    large: str | None = None
    """The server's model: a zoo name, `hf:` and the folder or name of a classifier of transformers,
    or `module:function`. Default: the zoo's large net for the data."""
    train: str = "all"
    """What of the server's model trains: `all`, `head`, `lora:R` (adapters of rank R, and the head)
    or `last:N` (the last N layers, and the head)."""
    wire: Literal["weights", "soft-labels"] = "weights"
    """What devices send: their weights, or one byte per class and proxy sample."""
    refine: Refine = "entropy"
    """How many devices' soft labels become one consensus."""
    aggregate: Rule = ROBUST
    """How devices' weights, or their soft labels, become one; `mean` is the published method."""
    temperature: float = 3.0
    """Temperature of soft labels."""
    reverse_passes: int = 2
    """Passes over the proxy set per round, small teaches large."""
    reverse_lr: float | None = None
    """Adam's step size, small teaches large. Default: 0.002, or 0.00002 for weights that come
    trained."""
    pretrained: Literal["auto", "yes", "no"] = "auto"
    """Whether the large model comes with weights that know something, which are then kept; `auto`:
    of your own net that is so if most weights are the same whatever the seed."""
    head_lr: float | None = None
    """Adam's step size for the head of a pretrained large model. Default: 0.001, or 0.0002 where it
    knows the classes."""
    anchor: float | None = None
    """How much a pretrained large model's own earlier answers count beside the small ones'.
    Default: 1."""
    warm_passes: int | None = None
    """Passes over the proxy set before round 1, in which a large model that knows the classes
    teaches the small ones. Default: 10; none of a large model that does not know them."""
    forward_passes: int | None = None
    """Passes over the proxy set per round, large teaches small. Default: 1, or 3 in heterogeneous
    mode and of a pretrained large model."""
    forward_lr: float | None = None
    """Adam's step size, large teaches small. Default: 0.0001, or 0.001 in heterogeneous mode and
    of a pretrained large model."""
    feature_weight: float = 0.1
    """Weight of the intermediate-layer loss in forward distillation; with weights on the wire
    only."""
    calibrate: bool = True
    """Logit calibration on devices, for classes that they lack."""
    mixtures: int = 1024
    """Mixtures of proxy samples, with noise, added per round."""
    ema: float = 0.0
    """Share of the forward teacher that is kept each round: a moving average of the large model
    teaches."""
    early_stop: bool = False
    """Stop a distillation when the loss on a tenth of the proxy set no longer falls."""


def koala(flags: Flags) -> "Experiment":
    from ..methods.koala import Koala
    from ..nn.place import Place, accelerator
    from .classifiers import Models, assemble, assign, classifier_setup, large_model

    setup = classifier_setup(flags.common, flags.proxy, flags.large)
    assert setup.proxy is not None
    large = large_model(flags.large, setup, flags.train)
    place = Place(device=accelerator(flags.placement.accelerator))
    large = replace(large, place=place)
    smalls = {
        kind: replace(model, place=place)
        for kind, model in assign(setup, flags.smalls, flags.training.local_batch).items()
    }
    settings = _settings(flags, _known(flags, large))
    method = Koala(large=large, smalls=smalls, proxy=setup.proxy, settings=settings)
    models = Models(smalls=smalls, large=large, local=settings.local)
    return assemble(flags.common, setup, method, models)


def _settings(flags: Flags, known: "Knowledge | None") -> "KoalaSettings":
    from ..methods.koala import KoalaSettings
    from .classifiers import local

    return KoalaSettings(
        mode=flags.smalls.mode,
        wire=flags.wire,
        refine=flags.refine,
        aggregate=flags.aggregate,
        agree=flags.aggregate,
        local=local(flags.training, flags.calibrate),
        reverse=_reverse(flags, known),
        forward=_forward(flags, known),
        ema=flags.ema,
        warm=_warm(flags, known),
        mixtures=flags.mixtures,
    )


def _reverse(flags: Flags, known: "Knowledge | None") -> "Distillation":
    from ..nn.distil import Distillation
    from ..nn.retention import LR

    return Distillation(
        passes=flags.reverse_passes,
        batch=32,
        lr=flags.reverse_lr or (DRAWN_LR if known is None else LR),
        temperature=flags.temperature,
        early_stop=flags.early_stop,
        retention=None if known is None else _retention(flags, known),
    )


def _forward(flags: Flags, known: "Knowledge | None") -> "Distillation":
    from ..nn.distil import Distillation

    passes, lr = FORWARD[flags.smalls.mode if known is None else PRETRAINED]
    return Distillation(
        passes=passes if flags.forward_passes is None else flags.forward_passes,
        lr=flags.forward_lr or lr,
        temperature=flags.temperature,
        feature_weight=flags.feature_weight,
        early_stop=flags.early_stop,
    )


def _known(flags: Flags, large: "Model") -> "Knowledge | None":
    """What the large model knows before round 1. Raises ConfigError for flags that would then
    change nothing."""
    from ..nn.retention import assumed, knowledge

    known = None
    if flags.pretrained == "yes":
        known = assumed(large)
    elif flags.pretrained == "auto":
        known = knowledge(large)
    given = {"head_lr": flags.head_lr, "anchor": flags.anchor, "warm_passes": flags.warm_passes}
    moot = next((name for name, value in given.items() if value is not None), None)
    if known is None and moot is not None:
        raise ConfigError(
            f"{option(moot)} changes nothing here: --large {large.name} begins with random "
            "weights; say --pretrained yes if it does not"
        )
    return known


def _retention(flags: Flags, known: "Knowledge") -> "Retention":
    from ..nn.retention import HEAD_LR, KNOWN_HEAD_LR, Retention

    usual = KNOWN_HEAD_LR if known.knows_classes else HEAD_LR
    return Retention(
        head=known.head,
        head_lr=flags.head_lr or usual,
        anchor=1.0 if flags.anchor is None else flags.anchor,
        since_start=known.knows_classes,
    )


def _warm(flags: Flags, known: "Knowledge | None") -> "Distillation | None":
    """The lesson before round 1, where the large model has something to teach."""
    from ..nn.distil import Distillation

    usual = WARM_PASSES if known is not None and known.knows_classes else 0
    passes = usual if flags.warm_passes is None else flags.warm_passes
    if not passes:
        return None
    return Distillation(passes=passes, lr=WARM_LR, temperature=flags.temperature)
