"""What a model's folder says beside its weights: frozen data, each in a JSON file with a schema
number.

model.safetensors     the weights, under the names that the module has
architecture.json     a net of the zoo or of the user's own: its name, shape and classes
config.json           a model of `transformers`, in its place
preprocessing.json    what stored samples are turned into before the model sees them
tokenizer.json        with tokenizer_config.json: of models that take text
README.md             the model card
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from ..core.disk import PREVIOUS, UNFINISHED, whole
from ..core.errors import ConfigError
from ..data import spec as specs
from ..data.spec import DataSpec

SCHEMA = 1
WEIGHTS = "model.safetensors"
ARCHITECTURE = "architecture.json"
CONFIG = "config.json"
PREPROCESSING = "preprocessing.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CARD = "README.md"
REMEDY = "take the folder from its run again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A net that is built by a name."""

    schema: int = SCHEMA
    family: Literal["zoo", "own"]
    """Whether it is one of the zoo, or of the user's own code."""
    name: str
    """The name that `nn.zoo.model` takes."""
    shape: tuple[int, ...]
    """The shape of one sample."""
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What lies between stored samples and the model's inputs."""

    schema: int = SCHEMA
    data: DataSpec | None = None
    """The run's meaning of samples and classes; None where the run did not say."""
    shape: tuple[int, ...] = ()
    """The shape of one of the net's inputs; empty of a decoder."""
    classes: int = 0
    """How many classes the net tells apart; 0 of a decoder."""
    context: int = 0
    """Tokens of the longest text; 0 of a model that takes no tokens."""
    vocabulary: int = 0
    """Ids of the tokenizer; 0 of a model that takes no tokens."""


class _Numbered(msgspec.Struct):
    """What is read first: whether the rest can be understood."""

    schema: int


Facts = TypeVar("Facts", Architecture, Preprocessing)


def written(facts: Architecture | Preprocessing) -> bytes:
    """The file's bytes, indented for people."""
    return msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n"


def read(file: Path, kind: type[Facts]) -> Facts:
    """Raises ConfigError for a file that is absent, damaged, or of a newer version."""
    try:
        data = file.read_bytes()
    except OSError as fault:
        raise ConfigError(f"{file} cannot be read: {fault.strerror}; {REMEDY}") from None
    try:
        schema = msgspec.json.decode(data, type=_Numbered).schema
        if schema > SCHEMA:
            raise ConfigError(
                f"{file} is of schema {schema}, and this version reads up to {SCHEMA}: install a "
                "newer distilfleet"
            )
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{file} is damaged: {fault}; {REMEDY}") from None


def preprocessing_of(folder: Path) -> Preprocessing:
    """Raises ConfigError, also for what a `DataSpec` may not say."""
    found = read(folder / PREPROCESSING, Preprocessing)
    if found.data is not None:
        specs.read(specs.write(found.data))
    return found


def meaning_of(folder: Path, preprocessing: Preprocessing) -> DataSpec:
    """What a model's run means by samples and classes. Raises ConfigError where it did not say."""
    if preprocessing.data is None:
        raise ConfigError(
            f"{folder}: its run did not say what samples and classes are: give inputs, not data"
        )
    return preprocessing.data


def model_folder(place: str | Path) -> Path:
    """The folder of that name, or the generation before it where a crash left that alone. Raises
    ConfigError."""
    folder = whole(Path(place).expanduser())
    if (folder / PREPROCESSING).is_file():
        return folder
    if not folder.exists():
        raise ConfigError(
            f"{place}: no such folder; expected that of a model, such as RUN/models/large"
        )
    for models in (folder / "models", folder):
        if inside := names_in(models):
            named = ", ".join(str(models / name) for name in inside)
            raise ConfigError(f"{place} holds models; name one of them: {named}")
    raise ConfigError(
        f"{place} is no model's folder: it has no {PREPROCESSING}; expected one such as "
        "RUN/models/large"
    )


def names_in(models: Path) -> list[str]:
    """Names of the models in a folder of them, those that a crash left as their former generation
    alone included."""
    found = (file.parent.name for file in models.glob(f"*/{PREPROCESSING}"))
    return sorted({name.removesuffix(PREVIOUS) for name in found if not name.endswith(UNFINISHED)})


def plain(spec: DataSpec) -> dict[str, Any]:
    """For files that list classes by number."""
    return {
        "id2label": dict(enumerate(spec.classes)),
        "label2id": {name: n for n, name in enumerate(spec.classes)},
    }
