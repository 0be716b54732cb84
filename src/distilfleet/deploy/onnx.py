"""A model's folder in ONNX Runtime, for machines without torch: what `distilfleet export --to onnx`
wrote beside the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from ..data.spec import DataSpec
from . import facts
from .facts import Preprocessing

FILE = "model.onnx"
BATCH = 32
"""Samples that are judged at a time: more take memory and no less time."""
ERRORS_ALONE = 3
"""How much of what goes on the runtime says."""


class OnnxModel:
    """A classifier of samples that are numbers."""

    def __init__(self, folder: Path, preprocessing: Preprocessing, session: Any) -> None:
        self.folder = folder
        self.preprocessing = preprocessing
        self._session = session

    @property
    def spec(self) -> DataSpec:
        """What the model's run means by samples and classes. Raises ConfigError if it did not
        say."""
        return facts.meaning_of(self.folder, self.preprocessing)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs."""
        return self.spec.classes

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Probabilities [n, C] float32 of inputs as the folder's preprocessing gives them."""
        starts = range(0, len(inputs), BATCH)
        return np.concatenate([self._shares(inputs[at : at + BATCH]) for at in starts])

    def _shares(self, inputs: np.ndarray) -> np.ndarray:
        given: Mapping[str, np.ndarray] = {self._session.get_inputs()[0].name: inputs}
        logits_BC = self._session.run(None, given)[0].astype(np.float32)
        powers_BC = np.exp(logits_BC - logits_BC.max(axis=1, keepdims=True))
        shares: np.ndarray = powers_BC / powers_BC.sum(axis=1, keepdims=True)
        return shares


def lies_in(folder: Path) -> bool:
    """Whether the folder has an exported form."""
    return (folder / FILE).is_file()


def load(place: str | Path) -> OnnxModel:
    """Raises ConfigError for a folder without an exported form, or one that cannot be played."""
    folder = facts.model_folder(place)
    if not lies_in(folder):
        raise ConfigError(
            f"{folder}: no {FILE}, which machines without torch need: write it with "
            f"`distilfleet export {folder} --to onnx` where torch is, or install "
            "'distilfleet[train]'"
        )
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ModuleNotFoundError:
        raise ConfigError(f"{folder / FILE} needs onnxruntime: pip install onnxruntime") from None
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ALONE
    try:
        session = InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # of the runtime's own kinds
        first = str(fault).strip().splitlines()[0][:200]
        raise ConfigError(f"{folder / FILE} cannot be played: {first}; export it again") from None
    return OnnxModel(folder, facts.preprocessing_of(folder), session)
