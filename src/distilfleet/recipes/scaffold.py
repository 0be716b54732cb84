"""The recipe `scaffold`: federated averaging of a small model, with control variates against
drift."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..trust.choices import ROBUST, Rule
from .flags import Common, CommonFlags, ProxyData, ProxyFlags, Training, TrainingFlags

if TYPE_CHECKING:
    from ..training.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """SCAFFOLD, a baseline: control variates correct the drift of devices whose data differ; twice
    the bytes."""

    common: CommonFlags = Common()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    small: str | None = None
    """The small model. Default: the zoo's middle one that fits."""
    aggregate: Rule = ROBUST
    """How devices' weights and control variates become one; `mean` is the published method."""
    calibrate: bool = False
    """Logit calibration on devices, for classes that they lack."""


def scaffold(flags: Flags) -> "Experiment":
    from ..methods.scaffold import Scaffold
    from .classifiers import Models, assemble, classifier_setup, large_model, local, one_small

    setup = classifier_setup(flags.common, flags.proxy)
    smalls = one_small(setup, flags.small, flags.training.local_batch)
    model = next(iter(smalls.values()))
    settings = local(flags.training, flags.calibrate)
    method = Scaffold(model=model, local=settings, aggregate=flags.aggregate)
    models = Models(smalls=smalls, spared=large_model(None, setup), local=settings)
    return assemble(flags.common, setup, method, models)
