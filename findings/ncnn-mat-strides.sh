#!/usr/bin/env bash
# ncnn reads a transposed or stepped numpy array as if it lay in memory row by row.
#
# Versions: ncnn 1.0.20261020 (the Python wheel), numpy 2.4.6, x86-64.
# Guess:    ncnn.Mat(array.T) has the transposed values, or refuses what is not contiguous, as ExecuTorch does.
# Seen:     it takes the shape of the view and the memory of the whole: [[0, 3], [1, 4], [2, 5]] becomes [[0, 1], [2, 3], [4, 5]].
#           Every second column becomes the first half of the rows. No error.
# Meaning:  pictures that were turned from height x width x channel to channel x height x width by transpose, the usual way, reach the
#           net scrambled, and it answers something. Pass numpy.ascontiguousarray(view).
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check ncnn==1.0.20261020 numpy==2.4.6
"$T/v/bin/python" - <<'P'
import ncnn
import numpy as np

whole = np.arange(6, dtype=np.float32).reshape(2, 3)
seen = np.array(ncnn.Mat(whole.T)).tolist()
print("wanted", whole.T.tolist(), "- ncnn has", seen)
stepped = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]
half = np.array(ncnn.Mat(stepped)).tolist()
print("wanted", stepped.tolist(), "- ncnn has", half)
copied = np.array(ncnn.Mat(np.ascontiguousarray(whole.T))).tolist()
print("contiguous first:", copied)
assert copied == whole.T.tolist()
assert seen == [[0, 1], [2, 3], [4, 5]] and half == [[0, 1, 2], [3, 4, 5]]
P
