#!/usr/bin/env bash
# Flower's FedAvg turns whole numbers into floats that fall just below them.
#
# Versions: flwr 1.42.0, numpy 2.3.5, Python 3.11.
# Guess:    an int64 counter that is 100 on every device (BatchNorm's num_batches_tracked travels like this) is 100 after the average.
# Seen:     it comes back as float64, and with unequal numbers of samples as 99.99999999999999 in about one of seven weightings;
#           cast back to int64, as load_state_dict does, the counter has lost one.
# Meaning:  who moves a method between Flower and distilfleet and compares weights must not compare counters, and a schedule that
#           steps on a counter may step late. distilfleet takes the largest counter, and keeps its type.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check flwr==1.42.0 numpy==2.3.5
"$T/v/bin/python" - <<'P'
import numpy as np
from flwr.common import ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

def average(counter, samples):
    replies = [
        RecordDict({
            "arrays": ArrayRecord(numpy_ndarrays=[np.array(counter, np.int64)]),
            "metrics": MetricRecord({"num-examples": float(count)}),
        })
        for count in samples
    ]
    return aggregate_arrayrecords(replies, "num-examples").to_numpy_ndarrays()[0]

one = average(100, [191, 360, 322, 288, 107, 311, 39, 236, 173, 398])
print("100 on ten devices becomes", repr(float(one)), one.dtype, "and as int64", one.astype(np.int64))
chance = np.random.default_rng(0)
lost = 0
for _ in range(300):
    devices = int(chance.integers(2, 12))
    samples, counter = chance.integers(20, 400, devices), int(chance.integers(1, 500))
    lost += int(average(counter, samples).astype(np.int64) != counter)
print(lost, "of 300 weightings lose one")
assert one.dtype == np.float64 and one.astype(np.int64) == 99 and 20 < lost < 80
P
