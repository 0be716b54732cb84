"""The recipe `fedmd`: devices of any architecture agree on class scores over a proxy dataset."""

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
    """FedMD, a baseline: class scores on the proxy set travel, averaged by the server; weights do
    not."""

    common: CommonFlags = Common()
    smalls: SmallFlags = Smalls()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    digest_passes: int = 2
    """Passes over the proxy set per round, on the device."""
    digest_lr: float = 1e-3
    """Adam's step size there."""
    aggregate: Rule = ROBUST
    """How devices' class scores become one; `mean` is the published method."""
    calibrate: bool = False
    """Logit calibration on devices, for classes that they lack."""


def fedmd(flags: Flags) -> "Experiment":
    from ..methods.fedmd import FedMD
    from ..nn.distil import Distillation
    from .classifiers import Models, assemble, assign, classifier_setup, large_model, local

    setup = classifier_setup(flags.common, flags.proxy)
    assert setup.proxy is not None
    smalls = assign(setup, flags.smalls, flags.training.local_batch)
    method = FedMD(
        smalls=smalls,
        proxy=setup.proxy,
        classes=setup.classes,
        local=local(flags.training, flags.calibrate),
        digest=Distillation(passes=flags.digest_passes, lr=flags.digest_lr, temperature=1.0),
        aggregate=flags.aggregate,
    )
    models = Models(smalls=smalls, spared=large_model(None, setup), local=method.local)
    return assemble(flags.common, setup, method, models)
