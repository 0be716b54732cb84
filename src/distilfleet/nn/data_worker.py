"""The device half of methods in which data travel: every device sends all that it has, once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..core.types import Arrays, ArraySpec, Dataset, DeviceId, Expected, Job, Load, Reply
from .loads import exact_frames

INPUTS = "inputs"
LABELS = "labels"
MOST_BYTES = 1 << 30
"""Bytes of one device's inputs that are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataWorker:
    """Sends the device's data. How much it has, the server learns with it."""

    data: Dataset

    def load(self, job: Job) -> Load:
        return replace(exact_frames(job, self.handle(job)), memory_bytes=self.data.inputs.nbytes)

    def handle(self, job: Job) -> Arrays:
        given = {INPUTS: self.data.inputs.astype(job.expected.arrays[INPUTS].dtype)}
        return given if self.data.labels is None else {**given, LABELS: self.data.labels}

    def snapshot(self) -> Arrays:
        return {}

    def restore(self, kept: Arrays) -> None:
        pass


def data_job(
    number: int, device: DeviceId, dtype: str, shape: Sequence[int], labelled: bool
) -> Job:
    """Ask for samples of this type and shape."""
    most = MOST_BYTES // (np.dtype(dtype).itemsize * prod(shape))
    arrays = {INPUTS: ArraySpec(dtype, (most, *shape), at_most=True)}
    if labelled:
        arrays[LABELS] = ArraySpec("<i8", (most,), at_most=True)
    return Job(
        id=f"{number}:give:{device}",
        device=device,
        op="give",
        arrays={},
        expected=Expected(arrays=arrays),
    )


def paired(replies: Sequence[Reply]) -> list[Reply]:
    """Those with a label for each sample, or with none at all."""
    return [
        r
        for r in replies
        if LABELS not in r.arrays or len(r.arrays[LABELS]) == len(r.arrays[INPUTS])
    ]
