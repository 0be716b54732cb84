"""The recipe `feddf`: ensemble distillation of the devices' own architectures, without a large
model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..trust.choices import ROBUST, Rule
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
    from ..training.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """FedDF, a baseline: average the devices' models per architecture, distil their ensemble into
    each average."""

    common: CommonFlags = Common()
    smalls: SmallFlags = Smalls()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    fusion_passes: int = 4
    """Passes over the proxy set per round."""
    fusion_lr: float = 1e-3
    """Adam's step size on the server."""
    aggregate: Rule = ROBUST
    """How devices' weights and outputs become one; `mean` is the published method."""
    calibrate: bool = False
    """Logit calibration on devices, for classes that they lack."""


def feddf(flags: Flags) -> "Experiment":
    from ..methods.feddf import FedDF
    from ..nn.distil import Distillation
    from .classifiers import Models, assemble, assign, classifier_setup, large_model, local

    setup = classifier_setup(flags.common, flags.proxy)
    assert setup.proxy is not None
    smalls = assign(setup, flags.smalls, flags.training.local_batch)
    method = FedDF(
        smalls=smalls,
        proxy=setup.proxy,
        local=local(flags.training, flags.calibrate),
        fusion=Distillation(passes=flags.fusion_passes, lr=flags.fusion_lr, temperature=1.0),
        aggregate=flags.aggregate,
    )
    models = Models(smalls=smalls, spared=large_model(None, setup), local=method.local)
    return assemble(flags.common, setup, method, models)
