"""A method as a `RunSpec` and back: what an agent builds its worker from, names and settings, never
code or data.

The server writes its method down with every array empty; an agent that has that method installed
reads it into the method's own frozen dataclass, so that nothing but its fields gets through, and
asks it for a worker.
"""

import importlib
import logging
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec
import numpy as np
import torch

from .. import methods
from ..core.errors import ConfigError
from ..core.protocols import Method, Worker
from ..core.types import Dataset, Device, LanguageProfile, RunSpec
from ..data.spec import DataSpec
from ..data.spec import write as write_data
from ..methods.splitkd.device import FrontLayers
from ..nn.zoo import Model
from ..training.loop import PROCESSOR, versions
from .agent_flags import Consent
from .checks import SPLITKD, Half, check_labels, check_version, check_windows

if TYPE_CHECKING:  # imports of seconds, made where a run is of text
    from ..nn.language import LanguageModel

log = logging.getLogger(__name__)
METHODS = tuple(
    module.name for module in pkgutil.iter_modules(methods.__path__) if not module.ispkg
)
"""Modules of the room `methods`; whether agents may be asked for one's workers is among its
facts."""
SPLITKD_SERVER = "distilfleet.methods.splitkd.server"
LANGUAGE = "distilfleet.nn.language"
MUST_EQUAL = ("distilfleet", "numpy", "torch")
MOST_SPEC_BYTES = 1 << 20
"""What one message holds: a table of some 25,000 columns."""
WHOLE_STUDENT = 2
"""Copies of the student that a device holds while it cuts its layers out."""
DTYPES = {str(one): one for one in (torch.float32, torch.float16, torch.bfloat16)}


def spec_of(method: Method[Any], seed: int, data: DataSpec | None = None) -> RunSpec:
    """Raises ConfigError for a method that agents do not have.

    Args:
        data: what the run means by inputs and labels; without it, devices take only parts that they
            need not match.
    """
    if type(method).__module__ == SPLITKD_SERVER:
        name = SPLITKD
        half = _half(method)
        settings = msgspec.to_builtins(half)
        models = {half.student: "language"}
    else:
        name = _name_of(method)
        settings = msgspec.to_builtins(method, enc_hook=_emptied)
        models = {
            one.name: "zoo" if isinstance(one, Model) else "language" for one in _models(method)
        }
    checked = (*MUST_EQUAL, PROCESSOR)
    return RunSpec(
        method=name,
        settings=settings,
        models=models,
        versions={name: version for name, version in versions().items() if name in checked},
        seed=seed,
        data={} if data is None else write_data(data),
    )


def _half(method: Method[Any]) -> Half:
    """What a device must know of split distillation."""
    from ..methods.splitkd.server import SplitKD

    assert isinstance(method, SplitKD)
    return Half(
        split=method.split,
        student=method.student.name,
        vocabulary=method.student.vocabulary,
        lora_rank=method.lora_rank,
    )


def _name_of(method: Method[Any]) -> str:
    """The module of a method that agents have. Raises ConfigError for another one."""
    name = type(method).__module__.rpartition(".")[2]
    if name in METHODS and type(method) is _kind(name) and method.facts.real_fleet:
        return name
    able = [one for one in METHODS if _module(one).tiny().facts.real_fleet]
    raise ConfigError(
        f"{type(method).__name__} cannot run on a real fleet yet; these can: "
        f"{', '.join([*able, SPLITKD])}"
    )


def write_spec(spec: RunSpec) -> bytes:
    data = msgspec.msgpack.encode(spec)
    if len(data) > MOST_SPEC_BYTES:
        raise ConfigError(
            f"the settings of this run take {len(data)} bytes; agents take {MOST_SPEC_BYTES}"
        )
    return data


def build_worker(spec: RunSpec, device: Device, data: Dataset, consent: Consent) -> Worker:
    """Raises ConfigError for what is not installed or not allowed here, or does not fit this
    device's data."""
    method = method_of(spec)
    if method.facts.discloses == "everything" and not consent.data:
        raise ConfigError(
            f"{spec.method} sends a device's data to the server; this one's owner has not agreed"
        )
    _check_versions(spec)
    worker = method.worker(device, data, spec.seed)
    for mine in _models(worker):  # what else the method has stays on the server
        _check_model(mine, worker, data, consent)
    torch.set_num_threads(1)
    return worker


