"""A model's folder, looked at before `transformers` reads it: it may hold sizes and weights, and
name no code.

Some settings of a config.json make `transformers` fetch and run what they name, such as kernels of
a hub, and others are followed to files elsewhere. Which attention is computed and how is decided
here, not by who made the folder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..core.errors import ConfigError

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
CODE = (
    "auto_map",
    "custom_generate",
    "custom_pipelines",
    "kernel_config",
    "use_kernels",
    "trust_remote_code",
)
"""Settings that name code, or allow it."""
QUANTISED = ("quantization_config", "compression_config")
"""Settings whose weights take kernels of their own."""
IMPLEMENTATION = "implementation"
"""What names of settings have in them that choose between ways to compute the same."""
OURS = ("eager", "sdpa", "grouped_mm", "batched_mm")
"""Those ways that are part of torch and `transformers`."""
FLOATS = ("F64", "F32", "F16", "BF16")
"""Types of weights, by their names in safetensors files."""
COUNTERS = "I64"
"""The type of counters and positions, which some families keep beside them."""
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
DEEPEST = 64
"""Levels of settings inside settings that are followed."""


def check(folder: Path) -> None:
    """Raises ConfigError for a folder that names code or files elsewhere, or whose weights are no
    floats."""
    if (folder / ADAPTER).exists():
        raise ConfigError(
            f"{folder}: holds an adapter, which names a model to be fetched ({ADAPTER}): merge it "
            "into that model and save the whole"
        )
    settings = read_object(folder / CONFIG) if (folder / CONFIG).exists() else {}
    _check_settings(settings, folder / CONFIG)
    arrays = sum(_check_weights(file) for file in _weights(folder))
    layers = [settings[name] for name in LAYERS if isinstance(settings.get(name), int)]
    if arrays and max(layers, default=0) > arrays:
        raise ConfigError(
            f"{folder / CONFIG}: {max(layers)} layers, but the weights beside it are {arrays} "
            "arrays"
        )


def read_object(file: Path) -> Mapping[str, Any]:
    """What a file of JSON says by name. Raises ConfigError for one that cannot be read, or says no
    names."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{file}: not a readable {file.name} ({error}): fetch it again"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(
            f"{file}: expected an object of JSON, it is {type(found).__name__}: fetch it again"
        )
    return found


def _check_settings(settings: Mapping[str, Any], file: Path) -> None:
    for name, value in _every(settings, file):
        if name in CODE and value:
            raise ConfigError(
                f"{file}: {name} = {_short(value)} names code, and none is run that comes with a "
                "model: take it out; a family that transformers knows needs none"
            )
        if name in QUANTISED and value:
            raise ConfigError(
                f"{file}: {name} = {_short(value)} asks for kernels of its own: take the model in "
                "16 or 32 bits"
            )
        if IMPLEMENTATION in name and not _is_ours(value):
            raise ConfigError(
                f"{file}: {name} = {_short(value)}, of which none but {', '.join(OURS)} is run: "
                "take it out"
            )


def _every(settings: Mapping[str, Any], file: Path, deep: int = 0) -> Iterator[tuple[str, Any]]:
    """Names and values at any depth."""
    if deep > DEEPEST:
        raise ConfigError(
            f"{file}: settings inside settings, more than {DEEPEST} deep: fetch it again"
        )
    for name, value in settings.items():
        yield name, value
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, dict):
                yield from _every(part, file, deep + 1)


def _is_ours(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_ours, value.values()))
    return value is None or value in OURS


def _short(value: Any) -> str:
    written = json.dumps(value)
    return written if len(written) < 60 else f"{written[:57]}..."


def _weights(folder: Path) -> Sequence[Path]:
    """The files that hold weights, of which an index names those in the same folder alone."""
    index = folder / INDEX
    if not index.exists():
        return sorted(folder.glob("*.safetensors"))
    parts = read_object(index).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts.values()):
        raise ConfigError(f"{index}: no weight_map from arrays to files: fetch it again")
    names = sorted(set(parts.values()))
    for name in names:
        _check_named(name, folder, index)
    return [folder / name for name in names]


def _check_named(name: str, folder: Path, index: Path) -> None:
    if Path(name).name != name or not name.endswith(".safetensors"):
        raise ConfigError(
            f"{index}: {name!r} is no .safetensors file in this folder: fetch the model again"
        )
    if not (folder / name).is_file():
        raise ConfigError(f"{index}: {name} is not there: fetch the model again")


def _check_weights(file: Path) -> int:
    """How many arrays a file has; its end is looked for, its numbers are not read."""
    try:
        with safe_open(file, framework="numpy") as opened:
            kinds = {
                name: str(opened.get_slice(name).get_dtype())
                for name in opened.keys()  # noqa: SIM118
            }
    except (SafetensorError, OSError, ValueError) as error:
        raise ConfigError(
            f"{file}: no weights in safetensors files that can be read ({error}): fetch it again"
        ) from error
    odd = next((name for name, kind in kinds.items() if kind not in (*FLOATS, COUNTERS)), None)
    if odd is not None:
        raise ConfigError(
            f"{file}: {odd} is of type {kinds[odd]}; expected {', '.join(FLOATS)}: take it in 16 "
            "bits"
        )
    return len(kinds)
