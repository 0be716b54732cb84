#!/usr/bin/env bash
# pnnx writes ncnn files that leave out a layer's setting, and says nothing.
#
# Versions: pnnx 20261020, ncnn 1.0.20261020, torch 2.13.0, numpy 2.4.6, x86-64.
# Guess:    of sixty small layers each is either the same in ncnn as in torch within 1e-4 (float32 kept, rounding off), or refused.
# Seen:     most are. Conv2d with padding_mode="circular" answers as with zeros around the picture; RNN with nonlinearity="relu"
#           answers as with tanh. The converter exits 0, the file loads, the answer has the right shape.
# Meaning:  rotating machines (circular padding along the angle) and small recurrent nets are wrong on the board alone. Judge the
#           file in its runtime on samples before it is shipped. Padding by hand (torch.nn.functional.pad, then a plain
#           convolution) and GRU or LSTM are right.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"
"$T/v/bin/pip" install -q --disable-pip-version-check pnnx==20261020 ncnn==1.0.20261020 torch==2.13.0 numpy==2.4.6
cd "$T"; v/bin/python - <<'P'
import subprocess
import ncnn
import numpy as np
import torch
from torch import nn

class Recurrent(nn.Module):
    def __init__(self, nonlinearity):
        super().__init__()
        self.rnn = nn.RNN(6, 5, batch_first=True, nonlinearity=nonlinearity)

    def forward(self, x):
        return self.rnn(x)[0]

def in_torch(module, x):
    with torch.no_grad():
        return module(x).numpy()[0]

def in_ncnn(module, x, name):
    torch.jit.trace(module, x, check_trace=False).save(f"{name}.pt")
    shape = "[" + ",".join(map(str, x.shape)) + "]f32"
    subprocess.run(["v/bin/pnnx", f"{name}.pt", f"inputshape={shape}", "fp16=0"], check=True, capture_output=True)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    assert net.load_param(f"{name}.ncnn.param") == 0 and net.load_model(f"{name}.ncnn.bin") == 0
    run = net.create_extractor()
    run.input("in0", ncnn.Mat(np.ascontiguousarray(x[0].numpy())))
    status, answer = run.extract("out0")
    assert status == 0
    return np.array(answer)

def apart(a, b):
    return float(np.abs(a - b).max())

torch.manual_seed(0)
picture, series = torch.randn(1, 6, 9, 9), torch.randn(1, 12, 6)
circular = nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular").eval()
zeros = nn.Conv2d(6, 4, 3, padding=1).eval()
zeros.load_state_dict(circular.state_dict())
relu, tanh = Recurrent("relu").eval(), Recurrent("tanh").eval()
tanh.load_state_dict(relu.state_dict())
seen = {}
for name, module, other, x in (("circular", circular, zeros, picture), ("relu", relu, tanh, series)):
    answer = in_ncnn(module, x, name)
    seen[name] = (apart(answer, in_torch(module, x)), apart(answer, in_torch(other, x)))
    print(f"{name}: {seen[name][0]:.3f} off what torch says, {seen[name][1]:.1e} off the other setting")
print(f"without the setting: {apart(in_ncnn(zeros, picture, 'zeros'), in_torch(zeros, picture)):.1e}")
assert all(wrong > 0.1 and as_other < 1e-4 for wrong, as_other in seen.values())
P
