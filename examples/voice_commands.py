"""Voice commands, learnt by the speakers of 24 homes whose recordings stay at home.

Data: Google Speech Commands, test part (CC BY 4.0), as MFCC frames: `mfcc` [clips, 49, 10], `y`,
`speaker`, `labels`.

    python examples/voice_commands.py [mfcc.npz]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from distilfleet.core.units import pretty_bytes
from distilfleet.recipes.flags import Common, ProxyData, Smalls, Training
from distilfleet.recipes.koala import Flags
from distilfleet.recipes.simulate import simulate

HOMES, UNHEARD = 24, 6
SOURCE = Path(__file__).parents[2] / "shared" / "data" / "speech-commands" / "mfcc.npz"


def by_home(source: Path, target: Path) -> Path:
    """Every speaker lives in one home; the speakers of a few homes are kept for testing."""
    clips = np.load(source, allow_pickle=False)
    x, y = clips["mfcc"], clips["labels"][clips["y"]]
    speakers, speaker = np.unique(clips["speaker"], return_inverse=True)
    home = (np.random.default_rng(0).permutation(len(speakers)) % (HOMES + UNHEARD))[speaker]
    ours, owner = home < HOMES, np.char.add("home-", home.astype(str))
    np.savez(
        target,
        x_train=x[ours],
        y_train=y[ours],
        group_train=owner[ours],
        x_test=x[~ours],
        y_test=y[~ours],
    )
    return target


def main(source: Path) -> None:
    if not source.is_file():
        print(f"{source.name} is not here; name it: python examples/voice_commands.py mfcc.npz")
        return
    folder = Path(tempfile.mkdtemp(prefix="voice-commands-"))
    flags = Flags(
        common=Common(data=str(by_home(source, folder / "homes.npz")), rounds=9),
        smalls=Smalls(small=("wave-m",)),
        proxy=ProxyData(proxy_share=0.12),
        training=Training(local_passes=4, local_batch=16, local_lr=0.1),
        large="wave-xl",
        mixtures=256,
    )
    history = simulate("koala", flags, folder / "run")
    data, last, (saved,) = history.about["data"], history.rounds[-1], history.about["savings"]
    moved_bytes = sum(one["up_bytes"] + one["down_bytes"] for one in history.rounds)
    print(
        f"{history.fleet['total']} homes with {data['train']} private clips, {data['proxy']} "
        "unlabelled proxy clips"
    )
    print(
        "large model right for half of the unheard speakers' commands: "
        f"{last['large_accuracy'] > 0.5}"
    )
    print(f"small model, the same: {last['small_accuracy'] > 0.5}")
    print(
        f"a home moved {pretty_bytes(moved_bytes / history.fleet['total'])} in "
        f"{len(history.rounds)} rounds"
    )
    print(
        f"it stores {saved['storage_saved']:.1%} less than the large model, computes "
        f"{saved['flops_saved']:.1%} less"
    )
    print(f"Page: {history.path / 'report.html'}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE)
