"""distilfleet's own engine: the recipe `fedavg` with its frames, prices, virtual clock and record.

It averages as the others do; the recipe's own rule, which liars cannot steer, does more.
"""

import tempfile
import time
from pathlib import Path

import job

from distilfleet.recipes.fedavg import Flags, fedavg
from distilfleet.recipes.flags import Common, Training, flatten
from distilfleet.recipes.simulated import simulated
from distilfleet.record.run import create
from distilfleet.training.loop import about, train

TEST = 297
size = job.size()
flags = Flags(
    common=Common(
        devices=size.devices,
        per_round=size.per_round,
        rounds=size.rounds,
        alpha=float("inf"),
        holdout=TEST / (job.SAMPLES + TEST),
    ),
    training=Training(
        local_passes=1,
        local_batch=job.BATCH,
        local_lr=job.LR,
        local_momentum=0,
        local_weight_decay=0,
    ),
    who="small",
    small="perceptron",
    aggregate="mean",
)
run = simulated(fedavg(flags), flags.common)
laps, accuracy = job.Laps(), 0.0
with tempfile.TemporaryDirectory() as folder:
    record = create(
        Path(folder) / "run", about(run.experiment, "fedavg", flatten(flags), started=""), run.facts
    )
    for line in train(run.experiment, run.fleet, record, None, time.monotonic):
        laps.lap()
        accuracy = line["small_accuracy"]
    record.close()
laps.report(
    "distilfleet", accuracy, data_bytes=(job.SAMPLES + TEST) * 65 * 4 + size.devices * job.OWN * 4
)
