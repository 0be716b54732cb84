"""A method as a `RunSpec` and back: what an agent builds its worker from, names and settings, never code or data.

The server writes its method down with every array empty; an agent that has that method installed reads it into the
method's own frozen dataclass, so that nothing but its fields gets through, and asks it for a worker.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import msgspec
import numpy as np
import torch

from ..core.errors import ConfigError
from ..core.types import Dataset, Device, Method, RunSpec, Worker
from ..methods.splitkd.server import SplitKD
from ..nn.zoo import Model
from .join import EMBEDDING_ONLY
from .run import versions

METHODS = ("koala", "fedavg", "feddf", "fedmd", "local")
"""Modules of the room `methods` whose workers an agent may be asked to build."""
MUST_EQUAL = ("distilfleet", "numpy", "torch")
MOST_SPEC_BYTES = 256 << 10


def spec_of(method: Method[Any], seed: int) -> RunSpec:
    """Raises ConfigError for a method that agents do not have."""
    packages = {name: version for name, version in versions().items() if name in MUST_EQUAL}
    if isinstance(method, SplitKD):
        settings = msgspec.to_builtins(method.split)
        return RunSpec(method=EMBEDDING_ONLY, settings=settings, models={}, versions=packages, seed=seed)
    name = type(method).__module__.rpartition(".")[2]
    if name not in METHODS or type(method) is not _kind(name):
        able = ", ".join((*METHODS, EMBEDDING_ONLY))
        raise ConfigError(f"{type(method).__name__} cannot run on a real fleet yet; these can: {able}")
    settings = msgspec.to_builtins(method, enc_hook=_emptied)
    models = {model.name: "zoo" for model in _models(method)}
    return RunSpec(method=name, settings=settings, models=models, versions=packages, seed=seed)


def write_spec(spec: RunSpec) -> bytes:
    data = msgspec.msgpack.encode(spec)
    if len(data) > MOST_SPEC_BYTES:
        raise ConfigError(f"the settings of this run take {len(data)} bytes; agents take {MOST_SPEC_BYTES}")
    return data


def build_worker(spec: RunSpec, device: Device, data: Dataset, own_models: bool) -> Worker:
    """Raises ConfigError for what is not installed or not allowed here."""
    _check_versions(spec.versions)
    method = method_of(spec)
    foreign = [model.name for model in _models(method) if ":" in model.name]
    if foreign and not own_models:
        raise ConfigError(f"model {foreign[0]} is not of the zoo, and this device builds no others")
    torch.set_num_threads(1)
    return method.worker(device, data, spec.seed)


def method_of(spec: RunSpec) -> Method[Any]:
    """Raises ConfigError for what is not installed or does not fit its fields."""
    if spec.method not in METHODS:
        raise ConfigError(f"no method {spec.method!r} here; there are {', '.join(METHODS)}")
    try:
        method: Method[Any] = msgspec.convert(spec.settings, _kind(spec.method), dec_hook=_empty)
    except (msgspec.ValidationError, RecursionError, TypeError, ValueError) as fault:
        raise ConfigError(f"the settings of {spec.method} do not fit the version here: {fault}") from None
    return method


def _kind(name: str) -> type[Any]:
    """The method's class, which its smallest instance has."""
    module = importlib.import_module(f"distilfleet.methods.{name}")
    kind = get_type_hints(module.tiny)["return"]
    assert isinstance(kind, type)
    return kind


def _emptied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, *(int(size) for size in value.shape[1:])]
    raise NotImplementedError(f"{type(value).__name__} cannot be written down")


def _empty(kind: type, value: Any) -> Any:
    if kind is np.ndarray and isinstance(value, list) and value and isinstance(value[0], str):
        return np.zeros((0, *(int(size) for size in value[1:])), value[0])
    raise NotImplementedError


def _models(value: Any) -> Iterator[Model]:
    """All that a method has in its fields."""
    if isinstance(value, Model):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _models(part)
    elif is_dataclass(value) and not isinstance(value, Dataset):
        for field in fields(value):
            yield from _models(getattr(value, field.name))


def _check_versions(there: Mapping[str, str]) -> None:
    here = versions()
    for name in MUST_EQUAL:
        if there.get(name) != here[name]:
            raise ConfigError(f"the server has {name} {there.get(name)}, this device {here[name]}: install the same")
