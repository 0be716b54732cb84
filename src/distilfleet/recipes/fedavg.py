"""The recipe `fedavg`: federated averaging of the large model (the conventional approach) or of a small one."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..core.units import pretty_bytes
from ..trust.choices import Rule
from .flags import Common, CommonFlags, ProxyData, ProxyFlags, Smalls, Training, TrainingFlags

if TYPE_CHECKING:
    from ..nn.zoo import Model
    from .experiment import Run
    from .scene import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Federated averaging, the baseline: devices train one model, the server averages."""

    common: CommonFlags = Common()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    who: Literal["large", "small"] = "small"
    """Which model the devices train. `large` ignores their memory: a counterfactual, and the record says so."""
    large: str | None = None
    """The large model. Default: the zoo's for the data."""
    small: str | None = None
    """The small model. Default: the zoo's middle one that fits."""
    aggregate: Rule = "geometric-median"
    """How devices' weights become one model's; `mean` is the published method."""
    calibrate: bool = False
    """Logit calibration on devices, for classes that they lack."""


def fedavg(flags: Flags) -> "Run":
    from ..methods.fedavg import FedAvg
    from .assemble import Models, assemble, local
    from .scene import assign, large_model, scene

    stage = scene(flags.common, flags.proxy)
    large = large_model(flags.large, stage)
    if flags.who == "large":
        stage = replace(stage, ignore_memory=True)
        smalls, notes = dict.fromkeys(stage.kinds, large), [_counterfactual(stage, large, flags.training.local_batch)]
    else:
        names = () if flags.small is None else (flags.small,)
        smalls, notes = assign(stage, Smalls(small=names), flags.training.local_batch), []
    model = next(iter(smalls.values()))
    method = FedAvg(model=model, who=flags.who, local=local(flags.training, flags.calibrate), aggregate=flags.aggregate)
    models = Models(smalls=smalls, large=large if flags.who == "large" else None, spared=large, local=method.local)
    return assemble(flags.common, stage, method, models, notes)


def _counterfactual(stage: "Scene", large: "Model", batch: int) -> str:
    from ..nn.profile import profile, training_memory_bytes

    need_bytes = training_memory_bytes(profile(large), batch)
    short = sum(device.memory_bytes < need_bytes for device in stage.devices.values())
    return (
        f"Counterfactual: every device trains {large.name} itself and memory is ignored. It needs "
        f"{pretty_bytes(need_bytes)}, more than {short} of {len(stage.devices)} devices may use."
    )
