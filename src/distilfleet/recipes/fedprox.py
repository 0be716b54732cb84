"""The recipe `fedprox`: federated averaging of a small model, with a proximal term on devices."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..trust.choices import ROBUST, Rule
from .flags import Common, CommonFlags, ProxyData, ProxyFlags, Training, TrainingFlags

if TYPE_CHECKING:
    from ..training.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """FedProx, a baseline: federated averaging with a proximal term that keeps devices near what
    they received."""

    common: CommonFlags = Common()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    small: str | None = None
    """The small model. Default: the zoo's middle one that fits."""
    mu: float = 0.01
    """Weight of the proximal term; 0 is federated averaging."""
    aggregate: Rule = ROBUST
    """How devices' weights become one model's; `mean` is the published method."""
    calibrate: bool = False
    """Logit calibration on devices, for classes that they lack."""


def fedprox(flags: Flags) -> "Experiment":
    from ..methods.fedprox import FedProx
    from .classifiers import Models, assemble, classifier_setup, large_model, local, one_small

    setup = classifier_setup(flags.common, flags.proxy)
    smalls = one_small(setup, flags.small, flags.training.local_batch)
    model = next(iter(smalls.values()))
    settings = local(flags.training, flags.calibrate)
    method = FedProx(model=model, mu=flags.mu, local=settings, aggregate=flags.aggregate)
    models = Models(smalls=smalls, spared=large_model(None, setup), local=settings)
    return assemble(flags.common, setup, method, models)
