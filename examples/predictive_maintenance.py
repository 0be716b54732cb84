"""Predictive maintenance: 25 airlines learn when an engine needs service, and none shows its
engines' records.

Data: NASA C-MAPSS FD001 (public domain). From the last 30 flights, an engine's remaining life is
told in three classes.

    python examples/predictive_maintenance.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from distilfleet.core.units import pretty_bytes
from distilfleet.recipes.flags import Common, Smalls, Training
from distilfleet.recipes.koala import Flags
from distilfleet.recipes.simulate import simulate

FLIGHTS, ENGINES_EACH = 30, 4
CLASSES, LIMITS = np.array(["1 now", "2 soon", "3 later"]), (30, 70)
SENSORS = [6, 7, 8, 11, 12, 13, 15, 16, 17, 18, 19, 21, 24, 25]  # the others are constant in FD001
SOURCE = Path(__file__).parents[2] / "shared" / "data" / "cmapss"


def windows(
    table: np.ndarray, left_at_end: np.ndarray, last_only: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of 30 flights, the class of what is left after each, and whose engine it is."""
    inputs, left, owners = [], [], []
    for number, end in enumerate(left_at_end, 1):
        flights = table[table[:, 0] == number]
        stops = [len(flights)] if last_only else range(FLIGHTS, len(flights) + 1, 10)
        inputs += [flights[stop - FLIGHTS : stop, SENSORS] for stop in stops]
        left += [end + len(flights) - stop for stop in stops]
        owners += [f"airline-{(number - 1) // ENGINES_EACH:02d}"] * len(stops)
    return np.array(inputs), CLASSES[np.digitize(left, LIMITS)], np.array(owners)


def main(source: Path) -> None:
    if not (source / "train_FD001.txt").is_file():
        print(
            "train_FD001.txt is not here; name its folder: python "
            "examples/predictive_maintenance.py FOLDER"
        )
        return
    folder = Path(tempfile.mkdtemp(prefix="predictive-maintenance-"))
    train, test, left = (
        np.loadtxt(source / f"{part}_FD001.txt") for part in ("train", "test", "RUL")
    )
    (x, y, owner), (x_test, y_test, _) = (
        windows(train, np.zeros(100), False),
        windows(test, left, True),
    )
    np.savez(
        folder / "engines.npz",
        x_train=x,
        y_train=y,
        group_train=owner,
        x_test=x_test,
        y_test=y_test,
    )
    common = Common(data=str(folder / "engines.npz"), rounds=7)
    training = Training(local_passes=4, local_batch=16, local_lr=0.05)
    flags = Flags(
        common=common,
        smalls=Smalls(small=("wave-s",)),
        training=training,
        large="wave-xl",
        mixtures=128,
    )
    history = simulate("koala", flags, folder / "run")
    last, airlines = history.rounds[-1], history.fleet["total"]
    moved_bytes = sum(one["up_bytes"] + one["down_bytes"] for one in history.rounds)
    print(f"{airlines} airlines, {len(y)} windows; {len(y_test)} engines to judge")
    print(f"large model right for three engines in four: {last['large_accuracy'] > 0.75}")
    print(
        f"small model, the same: {last['small_accuracy'] > 0.75}; always 'later': "
        f"{np.mean(y_test == '3 later'):.0%}"
    )
    print(
        f"an airline moved {pretty_bytes(moved_bytes / airlines)} in {len(history.rounds)} rounds"
    )
    print(f"Page: {history.path / 'report.html'}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE)
