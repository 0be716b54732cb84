"""Whether an exported file may be shipped: it is loaded in its own runtime and answers the test
part beside torch.

Axes: N samples, K classes (or entries of a vocabulary).
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from ..core.errors import ConfigError
from .measure import Taken
from .runtimes import Precision, Runtime

LONGEST_RUN_S = 1800.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
IGNORED = -100
"""A label that is not judged, as in torch's cross-entropy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """What a file is tried on."""

    inputs: np.ndarray
    labels: np.ndarray
    """[N], or, for each position of a text, [N, T]; IGNORED where there is none."""
    expected: np.ndarray
    """What torch answers: float32, the classes last."""
    data: str
    """The data's name."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What an exported file is worth in its own runtime; a row of `exports.json`."""

    file: str
    runtime: str
    version: str
    """Name and version of what ran it."""
    precision: Precision
    data: str
    samples: int
    accuracy: float
    """The share of labels that the file finds; of a language model, of next tokens."""
    torch_accuracy: float
    same_class_share: float
    """The share of answers that name the class that torch names."""
    largest_difference: float
    """Of any output from torch's."""
    bytes: int
    """All that belongs to the file."""
    weight_bytes: int
    """The model's weights in torch."""
    sample_s: float
    """Seconds for one sample on one thread: the median."""
    peak_memory_bytes: int
    """Of a process that loads the file and answers one sample at a time, its runtime included."""
    notes: tuple[str, ...] = ()

    @property
    def lost_points(self) -> float:
        """Percentage points of accuracy that the file has less than torch."""
        return 100 * (self.torch_accuracy - self.accuracy)


def judged(
    target: Runtime, precision: Precision, file: Path, weight_bytes: int, trial: Check
) -> Judgement:
    """Run the file in its runtime. Raises ConfigError if it does not load or does not answer."""
    with TemporaryDirectory() as folder:
        inputs_file, outputs_file = Path(folder, "inputs.npy"), Path(folder, "outputs.npy")
        np.save(inputs_file, trial.inputs, allow_pickle=False)
        taken = _run(target, file, inputs_file, outputs_file)
        outputs = np.load(outputs_file, allow_pickle=False)
    if outputs.shape != trial.expected.shape:
        raise ConfigError(
            f"{file.name} answers with shape {list(outputs.shape)} in {target.version}, torch with "
            f"{list(trial.expected.shape)}: it cannot be used there"
        )
    if not np.isfinite(outputs).all():
        raise ConfigError(
            f"{file.name} answers with numbers that are not finite in {target.version}"
        )
    return Judgement(
        file=file.name,
        runtime=target.name,
        version=target.version,
        precision=precision,
        data=trial.data,
        samples=len(trial.inputs),
        accuracy=_accuracy(outputs, trial.labels),
        torch_accuracy=_accuracy(trial.expected, trial.labels),
        same_class_share=float((outputs.argmax(-1) == trial.expected.argmax(-1)).mean()),
        largest_difference=_largest_difference(outputs, trial.expected),
        bytes=sum(part.stat().st_size for part in file.parent.iterdir()),
        weight_bytes=weight_bytes,
        sample_s=taken.sample_s,
        peak_memory_bytes=taken.peak_memory_bytes,
    )


def _run(target: Runtime, file: Path, inputs_file: Path, outputs_file: Path) -> Taken:
    words = [target.name, str(file), str(inputs_file), str(outputs_file)]
    done = subprocess.run(  # noqa: S603  our own module on files of our own
        [sys.executable, "-m", "distilfleet.export.measure", *words],
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN_S,
        env={**os.environ, **ONE_THREAD},
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"]
        raise ConfigError(f"{target.version} does not run {file.name}: {said[-1]}")
    return msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Taken)


def _accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    judged_ = labels != IGNORED
    return float((outputs.argmax(-1) == labels)[judged_].mean())


def _largest_difference(outputs: np.ndarray, expected: np.ndarray) -> float:
    difference = np.abs(outputs.astype(np.float64) - expected)
    return float(difference.max())
