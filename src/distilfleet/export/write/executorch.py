"""ExecuTorch, for phones and boards, with what XNNPACK takes handed to XNNPACK.

A file answers one sample at a time: what a board does, and memory is planned for no more. Group
normalisation stays on reference kernels and cuts a net into pieces; nets whose normalisation folds
away run in one.
"""

from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower

from ..exportable import Exportable, quiet
from ..runtimes import Precision

CALIBRATION_SAMPLES = 200


def write(model: Exportable, file: Path, precision: Precision) -> None:
    """One file with the net and its weights, for one sample at a time."""
    with quiet():
        module: Any = _quantised(model) if precision == "int8" else model.module
        program = torch.export.export(module, (model.example(1),))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        file.write_bytes(lowered.to_executorch().buffer)


def _quantised(model: Exportable) -> Any:
    """Weights and activations in eight bits, their ranges taken from samples."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantiser = XNNPACKQuantizer()
    quantiser.set_global(get_symmetric_quantization_config(is_per_channel=True))
    traced = torch.export.export(model.module, (model.example(1),)).module()
    observed = prepare_pt2e(traced, quantiser)
    for sample in model.example(CALIBRATION_SAMPLES):
        observed(sample[None])
    return convert_pt2e(observed)
