#!/usr/bin/env bash
# npTDMS writes big-endian arrays as other numbers, without a word.
#
# Versions: npTDMS 1.13.0, numpy 2.3.5, Python 3.11.
# Guess:    an array of numpy's type >i4 (what classic NetCDF, FITS, SAC and many loggers' files are read as) is byte-swapped, as
#           numpy.save, h5py and safetensors do, or refused.
# Seen:     its bytes are written as they are under a little-endian type: 1, 2, 3 are read back as 16777216, 33554432, 50331648;
#           >f8 1.5 as 3.14e-319. No error, no warning.
# Meaning:  recordings that were converted to TDMS from such a source are wrong in the file. Convert with
#           array.astype(array.dtype.newbyteorder("=")) first.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check npTDMS==1.13.0 numpy==2.3.5
cd "$T"; v/bin/python -W error - <<'P'
import numpy as np
from nptdms import ChannelObject, TdmsFile, TdmsWriter

def there_and_back(array):
    with TdmsWriter("a.tdms") as file:
        file.write_segment([ChannelObject("board", "sensor", array)])
    return TdmsFile.read("a.tdms")["board"]["sensor"][:]

whole = there_and_back(np.array([1, 2, 3], ">i4"))
real = there_and_back(np.array([1.5], ">f8"))
print("1, 2, 3 as >i4 come back as", whole.tolist())
print("1.5 as >f8 comes back as", real.tolist())
assert there_and_back(np.array([1, 2, 3], "<i4")).tolist() == [1, 2, 3]
assert whole.tolist() == [1 << 24, 2 << 24, 3 << 24] and 0 < real[0] < 1e-300
P
