"""The runtimes that a model is exported for: what each one's file is called, and which packages
write and run it.

Each has a module of its name in `export.write`, a `Writer`, and one in `export.play`, a `Loader`.
Writers need torch; loaders do not, and neither does this file, so that a device answers with an
exported model and without torch.
"""

from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal, Protocol, cast

import msgspec
import numpy as np

from ..core.errors import ConfigError, did_you_mean

Precision = Literal["float32", "float16", "int8"]
Player = Callable[[np.ndarray], np.ndarray]
"""What a loaded file answers: for inputs with the sample axis first the outputs, float32 with the
sample axis first."""


class Loader(Protocol):
    """A module that runs files in one runtime, on one thread."""

    def load(self, file: Path) -> Player:
        """The file, ready to answer."""


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """A runtime of boards, phones or servers."""

    name: str
    """What `--to` calls it, and the extra of distilfleet that brings its packages."""
    suffix: str
    """The ending of its files."""
    packages: tuple[str, ...]
    """The distributions that its player comes from, the one that runs the file first."""
    precisions: tuple[Precision, ...] = ("float32",)
    """In which numbers it can keep weights."""
    of_language_models: bool = True
    """Whether it can take models that answer each position of a text of any length."""
    of_others: bool = True
    """Whether it can take classifiers."""

    def file_name(self, precision: Precision) -> str:
        """The name of its file in a model's folder."""
        return (
            f"model{self.suffix}" if precision == "float32" else f"model.{precision}{self.suffix}"
        )

    @property
    def version(self) -> str:
        """Name and version of what runs the file; the name alone where it is not installed."""
        try:
            return f"{self.packages[0]} {metadata.version(self.packages[0])}"
        except metadata.PackageNotFoundError:
            return self.packages[0]


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            name="onnx",
            suffix=".onnx",
            packages=("onnxruntime", "onnx", "onnxscript"),
            precisions=("float32", "float16", "int8"),
        ),
        Runtime(
            name="gguf",
            suffix=".gguf",
            packages=("gguf", "transformers"),
            precisions=("float32", "float16", "int8"),
            of_others=False,
        ),
        Runtime(
            name="executorch",
            suffix=".pte",
            packages=("executorch",),
            precisions=("float32", "int8"),
            of_language_models=False,
        ),
        Runtime(
            name="ncnn",
            suffix=".ncnn.param",
            packages=("ncnn", "pnnx"),
            precisions=("float32", "float16"),
            of_language_models=False,
        ),
        Runtime(
            name="litert",
            suffix=".tflite",
            packages=("ai-edge-litert", "litert-torch"),
            of_language_models=False,
        ),
    )
}


def runtime(name: str) -> Runtime:
    """The runtime of this name. Raises ConfigError."""
    if name not in RUNTIMES:
        raise ConfigError(
            f"there is no runtime {name!r} to export for{did_you_mean(name, RUNTIMES)}; "
            f"there are {', '.join(RUNTIMES)}"
        )
    return RUNTIMES[name]


def loader(target: Runtime) -> Loader:
    """The module that runs its files."""
    return cast(Loader, import_module(f".play.{target.name}", __package__))


def one_by_one(answer: Player) -> Player:
    """A player of many samples from one that takes a single one."""

    def answers(inputs: np.ndarray) -> np.ndarray:
        return np.concatenate([answer(inputs[row : row + 1]) for row in range(len(inputs))])

    return answers


def missing(target: Runtime, fault: ModuleNotFoundError) -> ConfigError:
    """What to say where a package of a runtime is not installed."""
    return ConfigError(
        f"{target.name} files need the package {fault.name}, which is not installed: "
        f"pip install 'distilfleet[{target.name}]'"
    )
