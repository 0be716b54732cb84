"""ExecuTorch files in ExecuTorch, whose Python interface takes torch's tensors.

Peak memory is therefore that of torch and the runtime together; on a board the runtime is alone.
"""

from pathlib import Path

import numpy as np
from executorch.runtime import Runtime as Program

from ...nn.place import borrowed, to_array
from ..runtimes import Player, one_by_one


def load(file: Path) -> Player:
    """The file's method `forward`, sample by sample."""
    method = Program.get().load_program(file).load_method("forward")

    def answer(sample: np.ndarray) -> np.ndarray:
        return to_array(method.execute([borrowed(sample)])[0])

    return one_by_one(answer)
