"""ONNX files in ONNX Runtime."""

from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession, SessionOptions

from ..runtimes import Player

ERRORS_ALONE = 3


def load(file: Path) -> Player:
    """The file in a session of one thread, which takes any number of samples at once."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ALONE
    session = InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0].name

    def answer(inputs: np.ndarray) -> np.ndarray:
        outputs: np.ndarray = session.run(None, {taken: inputs})[0]
        return outputs

    return answer
