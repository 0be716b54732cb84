#!/usr/bin/env bash
# A discontinuous EDF+ file is read by edfio and mne as if its records followed each other.
#
# Versions: edfio 0.4.18, mne 1.13.2, pyedflib 0.1.42, numpy 2.3.5, Python 3.11, x86-64.
# Guess:    a gap of 40 s between two data records shows in the samples, or the file is refused.
# Seen:     edfio and mne give 600 samples at 10 Hz without a gap, a NaN or a word; edfio's
#           `is_continuous` is False. pyedflib refuses the file ("discontinuous and cannot be read").
# Meaning:  windows cut from such a recording join what lies apart, and annotations behind the gap,
#           whose onsets are in seconds, fall on other samples. distilfleet asks `is_continuous` and
#           refuses such files. Asking for it costs one pass over the records' onsets.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check edfio==0.4.18 mne==1.13.2 pyedflib==0.1.42 numpy==2.3.5
cd "$T"; v/bin/python - <<'P'
import edfio
import mne
import numpy as np
import pyedflib

signal = edfio.EdfSignal(np.sin(np.arange(600) / 10), 10, label="EEG")
edfio.Edf([signal], annotations=[edfio.EdfAnnotation(0, 1, "start")]).write("a.edf")
content = open("a.edf", "rb").read()
content = content[:192] + b"EDF+D" + content[197:]
for onset in range(59, 29, -1):  # the second half of the records lies 40 s later
    content = content.replace(b"+%d\x14\x14" % onset, b"+%d\x14\x14" % (onset + 40))
open("a.edf", "wb").write(content)

read = edfio.read_edf("a.edf")
print("edfio:", len(read.signals[0].data), "samples, is_continuous", read.is_continuous)
raw = mne.io.read_raw_edf("a.edf", verbose="error")
print("mne:", raw.n_times, "samples, NaN:", bool(np.isnan(raw.get_data()).any()), "annotations:", list(raw.annotations.description))
try:
    pyedflib.EdfReader("a.edf")
    refused = ""
except OSError as error:
    refused = str(error)
print("pyedflib:", refused)
assert len(read.signals[0].data) == 600 and not read.is_continuous
assert raw.n_times == 600 and not np.isnan(raw.get_data()).any()
assert "discontinuous" in refused
P
