"""A model's folder and data to judge it on, for `distilfleet export`."""

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ..core.errors import ConfigError
from ..core.types import PADDING, Dataset
from ..core.units import pretty_bytes
from ..data.naming import Naming
from ..data.own import read
from ..deploy.model import DeployedModel, load
from ..export.exportable import Decoder, Exportable, answers, exportable, samples_within
from ..export.files import SCHEMA, Wish, export
from ..export.judge import IGNORED, Check, Judgement
from ..export.runtimes import Precision, runtime
from ..recipes.find import recipe
from ..recipes.flags import unflatten
from ..recipes.resume import check_data
from ..record.history import read_about
from ..training.experiment import Experiment
from .export_flags import Export

CALIBRATION_SAMPLES = 200
LEAST_SAMPLES = 4
"""Two to try the model on, two to judge it on."""
MOST_ANSWER_BYTES = 200_000_000
"""Answers that are compared: fewer windows of text where a vocabulary is large."""
RECORD = "run.toml"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """What a file is judged on."""

    data: Dataset
    name: str


def exported(asked: Export) -> Judgement:
    """Write, judge and keep the file. Raises ConfigError."""
    if asked.int8 and asked.fp16:
        raise ConfigError("--int8 and --fp16 are two precisions: give one of them")
    if not math.isfinite(asked.most_loss):
        raise ConfigError(f"--most-loss is {asked.most_loss}; expected percentage points, as in 1")
    model = load(asked.model, own_models=asked.own_models)
    judged = _judged(asked, model)
    wish = Wish(
        runtime=runtime(asked.to),
        precision=_precision(asked),
        most_loss=asked.most_loss,
    )
    calibration = min(CALIBRATION_SAMPLES, len(judged.data) // 2)
    ready = _exportable(model, judged.data.inputs[:calibration])
    unseen = np.arange(calibration if asked.int8 else 0, len(judged.data))
    trial = _trial(ready, judged.data.take(unseen), judged.name)
    return export(ready, wish, trial, model.folder)


def as_json(verdict: Judgement) -> str:
    """The verdict as one object."""
    return msgspec.json.encode({"schema": SCHEMA, **msgspec.to_builtins(verdict)}).decode()


def said(verdict: Judgement, folder: Path) -> str:
    """What is printed of a file that was kept."""
    share = verdict.bytes / verdict.weight_bytes
    data = f"{verdict.samples} samples of {verdict.data}"
    rows = (
        ("file", f"{folder / verdict.file}"),
        ("runtime", f"{verdict.version}, {verdict.precision}"),
        ("accuracy", f"{verdict.accuracy:.2%} (torch {verdict.torch_accuracy:.2%})"),
        (
            "same class",
            f"{verdict.same_class_share:.2%} of {data}",
        ),
        ("difference", f"{verdict.largest_difference:.2g} at most, of any output"),
        ("size", f"{pretty_bytes(verdict.bytes)}, {share:.2f} of the weights"),
        ("one sample", f"{1000 * verdict.sample_s:.3g} ms on one thread, median"),
        ("memory", f"{pretty_bytes(verdict.peak_memory_bytes)} at most, the runtime included"),
        *(("note", note) for note in verdict.notes),
    )
    return "\n".join(f"{name:<10} {value}" for name, value in rows)


# --- what it is judged on -----------------------------------------------------------------------


def _precision(asked: Export) -> Precision:
    if asked.int8:
        return "int8"
    return "float16" if asked.fp16 else "float32"


def _judged(asked: Export, model: DeployedModel) -> _Judged:
    found = _of_run(asked, model) if asked.check is None else _of_file(asked, model)
    if len(found.data) < LEAST_SAMPLES:
        raise ConfigError(
            f"{found.name} has {len(found.data)} samples to judge a file on; "
            f"expected at least {LEAST_SAMPLES}"
        )
    if found.data.labels is None and not _is_language(model):
        raise ConfigError(
            f"{found.name} has no labels to judge a file on; name others with --check"
        )
    return found


def _of_file(asked: Export, model: DeployedModel) -> _Judged:
    assert asked.check is not None
    if model.tokenizer is not None:
        raise ConfigError(
            "--check takes no text: a language model is judged on the test part of its run"
        )
    own = read(asked.check, Naming(label=asked.label))
    return _Judged(data=own.mapped(model.spec).data, name=asked.check)


def _of_run(asked: Export, model: DeployedModel) -> _Judged:
    """The test part of the run whose folder `models/` the model lies in."""
    run = model.folder.resolve().parent.parent
    if not (run / RECORD).is_file():
        raise ConfigError(
            f"{asked.model} lies in no run, so there is no test part to judge the file on: "
            f"name data with --check"
        )
    about = read_about(run)
    experiment = _experiment(run)
    check_data(run, about, experiment.about)
    name = about["data"]["name"]
    return _Judged(data=experiment.test, name=f"the test part of {name}")


def _experiment(run: Path) -> Experiment:
    about = read_about(run)
    found = recipe(about["recipe"])
    return found.build(unflatten(found.flags, {**about["settings"]}))


def _is_language(model: DeployedModel) -> bool:
    return model.tokenizer is not None and not model.classes


def _exportable(model: DeployedModel, samples: np.ndarray) -> Exportable:
    if model.tokenizer is None:
        return exportable(model.net, samples)
    decoder = Decoder(
        model=model.net, tokenizer=model.tokenizer.data, separator=model.tokenizer.separator
    )
    return exportable(model, samples, language=_is_language(model), decoder=decoder)


def _trial(ready: Exportable, data: Dataset, name: str) -> Check:
    count = samples_within(ready.module, data.inputs, MOST_ANSWER_BYTES)
    inputs = np.ascontiguousarray(data.inputs[:count])
    if ready.language:
        labels = np.full(inputs.shape, IGNORED)
        labels[:, :-1] = np.where(inputs[:, 1:] == PADDING, IGNORED, inputs[:, 1:])
    else:
        assert data.labels is not None
        labels = data.labels[:count]
    return Check(inputs=inputs, labels=labels, expected=answers(ready.module, inputs), data=name)
