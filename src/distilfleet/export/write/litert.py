"""LiteRT, which was TensorFlow Lite: for Android, Arm boards and, as a C array, microcontrollers.

A file answers one sample at a time, in the axes that torch has. What is transposed on the way is
mostly group normalisation: a net whose normalisation folds away keeps one transposition. The
converter names each tensor after the Python classes that it came through, which makes up a third of
a small net's file: those names are left out.
"""

from pathlib import Path
from typing import Any

import flatbuffers
import litert_torch
from ai_edge_litert import schema_py_generated as schema

from ..exportable import Exportable, quiet
from ..runtimes import Precision

FILE_IDENTIFIER = b"TFL3"
FIRST_BYTES = 1 << 16
"""The builder's memory at first; it grows."""


def write(model: Exportable, file: Path, precision: Precision) -> None:
    """One file with the net and its weights, for one sample at a time."""
    assert precision == "float32", "the one precision that is offered"
    with quiet():
        litert_torch.convert(model.module, (model.example(1),)).export(str(file))
    file.write_bytes(without_names(file.read_bytes()))


def without_names(data: bytes) -> bytes:
    """The same file without names of tensors; inputs and outputs keep those of the signature."""
    net: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    for graph in net.subgraphs:
        for tensor in graph.tensors:
            tensor.name = b""
    builder = flatbuffers.Builder(FIRST_BYTES)
    builder.Finish(net.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())