def _check_model(
    mine: "Model | LanguageModel", worker: Worker, data: Dataset, consent: Consent
) -> None:
    """Raises ConfigError for a model that is not allowed here, or does not fit the data."""
    if isinstance(mine, Model):
        _allow(mine.name, ":" not in mine.name, consent.own_models)
        check_samples(data, mine)
    else:
        _check_language(mine, consent.own_models)
        check_windows(data, mine.context, mine.vocabulary, mine.classes)
        _check_profile(mine, getattr(worker, "profile", None))


def front(spec: RunSpec, half: Half, device: Device, layers: int, own_models: bool) -> FrontLayers:
    """The student's first layers. Raises ConfigError as `build_worker` does."""
    from ..methods.splitkd.server import SplitKD
    from ..nn.language import LanguageModel

    _check_versions(spec)
    split = half.split
    student = LanguageModel(
        name=half.student, vocabulary=half.vocabulary, context=split.context, classes=split.classes
    )
    _check_language(student, own_models)
    _check_profile(student, split.student)
    if WHOLE_STUDENT * 4 * split.student.parameters > device.memory_bytes:
        raise ConfigError(
            f"{student.name} does not fit this device's memory, from which its layers are cut"
        )
    torch.set_num_threads(1)
    return SplitKD(teacher=None, student=student, split=split, lora_rank=half.lora_rank).front(
        "student", layers
    )


def _allow(name: str, known: bool, own_models: bool) -> None:
    if not known and not own_models:
        raise ConfigError(f"model {name} is not of the zoo, and this device builds no others")


def _check_language(model: "LanguageModel", own_models: bool) -> None:
    from ..nn.language import is_new

    _allow(model.name, is_new(model.name), own_models)


def _check_profile(model: "LanguageModel", said: LanguageProfile | None) -> None:
    """Memory is reckoned from the profile, so that of a smaller model would get past the device's
    limits."""
    from ..nn.language import is_published
    from ..nn.trace import weighs

    if said is not None and not weighs(
        model.name, said, None if is_published(model.name) else model.vocabulary
    ):
        raise ConfigError(f"the profile that came with {model.name} is that of another model")


def check_samples(data: Dataset, model: Model) -> None:
    """Raises ConfigError for data that this model does not take."""
    wanted = np.dtype(model.dtype)
    if data.shape != model.shape or data.inputs.dtype != wanted:
        here = f"{data.inputs.dtype} of shape {list(data.shape)}"
        raise ConfigError(
            f"samples are {here} here; {model.name} takes {wanted} of shape {list(model.shape)}"
        )
    check_labels(data, model.classes)


def method_of(spec: RunSpec) -> Method[Any]:
    """Raises ConfigError for what is not installed or does not fit its fields."""
    if spec.method not in METHODS:
        raise ConfigError(f"no method {spec.method!r} here; there are {', '.join(METHODS)}")
    try:
        method: Method[Any] = msgspec.convert(spec.settings, _kind(spec.method), dec_hook=_empty)
    except (msgspec.ValidationError, RecursionError, TypeError, ValueError) as fault:
        raise ConfigError(
            f"the settings of {spec.method} do not fit the version here: {fault}"
        ) from None
    if not method.facts.real_fleet:
        raise ConfigError(f"{spec.method} is for simulations alone")
    return method


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{methods.__name__}.{name}")


def _kind(name: str) -> type[Any]:
    """The method's class, which its smallest instance has."""
    kind = get_type_hints(_module(name).tiny)["return"]
    assert isinstance(kind, type)
    return kind


def _emptied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, *(int(size) for size in value.shape[1:])]
    if isinstance(value, torch.dtype):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} cannot be written down")


def _empty(kind: type, value: Any) -> Any:
    if kind is np.ndarray and isinstance(value, list) and value and isinstance(value[0], str):
        return np.zeros((0, *(int(size) for size in value[1:])), value[0])
    if kind is torch.dtype and value in DTYPES:
        return DTYPES[value]
    raise NotImplementedError


def _models(value: Any) -> Iterator["Model | LanguageModel"]:
    """All that a method, or a worker, has in its fields."""
    if isinstance(value, Model) or (type(value).__module__, type(value).__name__) == (
        LANGUAGE,
        "LanguageModel",
    ):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _models(part)
    elif is_dataclass(value) and not isinstance(value, Dataset):
        for field in fields(value):
            yield from _models(getattr(value, field.name))


def _check_versions(spec: RunSpec) -> None:
    here = versions()
    for name in MUST_EQUAL:
        check_version(spec, name, here[name])
    if spec.versions.get(PROCESSOR) != here[PROCESSOR]:
        log.warning(
            "this device computes with %s, the server with %s: weights will not equal a "
            "simulation's to the bit",
            *(here[PROCESSOR], spec.versions.get(PROCESSOR, "something it does not say")),
        )
