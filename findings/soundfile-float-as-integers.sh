#!/usr/bin/env bash
# A WAV file of floats read as 16-bit integers is silence, with a rare -1 or 1.
#
# Versions: soundfile 0.14.0 (libsndfile 1.2.2), numpy 2.3.5, Python 3.11, x86-64.
# Guess:    read(dtype="int16") gives the wave from -32768 to 32767, whatever the file stores.
# Seen:     of a file of subtype FLOAT a wave of height 0.9 comes back as zeros and ones; the same wave stored
#           as PCM_16 comes back up to 29492. No warning.
# Meaning:  nets train on silence. Read float32 always, as distilfleet does: every subtype then lies
#           between -1 and 1.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check soundfile==0.14.0 numpy==2.3.5
cd "$T"; v/bin/python - <<'P'
import numpy as np
import soundfile

wave = 0.9 * np.sin(np.arange(8000) / 10)
highest = {}
for subtype in ("FLOAT", "PCM_16"):
    soundfile.write("a.wav", wave, 8000, subtype=subtype)
    for dtype in ("int16", "float32"):
        highest[subtype, dtype] = float(np.abs(soundfile.read("a.wav", dtype=dtype)[0]).max())
print("libsndfile", soundfile.__libsndfile_version__, highest)
assert highest["FLOAT", "int16"] <= 1
assert highest["PCM_16", "int16"] > 29000
assert highest["FLOAT", "float32"] > 0.89 and highest["PCM_16", "float32"] > 0.89
P
