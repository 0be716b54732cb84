"""From flags to an experiment on text: windows, a teacher and a student."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.chance import stream
from ..core.errors import ConfigError, ScarceError
from ..core.protocols import Method, Planner
from ..core.types import Dataset, Device, DeviceId, LanguageProfile
from ..cost import catalogue
from ..data import text
from ..data.prepared_text import ServedText, read_server
from ..data.spec import DataSpec
from ..data.tokenizer import FILES as TOKENIZERS
from ..data.tokenizer import Tokenizer, from_path
from ..nn.language import (
    PUBLISHED,
    ZOO,
    LanguageModel,
    check_tokenizers,
    config,
    is_folder,
    is_new,
    is_published,
)
from ..nn.pretrain import Pretraining
from ..nn.token_training import TokenTraining
from ..nn.trace import trace
from ..training.experiment import Experiment, Simulation
from .flags import DEVICES, TEXT, Common, Language, option
from .hub_names import check_to_be_had
from .machines import enrol, numbered, part_alone, sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextSetup:
    """Data, models and fleet of a run on text."""

    source: text.TextSource
    private: tuple[Dataset, ...]
    """The windows of each simulated device; none where the data are the server's part alone."""
    pretraining_data: Dataset | None
    """The windows that the server trains its large model on, where that does not come trained."""
    devices: Mapping[DeviceId, Device]
    server: Device
    teacher: LanguageModel
    student: LanguageModel
    profiles: Mapping[str, LanguageProfile]
    test: Dataset
    """The windows that quality is measured on."""
    rows: int
    """How many distinct tokens the device has that has most."""

    @property
    def classes(self) -> int | None:
        return len(self.source.classes) or None

    def simulation(self) -> Simulation:
        """The windows of the text as they are divided among devices. Raises ConfigError for the
        server's part."""
        if not self.private:
            raise ConfigError(part_alone(self.source.name))
        owned = dict(zip(self.devices, self.private, strict=True))
        return Simulation(
            data=owned.__getitem__,
            samples=sum(map(len, self.private)),
            partition=self.source.partition,
        )


def text_setup(common: Common, language: Language) -> TextSetup:
    """Load, cut, divide and enrol. Raises ConfigError."""
    _check_names(language)
    served = read_server(common.data, language.context)
    if served is not None and common.test is not None:
        raise ConfigError(
            f"{common.data}: --test {common.test}: the server's part has a test part: leave it out"
        )
    source = text.load(common.data, _wanted(common, language)) if served is None else served.source
    _check_tokenizer(language.teacher, source.tokenizer)
    _check_tokenizer(language.student, source.tokenizer)
    owned = _divided(source, language) if served is None else _of_server(served)
    ids = source.owners or numbered(len(owned.private) or common.devices or DEVICES)
    return TextSetup(
        source=replace(source, notes=(*source.notes, *_unused(language))),
        private=owned.private,
        pretraining_data=owned.pretraining_data,
        devices=enrol(common, ids),
        server=catalogue.device(common.server, "server", extra=common.catalogue),
        teacher=_model(language.teacher, language, source),
        student=_model(language.student, language, source),
        profiles=_profiles(language, source.tokenizer.vocabulary),
        test=some_of(source.test.dataset(), language.test_windows),
        rows=owned.rows,
    )


def _model(name: str, language: Language, source: text.TextSource) -> LanguageModel:
    return LanguageModel(
        name=name,
        vocabulary=source.tokenizer.vocabulary,
        context=language.context,
        classes=len(source.classes) or None,
    )


def _check_names(language: Language) -> None:
    """Raises ConfigError for a model or tokenizer that is nowhere."""
    known = f"{', '.join([*ZOO, *PUBLISHED])} or llama:WIDTHxLAYERS"
    for flag, name in (("--teacher", language.teacher), ("--student", language.student)):
        if not is_new(name):
            check_to_be_had(flag, name, known)
    if language.tokenizer not in (None, "bytes"):
        check_to_be_had("--tokenizer", str(language.tokenizer), "the built-in tokenizers (bytes)")


