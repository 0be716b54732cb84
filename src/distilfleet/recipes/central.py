"""The recipe `central`: all data pooled on the server, the upper bound."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..core.errors import ConfigError
from .flags import Common, CommonFlags, ProxyData, ProxyFlags, Training, TrainingFlags

if TYPE_CHECKING:
    from ..nn.zoo import Model
    from ..training.experiment import Experiment
    from .classifiers import ClassifierSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """All devices send their data once and the server trains alone: the upper bound, and no
    privacy."""

    common: CommonFlags = Common()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    who: Literal["large", "small"] = "large"
    """Which model the server trains."""
    large: str | None = None
    """The large model: a zoo name, `hf:` and a classifier of transformers, or `module:function`.
    Default: the zoo's for the data."""
    small: str | None = None
    """The small model. Default: the zoo's middle one."""


def central(flags: Flags) -> "Experiment":
    from ..methods.central import Central
    from .classifiers import Models, assemble, classifier_setup, local, on_large

    setup = classifier_setup(flags.common, flags.proxy, flags.large)
    model = _model(flags, setup)
    if flags.who == "large":
        setup = on_large(setup)
    training = local(flags.training)
    method = Central(model=model, who=flags.who, local=training)
    models = Models(smalls={}, large=model if flags.who == "large" else None, local=training)
    note = "Upper bound: all private data lie on the server."
    return assemble(flags.common, setup, method, models, [note])


def _model(flags: Flags, setup: "ClassifierSetup") -> "Model":
    """The large model, or a small one that each device could train."""
    from .classifiers import large_model, one_small

    if flags.who == "large":
        return large_model(flags.large, setup)
    if flags.large is not None:
        raise ConfigError(
            "--large changes nothing here: with --who small the server trains no large model"
        )
    return next(iter(one_small(setup, flags.small, flags.training.local_batch).values()))
