"""A process of its own that loads an exported file in its runtime and answers with it, without
torch.

What it takes is then the runtime's alone, and a runtime that ends its process ends no other. Run as
`python -m distilfleet.export.measure RUNTIME FILE INPUTS OUTPUTS` by `export.judge`; inputs and
outputs are `.npy` files, and one line of JSON, a `Taken`, is printed.
"""

import resource
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from .runtimes import Player, loader, runtime

WARM_UP = 5
TIMED = 200
MOST_TIMED_S = 3.0
PROC_STATUS = Path("/proc/self/status")


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a file took in its runtime."""

    sample_s: float
    """Seconds for one sample: the median."""
    peak_memory_bytes: int
    """The most memory that the process had, its runtime included, before all samples were answered
    at once."""


def main(words: list[str]) -> None:
    """Answer all inputs and print what one sample took."""
    name, file, inputs_file, outputs_file = words
    inputs = np.load(inputs_file, mmap_mode="r", allow_pickle=False)
    play = loader(runtime(name)).load(Path(file))
    sample_s = _median_s(play, inputs)
    taken = Taken(sample_s=sample_s, peak_memory_bytes=_peak_bytes())
    np.save(outputs_file, _all(play, inputs), allow_pickle=False)
    sys.stdout.write(msgspec.json.encode(taken).decode() + "\n")


def _median_s(play: Player, inputs: np.ndarray) -> float:
    samples = [np.array(inputs[row : row + 1]) for row in range(min(len(inputs), TIMED))]
    for sample in samples[:WARM_UP]:
        play(sample)
    times_s: list[float] = []
    end_s = time.perf_counter() + MOST_TIMED_S
    for sample in samples:
        start_s = time.perf_counter()
        play(sample)
        times_s.append(time.perf_counter() - start_s)
        if time.perf_counter() > end_s:
            break
    return float(np.median(times_s))


def _all(play: Player, inputs: np.ndarray, batch: int = 64) -> np.ndarray:
    starts = range(0, len(inputs), batch)
    return np.concatenate([play(np.array(inputs[at : at + batch])) for at in starts])


def _peak_bytes() -> int:
    """The largest resident size of this process; what `getrusage` says may be that of the process
    that started it."""
    if PROC_STATUS.is_file():
        lines = PROC_STATUS.read_text(encoding="ascii").splitlines()
        peak = next((line for line in lines if line.startswith("VmHWM:")), "")
        if peak:
            return 1024 * int(peak.split()[1])
    peak_size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_size if sys.platform == "darwin" else 1024 * peak_size


if __name__ == "__main__":
    main(sys.argv[1:])
