"""The recipe `local`: each device alone, the lower bound."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .flags import Common, CommonFlags, ProxyData, ProxyFlags, SmallFlags, Smalls, Training, TrainingFlags

if TYPE_CHECKING:
    from .experiment import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Each device trains alone and exchanges nothing: the lower bound. A proxy share is set aside all the same."""

    common: CommonFlags = Common()
    smalls: SmallFlags = Smalls()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    calibrate: bool = False
    """Logit calibration, for classes that a device lacks."""


def local(flags: Flags) -> "Run":
    from ..methods.local import Alone
    from . import assemble as assembly
    from .scene import assign, large_model, scene

    stage = scene(flags.common, flags.proxy)
    smalls = assign(stage, flags.smalls, flags.training.local_batch)
    method = Alone(smalls=smalls, local=assembly.local(flags.training, flags.calibrate))
    models = assembly.Models(smalls=smalls, spared=large_model(None, stage), local=method.local)
    return assembly.assemble(flags.common, stage, method, models)