def _unused(language: Language) -> tuple[str, ...]:
    """Notes on settings of a training that does not take place."""
    names = ("pretrain_share", "pretrain_steps", "pretrain_lr")
    usual = Language()
    given = [option(name) for name in names if getattr(language, name) != getattr(usual, name)]
    if not given or not comes_trained(language.teacher):
        return ()
    return (f"{', '.join(given)} not used: {language.teacher} comes trained",)


def _own(source: text.TextSource) -> tuple[Dataset, ...]:
    return tuple(source.data(device).dataset() for device in range(len(source.rows)))


def _profiles(language: Language, vocabulary: int) -> dict[str, LanguageProfile]:
    """A published size has its own vocabulary, whatever text it is planned for."""
    profiles = {}
    for name in (language.teacher, language.student):
        rows = None if is_published(name) else vocabulary
        profiles[name] = trace(name, steps=language.context, vocabulary=rows)
    return profiles


def pretraining(language: Language) -> Pretraining:
    return Pretraining(steps=language.pretrain_steps, lr=language.pretrain_lr)


def comes_trained(name: str) -> bool:
    """Whether weights lie there, whatever the folder is called."""
    return not is_new(name)


def assemble(
    common: Common,
    setup: TextSetup,
    method: Method[Any],
    planner: Planner,
    notes: Sequence[str] = (),
) -> Experiment:
    """The experiment that a simulation, or a server with its devices, carries out. Raises
    ConfigError."""
    if common.poison is not None:
        raise ConfigError(
            "--poison makes liars of devices that send weights or soft labels of classes, not of "
            "text"
        )
    return Experiment(
        method=method,
        planner=planner,
        devices=setup.devices,
        server=setup.server,
        test=setup.test,
        rounds=common.rounds,
        seed=common.seed,
        checkpoint_every_s=common.checkpoint_every_s,
        models={device.kind: setup.student.name for device in setup.devices.values()},
        about={
            "models": _names(setup),
            "data": _data(setup),
            "notes": [*notes, *setup.source.notes],
        },
        tokenizer=setup.source.tokenizer,
        data_spec=_spec(setup),
        simulation=setup.simulation,
    )


def _spec(setup: TextSetup) -> DataSpec:
    return DataSpec(
        kind="text",
        shape=(setup.source.test.ids_NT.shape[1],),
        classes=setup.source.classes,
        tokenizer=setup.source.tokenizer.digest,
    )


def _check_reading(common: Common) -> None:
    """Raises ConfigError for flags that say nothing of a text."""
    if common.group is not None and common.devices not in (None, TEXT.devices):
        raise ConfigError("--group makes one device per owner: leave out --devices")
    if common.skew != "label":
        raise ConfigError(
            f"--skew {common.skew} changes nothing here: text is not skewed by quantity; leave it "
            "out"
        )
    settled = common.reading.settled(allowed=("missing", "separator", "text"))
    if settled is not None:
        raise ConfigError(f"{settled} is for tables and arrays of numbers: leave it out")


def _wanted(common: Common, language: Language) -> text.Wanted:
    _check_reading(common)
    return text.Wanted(
        context=language.context,
        holdout=common.holdout,
        vocabulary=language.vocabulary,
        tokenizer=language.tokenizer or _own_tokenizer(language.teacher),
        windows=language.windows or ("whole" if language.teacher.endswith(".bin") else "packed"),
        devices=common.devices or DEVICES,
        label=common.label,
        group=common.group,
        missing=common.reading.missing,
        separator=common.reading.separator,
        text=common.reading.text,
        test=common.test,
        alpha=common.alpha,
        seed=common.seed,
    )


def _check_tokenizer(model: str, chosen: Tokenizer) -> None:
    """A model that comes trained takes the ids of its own tokenizer alone. Raises ConfigError."""
    if not comes_trained(model):
        return
    rows = config(model).vocab_size
    if model.endswith(".bin") and rows != chosen.vocabulary:
        raise ConfigError(
            f"{model} has {rows} tokens and the tokenizer {chosen.name} has {chosen.vocabulary}: "
            "it is another model's; name the file that belongs to it with --tokenizer"
        )
    if any((Path(model) / name).is_file() for name in TOKENIZERS):
        check_tokenizers(from_path(Path(model)).entries, chosen.entries)


