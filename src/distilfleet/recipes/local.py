"""The recipe `local`: each device alone, the lower bound."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """Each device trains alone and exchanges nothing: the lower bound. A proxy share is set aside
    all the same."""

    common: CommonFlags = Common()
    smalls: SmallFlags = Smalls()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    calibrate: bool = False
    """Logit calibration, for classes that a device lacks."""


def local(flags: Flags) -> "Experiment":
    from ..methods.local import Alone
    from . import classifiers
    from .classifiers import assign, classifier_setup, large_model

    setup = classifier_setup(flags.common, flags.proxy)
    smalls = assign(setup, flags.smalls, flags.training.local_batch)
    method = Alone(smalls=smalls, local=classifiers.local(flags.training, flags.calibrate))
    models = classifiers.Models(smalls=smalls, spared=large_model(None, setup), local=method.local)
    return classifiers.assemble(flags.common, setup, method, models)
