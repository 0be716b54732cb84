#!/usr/bin/env bash
# torch's ONNX exporter writes paths and source lines of the exporting machine into the file.
#
# Versions: torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2, x86-64.
# Guess:    a model file holds the net, its weights and a producer's name.
# Seen:     each node has a stack trace in its metadata, with the full path of every file on the way and the line
#           of source there: 1.9 kB of notes for a net of 676 weights, 2.7 kB.
# Meaning:  who ships the file ships names of users and folders, and lines of code. Clear metadata_props and doc_string of
#           model, graphs and nodes before a file leaves the house; `distilfleet export` does.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
cat > "$T/net_of_mine.py" <<'P'
import sys

import onnx
import torch

net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4)).eval()
file = sys.argv[1]
torch.onnx.export(net, (torch.zeros(2, 16),), file, dynamo=True, external_data=False, verbose=False)
model = onnx.load(file)
notes = [prop.value for node in model.graph.node for prop in node.metadata_props]
data = open(file, "rb").read()
weights = sum(4 * weight.numel() for weight in net.parameters())
print(f"{len(data)} bytes for {weights} bytes of weights; {sum(map(len, notes))} bytes of notes on nodes")
print([line for line in "\n".join(notes).splitlines() if "net_of_mine" in line or ".py" in line][:2])
assert any("site-packages/torch" in note for note in notes)
assert b"return F.linear" in data
P
"$T/v/bin/python" "$T/net_of_mine.py" "$T/model.onnx" 2>/dev/null
