#!/usr/bin/env bash
# A missing measurement written into a packed NetCDF variable becomes the offset, a plausible number.
#
# Versions: netCDF4 1.7.5.1.post1 (the Python library), numpy 2.3.5, Python 3.11, x86-64.
# Guess:    NaN in a variable of type i2 with scale_factor, add_offset and _FillValue is stored as the fill value and read back
#           masked; what does not fit the type is refused, or clipped.
# Seen:     NaN is read back as 20.0 (the offset) and not masked, with one RuntimeWarning of numpy's about a cast;
#           500.0, which needs raw 48000, wraps to -155.36 without any warning. Masked arrays are stored as they should be.
# Meaning:  logs of weather stations and buoys hold made-up temperatures where a sensor was silent. Write
#           numpy.ma.masked_invalid(x). A reader cannot tell them from measurements: look for runs that equal add_offset.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check netCDF4==1.7.5.1.post1 numpy==2.3.5
cd "$T"; v/bin/python - <<'P'
import warnings
import netCDF4
import numpy as np

def there_and_back(values):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with netCDF4.Dataset("a.nc", "w") as file:
            file.createDimension("time", len(values))
            variable = file.createVariable("temperature", "i2", ("time",), fill_value=-32767)
            variable.scale_factor, variable.add_offset = 0.01, 20.0
            variable[:] = values
    with netCDF4.Dataset("a.nc") as file:
        return file["temperature"][:], [str(one.message) for one in caught]

nan, said = there_and_back(np.array([20.5, np.nan, 21.0]))
print("20.5, NaN, 21.0 come back as", nan.tolist(), "with", said)
wide, quiet = there_and_back(np.array([20.5, 500.0, 21.0]))
print("20.5, 500.0, 21.0 come back as", [round(float(x), 2) for x in wide], "with", quiet)
masked, _ = there_and_back(np.ma.masked_invalid([20.5, np.nan, 21.0]))
print("masked first:", masked.tolist())
assert np.ma.count_masked(nan) == 0 and float(nan[1]) == 20.0
assert round(float(wide[1]), 2) == -155.36 and not quiet
assert np.ma.count_masked(masked) == 1
P
