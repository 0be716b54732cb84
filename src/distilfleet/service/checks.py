"""What an agent checks of a run before it trains; nothing here needs torch."""

from dataclasses import dataclass

from ..core.errors import ConfigError
from ..core.types import Dataset, RunSpec
from ..methods.splitkd.settings import SplitSettings

SPLITKD = "splitkd"
"""The method of which agents have a half that needs no torch, unless layers are asked of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """What a device is told of split KD: the settings, and the student that its layers are cut
    from."""

    split: SplitSettings
    student: str
    vocabulary: int
    lora_rank: int = 0


def check_windows(data: Dataset, context: int, vocabulary: int, classes: int | None) -> None:
    """Raises ConfigError for data that are no windows of tokens for such a run."""
    if data.inputs.ndim != 2 or data.inputs.dtype.kind != "i":
        raise ConfigError(
            "this device's data are no windows of tokens: `distilfleet split --recipe` writes them"
        )
    if data.inputs.shape[1] != context or data.inputs.max(initial=0) >= vocabulary:
        here = f"{data.inputs.shape[1]} tokens with ids up to {data.inputs.max(initial=0)}"
        raise ConfigError(
            f"windows are of {here} here, of {context} tokens out of {vocabulary} in the run"
        )
    check_labels(data, classes)


def check_labels(data: Dataset, classes: int | None) -> None:
    """Raises ConfigError."""
    if classes is None:
        return
    if not len(data):
        raise ConfigError("this device has no samples; it needs at least one")
    if data.labels is None:
        raise ConfigError(
            f"this device's data have no labels; the run has {classes} classes: name them with "
            "--label"
        )
    if not 0 <= data.labels.min() <= data.labels.max() < classes:
        strange = data.labels.min() if data.labels.min() < 0 else data.labels.max()
        raise ConfigError(
            f"this device has a class {strange}; the run has {classes} classes, from 0 on"
        )


def check_version(spec: RunSpec, name: str, here: str) -> None:
    """Raises ConfigError: weights would differ."""
    if spec.versions.get(name) != here:
        raise ConfigError(
            f"the server has {name} {spec.versions.get(name)}, this device {here}: install the same"
        )
