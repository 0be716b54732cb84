"""The recipe `koala`: small models on a simulated fleet teach a large one and learn from it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..trust.choices import ROBUST, Refine, Rule
from .flags import (
    Common,
    CommonFlags,
    ProxyData,
    ProxyFlags,
    SmallFlags,
    Smalls,
    Training,
    TrainingFlags,
)

if TYPE_CHECKING:
    from ..methods.koala import KoalaSettings
    from ..nn.distil import Distillation
    from ..training.experiment import Experiment

FORWARD = {"homogeneous": (1, 1e-4), "heterogeneous": (3, 1e-3)}
"""Passes and step size of forward distillation. Where few devices share an architecture, its
average has more to learn from the large model; where all do, the large model has learnt from that
average, and harder teaching sets both back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """KOALA: devices train small models; the server distils them into a large one, and the large
    one back."""

    common: CommonFlags = Common()
    smalls: SmallFlags = Smalls()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
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
    reverse_lr: float = 2e-3
    """Adam's step size, small teaches large."""
    forward_passes: int | None = None
    """Passes over the proxy set per round, large teaches small. Default: 1, or 3 in heterogeneous
    mode."""
    forward_lr: float | None = None
    """Adam's step size, large teaches small. Default: 0.0001, or 0.001 in heterogeneous mode."""
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
    from .classifiers import Models, assemble, assign, classifier_setup, large_model

    setup = classifier_setup(flags.common, flags.proxy, flags.large)
    assert setup.proxy is not None
    large = large_model(flags.large, setup, flags.train)
    smalls = assign(setup, flags.smalls, flags.training.local_batch)
    settings = _settings(flags)
    method = Koala(large=large, smalls=smalls, proxy=setup.proxy, settings=settings)
    models = Models(smalls=smalls, large=large, local=settings.local)
    return assemble(flags.common, setup, method, models)


def _settings(flags: Flags) -> "KoalaSettings":
    from ..methods.koala import KoalaSettings
    from .classifiers import local

    return KoalaSettings(
        mode=flags.smalls.mode,
        wire=flags.wire,
        refine=flags.refine,
        aggregate=flags.aggregate,
        agree=flags.aggregate,
        local=local(flags.training, flags.calibrate),
        reverse=_reverse(flags),
        forward=_forward(flags),
        ema=flags.ema,
        mixtures=flags.mixtures,
    )


def _reverse(flags: Flags) -> "Distillation":
    from ..nn.distil import Distillation

    return Distillation(
        passes=flags.reverse_passes,
        batch=32,
        lr=flags.reverse_lr,
        temperature=flags.temperature,
        early_stop=flags.early_stop,
    )


def _forward(flags: Flags) -> "Distillation":
    from ..nn.distil import Distillation

    passes, lr = FORWARD[flags.smalls.mode]
    return Distillation(
        passes=passes if flags.forward_passes is None else flags.forward_passes,
        lr=flags.forward_lr or lr,
        temperature=flags.temperature,
        feature_weight=flags.feature_weight,
        early_stop=flags.early_stop,
    )
