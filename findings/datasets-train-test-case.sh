#!/usr/bin/env bash
# Pictures in folders `Train` and `Test` all become training data.
#
# Versions: datasets 5.2.0, Pillow 13.0.0, Python 3.11.
# Guess:    `load_dataset("imagefolder", data_dir=...)` tells parts by the name of their folder, as it does for train and test, training
#           and testing, train_images and test_images.
# Seen:     it does so in lower case alone. With `Train` and `Test`, `TRAIN` and `TEST` or `Training` and `Validation` there is one split,
#           `train`, with the test pictures in it, under the right classes and without a warning.
# Meaning:  whoever holds out a part of that, or compares with a published test score, measures on what was trained. distilfleet
#           reads local folders itself, in any case, and refuses what may be a part or a class; of `hub:NAME` check the splits.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check datasets==5.2.0 Pillow==13.0.0
cd "$T"; HF_HOME=$T/home HF_HUB_OFFLINE=1 "$T/v/bin/python" - <<'P'
import sys
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()


def counts(train, test):
    """Pictures of each split, of 12 for training and 8 to test on."""
    root = Path(f"{train}-{test}")
    for part, copies in ((train, 6), (test, 4)):
        for kind in ("cat", "dog"):
            (root / part / kind).mkdir(parents=True)
            for copy in range(copies):
                Image.new("L", (8, 8), 10 * copy).save(root / part / kind / f"{copy}.png")
    return {name: len(split) for name, split in datasets.load_dataset("imagefolder", data_dir=str(root)).items()}


print(f"datasets {datasets.__version__}")
print("expected: 12 pictures to train on and 8 to test on")
lower = [counts(*pair) for pair in (("train", "test"), ("training", "testing"), ("train_images", "test_images"))]
other = {pair: counts(*pair) for pair in (("Train", "Test"), ("TRAIN", "TEST"), ("Training", "Validation"))}
for pair, seen in other.items():
    print(f"seen:     {' and '.join(pair)}: {seen}")
right = all(seen == {"train": 12, "test": 8} for seen in lower)
sys.exit(0 if right and all(seen == {"train": 20} for seen in other.values()) else 1)
P
