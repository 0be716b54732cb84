"""The recipe `fedavg`: federated averaging of the large model (the conventional approach) or of a
small one."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..core.units import pretty_bytes
from ..trust.choices import ROBUST, Rule
from .flags import Common, CommonFlags, ProxyData, ProxyFlags, Training, TrainingFlags

if TYPE_CHECKING:
    from ..nn.zoo import Model
    from ..training.experiment import Experiment
    from .classifiers import ClassifierSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Federated averaging, the baseline: devices train one model, the server averages."""

    common: CommonFlags = Common()
    proxy: ProxyFlags = ProxyData()
    training: TrainingFlags = Training()
    who: Literal["large", "small"] = "small"
    """Which model the devices train. `large` ignores their memory: a counterfactual, and the record
    says so."""
    large: str | None = None
    """The large model: a zoo name, `hf:` and a classifier of transformers, or `module:function`.
    Default: the zoo's for the data."""
    small: str | None = None
    """The small model. Default: the zoo's middle one that fits."""
    aggregate: Rule = ROBUST
    """How devices' weights become one model's; `mean` is the published method."""
    calibrate: bool = False
    """Logit calibration on devices, for classes that they lack."""


def fedavg(flags: Flags) -> "Experiment":
    from ..methods.fedavg import FedAvg
    from .classifiers import (
        Models,
        assemble,
        classifier_setup,
        large_model,
        local,
        on_large,
        one_small,
    )

    batch = flags.training.local_batch
    setup = classifier_setup(flags.common, flags.proxy, flags.large)
    large = large_model(flags.large, setup)
    notes = []
    if flags.who == "large":
        setup = replace(on_large(setup), ignore_memory=True)
        notes.append(_counterfactual(setup, large, batch))
        models = dict.fromkeys(setup.kinds, large)
    else:
        models = one_small(setup, flags.small, batch)
    training = local(flags.training, flags.calibrate)
    method = FedAvg(
        model=next(iter(models.values())),
        who=flags.who,
        local=training,
        aggregate=flags.aggregate,
    )
    on_server = large if flags.who == "large" else None
    of_run = Models(smalls=models, large=on_server, spared=large, local=training)
    return assemble(flags.common, setup, method, of_run, notes)


def _counterfactual(setup: "ClassifierSetup", large: "Model", batch: int) -> str:
    from ..nn.profile import profile, training_memory_bytes

    need_bytes = training_memory_bytes(profile(large), batch)
    short = sum(device.memory_bytes < need_bytes for device in setup.devices.values())
    return (
        f"Counterfactual: every device trains {large.name} itself and memory is ignored. It needs "
        f"{pretty_bytes(need_bytes)}, more than {short} of {len(setup.devices)} devices may use."
    )
