"""LiteRT files in LiteRT, with its XNNPACK kernels."""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ..runtimes import Player, one_by_one


def load(file: Path) -> Player:
    """The file in an interpreter of one thread, sample by sample."""
    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    given = interpreter.get_output_details()[0]["index"]

    def answer(sample: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(taken, sample)
        interpreter.invoke()
        outputs: np.ndarray = interpreter.get_tensor(given)
        return outputs

    return one_by_one(answer)
