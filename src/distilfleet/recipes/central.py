"""The recipe `central`: all data pooled on the server, the upper bound."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..core.errors import ConfigError
from .flags import Common, CommonFlags, ProxyData, ProxyFlags, Smalls, Training, TrainingFlags

if TYPE_CHECKING:
    from ..training.experiment import Experiment


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
    from .classifiers import Models, assemble, assign, classifier_setup, large_model, local

    setup = classifier_setup(flags.common, flags.proxy)
    if flags.who == "large":
        model = large_model(flags.large, setup)
    else:
        if flags.large is not None:
            raise ConfigError(
                "--large changes nothing here: with --who small the server trains no large model"
            )
        names = () if flags.small is None else (flags.small,)
        model = next(iter(assign(setup, Smalls(small=names), flags.training.local_batch).values()))
    method = Central(model=model, who=flags.who, local=local(flags.training))
    models = Models(smalls={}, large=model if flags.who == "large" else None, local=method.local)
    return assemble(
        flags.common, setup, method, models, ["Upper bound: all private data lie on the server."]
    )
