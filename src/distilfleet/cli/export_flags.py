"""The flags of `distilfleet export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Write a trained model for a runtime of boards, and judge the file there before it is kept."""

    model: Path
    """The model's folder, such as RUN/models/large."""
    to: Literal["onnx", "executorch", "litert", "ncnn", "gguf"] = "onnx"
    """The runtime; each is an extra of distilfleet. gguf is for language models, executorch,
    litert and ncnn are for classifiers, onnx is for all."""
    int8: bool = False
    """Keep weights in eight bits, ranges taken from samples that are not judged."""
    fp16: bool = False
    """Keep weights in half precision."""
    check: str | None = None
    """Data to judge the file on, with labels, in a form that `run --data` takes. Default: the test
    part of the run that the folder lies in."""
    label: str | None = None
    """The column or key of labels in --check."""
    most_loss: float = 1.0
    """Percentage points of accuracy that the file may lose; one that loses more is not kept."""
    own_models: bool = False
    """Run the code of a model of one's own, which its folder names."""
    json: bool = False
    """Print one JSON object instead of a table."""
