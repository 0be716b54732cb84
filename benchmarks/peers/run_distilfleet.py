"""distilfleet's own engine: the recipe `fedavg` with its frames, prices, virtual clock and record."""

import tempfile
import time
from pathlib import Path

START_S = time.perf_counter()

import job  # noqa: E402 (the clock starts before the imports)
import numpy as np  # noqa: E402

from distilfleet.recipes.fedavg import Flags  # noqa: E402
from distilfleet.recipes.flags import Common, Training  # noqa: E402
from distilfleet.recipes.simulate import simulate  # noqa: E402

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
    training=Training(local_passes=1, local_batch=job.BATCH, local_lr=job.LR, local_momentum=0, local_weight_decay=0),
    who="small",
    small="perceptron",
)
with tempfile.TemporaryDirectory() as folder:
    history = simulate("fedavg", flags, Path(folder) / "run")
    spent_s = time.perf_counter() - START_S
wall_s = np.array([line["wall_s"] for line in history.rounds])
job.report(
    "distilfleet",
    np.diff(wall_s),
    spent_s - float(wall_s[-1] - wall_s[0]),
    history.rounds[-1]["small_accuracy"],
    data_bytes=(job.SAMPLES + TEST) * 65 * 4 + size.devices * job.OWN * 4,
)
