"""ncnn files in ncnn, in the precision that the file's name says.

By itself ncnn keeps weights and activations in half precision or bfloat16 where a processor has
them. A file in float32 is played in float32: whoever loads it elsewhere sets the same four options.
"""

from pathlib import Path

import ncnn
import numpy as np

from ..runtimes import Player, one_by_one

INPUT = "in0"
OUTPUT = "out0"


def load(file: Path) -> Player:
    """The net of a `.param` file and the `.bin` file beside it."""
    net = ncnn.Net()
    net.opt.num_threads = 1
    halved = ".float16." in file.name
    net.opt.use_fp16_packed = halved
    net.opt.use_fp16_storage = halved
    net.opt.use_fp16_arithmetic = halved
    net.opt.use_bf16_storage = False
    if net.load_param(str(file)) or net.load_model(str(file.with_suffix(".bin"))):
        raise RuntimeError(f"ncnn cannot read {file.name}")

    def answer(sample: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        # ncnn has no axis of samples, and reads memory row by row whatever a view says
        extractor.input(INPUT, ncnn.Mat(np.ascontiguousarray(sample[0])))
        fault, outputs = extractor.extract(OUTPUT)
        if fault:
            raise RuntimeError(f"ncnn fails on a sample of shape {list(sample[0].shape)}")
        return np.array(outputs, dtype=np.float32).reshape(1, -1)

    return one_by_one(answer)
