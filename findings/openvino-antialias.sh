#!/usr/bin/env bash
# OpenVINO shrinks a picture without the smoothing that the ONNX model asks for.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6, x86-64.
# Guess:    Resize (linear, antialias=1, 9x9 to 4x4) gives the same numbers in onnxruntime and OpenVINO at float32, or is refused.
# Seen:     onnxruntime smooths. OpenVINO compiles it without a word and gives, to the digit, what the model with antialias=0 gives.
# Meaning:  a net that resizes inside itself, as torch writes interpolate(..., antialias=True), sees other pictures on such a
#           server than it was trained on: accuracy drops where pictures shrink most. Resize before the net, or judge the file in
#           the runtime that will run it.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"
"$T/v/bin/pip" install -q --disable-pip-version-check openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$T"; v/bin/python - <<'P'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

def model(antialias):
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear", antialias=antialias,
                            coordinate_transformation_mode="half_pixel")
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, 4, 4])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 9, 9])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 4, 4])
    made = helper.make_model(helper.make_graph([node], "g", [x], [y], [sizes]), opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 10
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()

picture = np.random.default_rng(0).random((1, 1, 9, 9), np.float32)
core = openvino.Core()

def in_onnxruntime(antialias):
    return onnxruntime.InferenceSession(model(antialias)).run(None, {"x": picture})[0]

def in_openvino(antialias):
    compiled = core.compile_model(core.read_model(model(antialias)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([picture])[0]

def apart(a, b):
    return float(np.abs(a - b).max())

print("without antialias, the two differ by", apart(in_onnxruntime(0), in_openvino(0)))
print("with antialias, the two differ by", apart(in_onnxruntime(1), in_openvino(1)))
print("OpenVINO with and without it differ by", apart(in_openvino(1), in_openvino(0)))
assert apart(in_onnxruntime(0), in_openvino(0)) < 1e-5
assert apart(in_onnxruntime(1), in_openvino(1)) > 0.1 and apart(in_openvino(1), in_openvino(0)) == 0.0
P