def _own_tokenizer(teacher: str) -> str | Path | None:
    """A model that comes trained brings its tokenizer, save a llama2.c file."""
    if not comes_trained(teacher):
        return None
    if is_folder(teacher):
        return Path(teacher)
    if teacher.endswith(".bin"):
        raise ConfigError(f"{teacher} has no tokenizer with it: name its file with --tokenizer")
    return teacher


def some_of(data: Dataset, windows: int) -> Dataset:
    """So many of the windows, evenly spaced; all of them if there are no more."""
    spaced = np.linspace(0, len(data) - 1, min(windows, len(data)))
    return data.take(np.unique(spaced.round().astype(np.int64)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextDivision:
    """Who owns which windows."""

    private: tuple[Dataset, ...]
    """The windows of each device; none where the data are the server's part alone."""
    pretraining_data: Dataset | None
    """The windows of the server."""
    rows: int
    """How many distinct tokens the device has that has most."""


def _of_server(served: ServedText) -> TextDivision:
    return TextDivision(private=(), pretraining_data=served.pretraining_data, rows=served.rows)


def _divided(source: text.TextSource, language: Language) -> TextDivision:
    """The first part of every device's text goes to the server, or, of labelled texts, which may be
    sorted by class, any."""
    datasets = _own(source)
    if comes_trained(language.teacher):
        return TextDivision(private=datasets, pretraining_data=None, rows=_most_tokens(datasets))
    private = []
    parts = []
    for device, data in enumerate(datasets):
        order = _order(data, device)
        cut = round(language.pretrain_share * len(data))
        if cut == len(data):
            raise ScarceError(
                "--pretrain-share leaves a device without text; lower it, or give more text"
            )
        parts.append(data.take(np.sort(order[:cut])))
        private.append(data.take(np.sort(order[cut:])))
    return TextDivision(
        private=tuple(private), pretraining_data=_joined(parts), rows=_most_tokens(private)
    )


def _most_tokens(datasets: Sequence[Dataset]) -> int:
    return max(len(np.unique(data.inputs)) for data in datasets)


def _joined(parts: Sequence[Dataset]) -> Dataset:
    inputs = np.concatenate([part.inputs for part in parts])
    if parts[0].labels is None:
        return Dataset(inputs, None)
    labels = [part.labels for part in parts if part.labels is not None]
    return Dataset(inputs, np.concatenate(labels))


def _order(data: Dataset, device: int) -> np.ndarray:
    """Drawn from the stream of the same name in every version, so that weights stay the same."""
    if data.labels is None:
        return np.arange(len(data))
    return stream(0, "school", device).permutation(len(data))


def _names(setup: TextSetup) -> dict[str, Any]:
    return {"large": setup.teacher.name, "small": [setup.student.name]}


def _data(setup: TextSetup) -> dict[str, Any]:
    facts = {
        "name": setup.source.name,
        "classes": list(setup.source.classes),
        "shape": [setup.source.train.ids_NT.shape[1]],
        "test": len(setup.test),
        "tokenizer": setup.source.tokenizer.digest,
        "digest": setup.source.digest,
    }
    if setup.pretraining_data is None:
        return facts
    return {**facts, "pretraining": len(setup.pretraining_data)}


def token_training(language: Language, *, devices: int = 1) -> TokenTraining:
    """The steps of one device, or of a server that has what so many devices would bring to each."""
    return TokenTraining(
        steps=language.steps,
        batch=language.batch * devices,
        lr=language.lr,
        kd_weight=language.kd_weight,
        temperature=language.temperature,
    )


def taking_part(common: Common, setup: TextSetup) -> int:
    """Devices in a round."""
    return min(common.per_round or len(setup.devices), len(setup.devices))


def sampled(common: Common, setup: TextSetup, method: Method[Any], *notes: str) -> Experiment:
    """An experiment whose rounds draw their devices, and cut nothing."""
    return assemble(common, setup, method, sample(common, len(setup.devices)), notes)
