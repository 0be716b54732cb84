"""GGUF files as the `gguf` library reads them, in torch through `transformers`.

llama.cpp, which will run them, is a program of its own; that it says the same is shown beside the
tests, not each time a file is written.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from ...nn.place import to_array, to_tensor
from ..runtimes import Player


def load(file: Path) -> Player:
    """The file's decoder, on one thread."""
    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, dtype=torch.float32
    )
    model.eval()

    def answer(inputs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return to_array(model(to_tensor(inputs).long()).logits)

    return answer
