"""Activity monitoring: 20 people's watches learn 18 activities; six people whom nobody trained on
are the test.

Data: WISDM, watch accelerometer (UCI): `X_milli` [windows, 200, 3] at 20 Hz, `y`, `subject`,
`activities`.

    python examples/activity_monitoring.py [windows.npz]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from distilfleet.core.units import pretty_bytes
from distilfleet.recipes.flags import Common, ProxyData, Smalls, Training
from distilfleet.recipes.koala import Flags
from distilfleet.recipes.simulate import simulate

SOURCE = Path(__file__).parents[2] / "shared" / "data" / "wisdm-watch" / "windows.npz"


def by_person(source: Path, target: Path) -> Path:
    """At 10 Hz, one person per device; every fifth person is kept for testing."""
    stored = np.load(source, allow_pickle=False)
    x, y, person = stored["X_milli"][:, ::2], stored["activities"][stored["y"]], stored["subject"]
    kept = np.isin(person, np.unique(person)[::5])
    np.savez(
        target,
        x_train=x[~kept],
        y_train=y[~kept],
        group_train=person[~kept],
        x_test=x[kept],
        y_test=y[kept],
    )
    return target


def main(source: Path) -> None:
    if not source.is_file():
        print(
            f"{source.name} is not here; name it: python examples/activity_monitoring.py "
            "windows.npz"
        )
        return
    folder = Path(tempfile.mkdtemp(prefix="activity-monitoring-"))
    kinds = ("phone-low", "phone-mid", "phone-flagship")
    data = str(by_person(source, folder / "people.npz"))
    flags = Flags(
        common=Common(data=data, device_kinds=kinds, rounds=6, offline_share=0.1),
        smalls=Smalls(small=("wave-s",)),
        proxy=ProxyData(proxy_share=0.12),
        training=Training(local_passes=5, local_batch=16, local_lr=0.05),
        large="wave-xl",
        mixtures=0,
    )
    history = simulate("koala", flags, folder / "run")
    people, last, (saved,) = history.fleet["total"], history.rounds[-1], history.about["savings"]
    up_bytes, missed = (
        sum(one["up_bytes"] for one in history.rounds),
        sum(one["missed"] for one in history.rounds),
    )
    print(
        f"{people} people; {missed} calls found a phone offline, and all {len(history.rounds)} "
        "rounds finished"
    )
    print(
        "large model right for 45 % of six other people's windows, 18 activities: "
        f"{last['large_accuracy'] > 0.45}"
    )
    print(f"small model, the same: {last['small_accuracy'] > 0.45}")
    print(f"a phone sent {pretty_bytes(up_bytes / people)}: {history.about['disclosure']}")
    print(
        f"it stores {saved['storage_saved']:.1%} less than the large model, computes "
        f"{saved['flops_saved']:.1%} less"
    )
    print(f"Page: {history.path / 'report.html'}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE)
