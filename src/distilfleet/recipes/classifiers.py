"""From flags to an experiment on samples with classes: data, a proxy dataset, and a model for each
kind of device."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core.chance import stream
from ..core.errors import ConfigError, InfeasibleError
from ..core.protocols import Method
from ..core.types import Dataset, Device, DeviceId
from ..core.units import pretty_bytes
from ..cost import catalogue
from ..data import proxy as proxies
from ..data import sources
from ..data.digest import of_files
from ..data.labels import shorten
from ..data.series import agree
from ..nn import zoo
from ..nn.cohorts import why_apart
from ..nn.profile import profile, savings, training_memory_bytes
from ..nn.train import LocalTraining
from ..nn.zoo import Model
from ..training.experiment import Experiment, Simulation
from ..trust.attackers import Poisoned, pick
from .division import divide, names
from .flags import Common, ProxyData, Smalls, Training
from .machines import enrol, part_alone, sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassifierSetup:
    """The server's data, and the machines of a run."""

    source: sources.Source
    private: Dataset
    """The samples that simulated devices own together."""
    proxy: Dataset | None
    groups: np.ndarray | None
    """The owner of each private sample, where devices are owners."""
    common: Common
    devices: Mapping[DeviceId, Device]
    server: Device
    ignore_memory: bool = False
    """A counterfactual: simulated devices train what they could not hold."""
    proxy_digest: str = ""
    """The digest of a proxy dataset of the user's own."""

    def simulation(self) -> Simulation:
        """The private samples divided among simulated devices. Raises ConfigError for the server's
        part of data."""
        if self.source.train is self.source.test:
            raise ConfigError(part_alone(self.source.name))
        division = divide(self.private, self.groups, self.common)
        index = {device: row for row, device in enumerate(self.devices)}
        return Simulation(
            data=lambda device: self.private.take(division.rows[index[device]]),
            samples=len(self.private),
            partition=division.how,
            ignore_memory=self.ignore_memory,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.train.shape

    @property
    def classes(self) -> int:
        return len(self.source.classes)

    @property
    def kinds(self) -> Mapping[str, Device]:
        """The first device of each kind, in the order of the fleet."""
        first: dict[str, Device] = {}
        for device in self.devices.values():
            first.setdefault(device.kind, device)
        return first


def classifier_setup(
    common: Common, proxy: ProxyData | None, large: str | None = None
) -> ClassifierSetup:
    """Load, set the proxy dataset aside, and enrol. Raises ConfigError.

    Args:
        large: the name of the large model, which may make other inputs of texts than devices do.
    """
    _check(common)
    source = _source(common, large)
    private, groups, held_out = _hold_out(source, proxy, common)
    ids = names(groups, common)
    notes = (*source.notes, *_absent(source, groups, ids))
    return ClassifierSetup(
        source=replace(source, notes=notes),
        private=private,
        proxy=held_out,
        groups=groups,
        common=common,
        devices=enrol(common, ids),
        server=catalogue.device(common.server, "server", extra=common.catalogue),
        proxy_digest=_digest(proxy),
    )


def _source(common: Common, large: str | None) -> sources.Source:
    source = sources.load(
        common.data,
        holdout=common.holdout,
        label=common.label,
        group=common.group,
        seed=common.seed,
        reading=common.reading,
        test=common.test,
    )
    if not source.is_text or large is None or not large.startswith(zoo.PRETRAINED):
        return source
    from ..nn.pretrained import tokenised  # seconds, for those who want one

    return source.for_large(partial(tokenised, large))


def _digest(proxy: ProxyData | None) -> str:
    """Of a proxy dataset of the user's own; empty if there is none."""
    if proxy is None or not proxy.proxy:
        return ""
    return of_files(Path(proxy.proxy).expanduser())


def assign(setup: ClassifierSetup, smalls: Smalls, batch: int) -> dict[str, Model]:
    """A small model for each kind of device.

    Homogeneous: the one that is named, or the zoo's middle one, or the largest below it that fits
    everywhere. Heterogeneous: kinds in order of speed get models in order of work, each the largest
    up to its rank that fits. Raises InfeasibleError naming device, model and bytes, before anything
    is trained.
    """
    settled = _settled(setup, smalls)
    named = [name for name in smalls.small if "=" not in name]
    usual = zoo.smalls_for(setup.shape, setup.source.is_sound, setup.source.is_text)
    models = [_small(name, setup) for name in named or usual]
    models.sort(key=lambda model: profile(model).train_flops)
    if smalls.mode == "heterogeneous":
        chosen = _by_speed(setup.kinds, models, batch)
    elif named:
        chosen = dict.fromkeys(setup.kinds, _only(models, named))
    else:
        chosen = dict.fromkeys(setup.kinds, _one_for_all(setup.kinds, models, batch))
    chosen |= settled
    for kind, device in setup.kinds.items():
        check_fits(device, chosen[kind], batch)
    if smalls.mode == "homogeneous" and len(set(chosen.values())) > 1:
        raise ConfigError(
            "--small KIND=MODEL gives kinds different models; say --mode heterogeneous"
        )
    return chosen


def _only(models: Sequence[Model], names: Sequence[str]) -> Model:
    if len(models) > 1:
        raise ConfigError(
            f"homogeneous mode takes one --small, got {', '.join(names)}; or --mode heterogeneous"
        )
    return models[0]


def one_small(setup: ClassifierSetup, name: str | None, batch: int) -> dict[str, Model]:
    """The same small model for each kind of device: the one that is named, or one that fits
    everywhere."""
    return assign(setup, Smalls(small=() if name is None else (name,)), batch)


def _small(name: str, setup: ClassifierSetup) -> Model:
    """A model by its name for samples as devices take them."""
    source = setup.source
    if source.is_text and name.startswith(zoo.PRETRAINED):
        raise ConfigError(
            f"--small {name}: devices take hashed words of texts, and no tokenizer: choose one of "
            f"{', '.join(zoo.WORDS)}, and give this one as --large"
        )
    found = zoo.model(
        name, setup.shape, setup.classes, class_names=source.classes, of_texts=source.is_text
    )
    _check_rate(found, setup)
    return found


def _check_rate(model: Model, setup: ClassifierSetup) -> None:
    """Raises ConfigError for sounds at another rate than the pretrained model's."""
    here_hz = setup.source.sampling.rate_hz
    if not model.is_pretrained or len(model.shape) != 2 or not here_hz:
        return
    from ..nn.classifier_folder import rate_hz_of  # seconds, for those who want one

    wanted_hz = rate_hz_of(model.name)
    if wanted_hz and not agree(here_hz, wanted_hz):
        raise ConfigError(
            f"{model.name} takes sounds of {wanted_hz:g} numbers a second; the data have "
            f"{here_hz:g}: resample them"
        )


def _settled(setup: ClassifierSetup, smalls: Smalls) -> dict[str, Model]:
    """The models that KIND=MODEL gives to kinds. Raises ConfigError for a kind that nobody is
    of."""
    names = dict(name.split("=", 1) for name in smalls.small if "=" in name)
    for kind in names:
        if kind not in setup.kinds:
            raise ConfigError(
                f"--small {kind}=...: no such kind in this fleet; it has {', '.join(setup.kinds)}"
            )
    return {kind: _small(name, setup) for kind, name in names.items()}


def large_model(name: str | None, setup: ClassifierSetup, train: str = "all") -> Model:
    """The server's model, for samples in the form that it takes."""
    shape = setup.source.train.for_large.shape
    of_texts = setup.source.is_text and setup.source.tokenise is None
    wanted = name or zoo.large_for(shape, setup.source.is_sound, of_texts)
    found = zoo.model(wanted, shape, setup.classes, train, setup.source.classes, of_texts=of_texts)
    _check_rate(found, setup)
    return found


def check_fits(device: Device, model: Model, batch: int) -> None:
    """Raises InfeasibleError if the device cannot train the model."""
    need_bytes = training_memory_bytes(profile(model), batch)
    if need_bytes > device.memory_bytes:
        raise InfeasibleError(
            f"{device.kind} cannot train {model.name}: it needs {pretty_bytes(need_bytes)} "
            f"({need_bytes} bytes), a job may use {pretty_bytes(device.memory_bytes)} there. "
            "Choose a smaller --small, raise --memory-quota-bytes, lower --local-batch, or leave "
            "that kind out of --device-kinds."
        )


def _check(common: Common) -> None:
    if not common.device_kinds:
        raise ConfigError("--device-kinds is empty; name at least one, see `distilfleet devices`")
    divided = common.alpha is not None or common.devices is not None or common.skew != "label"
    if common.group is not None and divided:
        raise ConfigError(
            "--group makes one device per owner: leave out --alpha, --skew and --devices"
        )


def _hold_out(
    source: sources.Source, proxy: ProxyData | None, common: Common
) -> tuple[Dataset, np.ndarray | None, Dataset | None]:
    if proxy is None:
        return source.train, source.groups, None
    if proxy.proxy is not None:
        return source.train, source.groups, proxies.from_path(proxy.proxy, source, common.reading)
    return proxies.hold_out(
        source.train, source.groups, proxy.proxy_share, stream(common.seed, "proxy")
    )


def proxy_texts(setup: ClassifierSetup, share: float) -> np.ndarray | None:
    """The texts that `classifier_setup` set aside as proxy, this share of them; None of data that
    are no texts."""
    texts = setup.source.train_texts
    if texts is None:
        return None
    chosen: np.ndarray = texts[
        proxies.rows(len(texts), share, stream(setup.common.seed, "proxy"))[1]
    ]
    return chosen


def on_large(setup: ClassifierSetup) -> ClassifierSetup:
    """The setup of a run that trains the large model on what devices own, in the form it takes."""
    source = setup.source
    taken = replace(
        source,
        train=source.train.for_large,
        test=source.test.for_large,
        is_tokenised=source.tokenise is not None,
    )
    return replace(setup, source=taken, private=setup.private.for_large)


def _absent(
    source: sources.Source, groups: np.ndarray | None, ids: Sequence[DeviceId]
) -> tuple[str, ...]:
    """A note on owners of whom nothing is left to train on."""
    lost = (
        sorted(source.owners.difference(ids))
        if groups is not None and source.owners.intersection(ids)
        else []
    )
    if not lost:
        return ()
    return (
        f"{len(lost)} owners have no device, for all their samples are held out: {shorten(lost)}",
    )


def _one_for_all(kinds: Mapping[str, Device], models: Sequence[Model], batch: int) -> Model:
    middle = models[: len(models) // 2 + 1]
    least_bytes = min(device.memory_bytes for device in kinds.values())
    return _largest(middle, least_bytes, batch)


def _by_speed(kinds: Mapping[str, Device], models: Sequence[Model], batch: int) -> dict[str, Model]:
    slowest_first = sorted(kinds.values(), key=lambda device: device.speed_flops_per_s)
    chosen = {}
    for rank, device in enumerate(slowest_first):
        up_to = models[: 1 + (rank * len(models)) // len(slowest_first)]
        chosen[device.kind] = _largest(up_to, device.memory_bytes, batch)
    return {kind: chosen[kind] for kind in kinds}


def _largest(models: Sequence[Model], memory_bytes: int, batch: int) -> Model:
    """The last that fits, of models in order of work; the first where none does."""
    fitting = [
        model for model in models if training_memory_bytes(profile(model), batch) <= memory_bytes
    ]
    return fitting[-1] if fitting else models[0]


def local(training: Training, calibrate: bool = False) -> LocalTraining:
    return LocalTraining(
        passes=training.local_passes,
        batch=training.local_batch,
        lr=training.local_lr,
        momentum=training.local_momentum,
        weight_decay=training.local_weight_decay,
        calibrate=calibrate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models of a run: what devices train, by kind, what the server has, and what devices are
    spared."""

    smalls: Mapping[str, Model]
    large: Model | None = None
    spared: Model | None = None
    """What the savings are held against where the server has no large model."""
    local: LocalTraining
    """How devices train: its batch decides how much memory that takes."""


def assemble(
    common: Common,
    setup: ClassifierSetup,
    method: Method[Any],
    models: Models,
    notes: Sequence[str] = (),
) -> Experiment:
    """The experiment that a simulation, or a server with its devices, carries out."""
    lying, said = _poisoned(common, setup, method)

    def simulation() -> Simulation:
        return replace(setup.simulation(), notes=_apart(common, method, models))

    return Experiment(
        method=lying,
        planner=sample(common, len(setup.devices)),
        devices=setup.devices,
        server=setup.server,
        test=setup.source.test,
        rounds=common.rounds,
        seed=common.seed,
        checkpoint_every_s=common.checkpoint_every_s,
        models={kind: model.name for kind, model in models.smalls.items()},
        about=_about(
            setup, models, [*said, *notes, *_decisions(_distinct(models)), *setup.source.notes]
        ),
        data_spec=setup.source.spec(common.label),
        simulation=simulation,
    )


def _about(setup: ClassifierSetup, models: Models, notes: Sequence[str]) -> dict[str, Any]:
    """What the record says of the experiment."""
    batch = models.local.batch
    training_bytes = {
        model.name: training_memory_bytes(profile(model), batch) for model in _distinct(models)
    }
    return {
        "models": _names(models),
        "training_bytes": training_bytes,
        "data": _data(setup),
        "savings": _savings(models),
        "notes": notes,
    }


def _decisions(models: Sequence[Model]) -> list[str]:
    """What was decided about models that come trained."""
    trained = [model for model in models if model.is_pretrained]
    if not trained:
        return []
    from ..nn import pretrained  # seconds, for those who want one

    return [
        pretrained.decision(model.name, model.shape, model.classes, model.class_names)
        for model in trained
    ]


def _poisoned(common: Common, setup: ClassifierSetup, method: Method[Any]) -> tuple[Any, list[str]]:
    """The method with devices that lie, and a note that says which; as it is, where none does."""
    if common.poison is None:
        return method, []
    liars = pick(tuple(setup.devices), common.poison_share, common.seed)
    lying = Poisoned(
        method=method, liars=liars, attack=common.poison, classes=setup.classes, seed=common.seed
    )
    return lying, [
        f"An experiment: {len(liars)} devices lie ({common.poison}): "
        f"{', '.join(sorted(liars)[:20])}."
    ]


def _apart(common: Common, method: Method[Any], models: Models) -> tuple[str, ...]:
    """Which of a user's own nets are not trained side by side in simulation, and why."""
    if common.cohorts == "off" or not hasattr(method, "cohort"):
        return ()
    own = dict.fromkeys(model for model in models.smalls.values() if model.is_own)
    reasons = {model.name: why_apart(model, models.local) for model in own}
    return tuple(
        f"In simulation, devices of {name} are trained one after the other: {reason}."
        for name, reason in reasons.items()
        if reason is not None
    )


def _names(models: Models) -> dict[str, Any]:
    names = {
        "small": sorted({model.name for model in models.smalls.values() if model != models.large})
    }
    return names if models.large is None else {"large": models.large.name, **names}


def _reference(models: Models) -> Model | None:
    return models.large or models.spared


def _distinct(models: Models) -> list[Model]:
    reference = _reference(models)
    return list(
        dict.fromkeys([*([] if reference is None else [reference]), *models.smalls.values()])
    )


def _data(setup: ClassifierSetup) -> dict[str, Any]:
    facts = {
        "name": setup.source.name,
        "classes": list(setup.source.classes),
        "shape": list(setup.shape),
        "test": len(setup.source.test),
        "digest": setup.source.digest,
        **({"proxy_digest": setup.proxy_digest} if setup.proxy_digest else {}),
    }
    return facts if setup.proxy is None else {**facts, "proxy": len(setup.proxy)}


def _savings(models: Models) -> list[dict[str, Any]]:
    reference = _reference(models)
    if reference is None:
        return []
    return [asdict(savings(reference, model)) for model in _distinct(models) if model != reference]
