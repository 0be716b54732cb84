"""ONNX, for ONNX Runtime and many others.

What torch's exporter writes by itself is not shipped: a third of a small net's file is notes with
paths and source lines of the machine that exported it, and weights lie in a second file. Opset 20
keeps GroupNorm as InstanceNormalization, which ONNX Runtime runs 1.6 to 1.9 times as fast as the
one node that later opsets have for it, and which int8 leaves in one piece.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch.export import Dim

from ..exportable import Exportable, quiet
from ..runtimes import Precision

OPSET = 20
MOST_IN_ONE_FILE_BYTES = 1_900_000_000
"""A protobuf message ends at two GiB; larger models have their weights beside the file."""
CALIBRATION_SAMPLES = 200
INPUT = "inputs"
OUTPUT = "outputs"


def write(model: Exportable, file: Path, precision: Precision) -> None:
    """One file with the net and its weights, for any number of samples and, of a language model,
    any length."""
    with quiet():
        exported = stripped(_exported(model))
        if precision == "float16":
            exported = _halved(exported)
        if precision == "int8":
            _quantise(exported, model, file)
        else:
            large = model.weight_bytes > MOST_IN_ONE_FILE_BYTES
            onnx.save_model(
                exported, file, save_as_external_data=large, location=f"{file.name}.data"
            )


def stripped(exported: ModelProto) -> ModelProto:
    """The same net, in place, without what the exporter noted of its machine, code and shapes."""
    graphs = [exported.graph, *exported.functions]
    del exported.graph.value_info[:]
    for noted in (exported, *graphs, *_parts(graphs)):
        noted.doc_string = ""
        del noted.metadata_props[:]
    return exported


def _parts(graphs: list[Any]) -> Iterator[Any]:
    for graph in graphs:
        yield from graph.node
    main = graphs[0]
    for kind in (main.input, main.output, main.initializer):
        yield from kind


def _exported(model: Exportable) -> ModelProto:
    # two samples: a batch of one would be taken for a constant
    dynamic = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} if model.language else {0: Dim.DYNAMIC}
    program = torch.onnx.export(
        model.module,
        (model.example(2),),
        dynamo=True,
        dynamic_shapes=(dynamic,),
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        external_data=False,
        verbose=False,
    )
    assert program is not None, "the exporter that traces graphs returns a program"
    exported: ModelProto = program.model_proto
    return exported


def _halved(exported: ModelProto) -> ModelProto:
    """Weights and arithmetic in half precision; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved: ModelProto = convert_float_to_float16(exported, keep_io_types=True)
    return halved


def _quantise(exported: ModelProto, model: Exportable, file: Path) -> None:
    """Weights and activations in eight bits, their ranges taken from samples; weights alone for
    language models."""
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        plain, prepared = Path(folder, "plain.onnx"), Path(folder, "prepared.onnx")
        onnx.save_model(exported, plain)
        if model.language:
            quantize_dynamic(plain, file, weight_type=QuantType.QUInt8)
        else:
            quant_pre_process(plain, prepared)
            quantize_static(
                prepared, file, _Samples(model.samples[:CALIBRATION_SAMPLES]), per_channel=True
            )
    onnx.save_model(stripped(onnx.load_model(file)), file)


class _Samples:
    """Samples one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, samples: np.ndarray) -> None:
        self._rest = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        sample = next(self._rest, None)
        return None if sample is None else {INPUT: sample[None]}
