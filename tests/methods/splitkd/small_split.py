"""Small pieces that the tests of split KD share."""

import numpy as np

from distilfleet.core.types import (
    Dataset,
    Device,
    Expected,
    Job,
    LanguageProfile,
    LayerProfile,
    Link,
)
from distilfleet.methods.splitkd.device import SplitWorker
from distilfleet.methods.splitkd.settings import SplitSettings

BOARD = Device(
    id="device-0",
    kind="board",
    speed_flops_per_s=1e9,
    memory_bytes=10**9,
    memory_bytes_per_s=1e9,
    idle_w=1.0,
    busy_w=2.0,
    link=Link(up_bps=1e6, down_bps=1e6, latency_s=0.0, transmit_w=1.0),
)


def profile(width: int, layers: int, vocabulary: int) -> LanguageProfile:
    return LanguageProfile(
        name=f"{width}x{layers}",
        width=width,
        vocabulary=vocabulary,
        layers=[LayerProfile(name="layer", forward_flops=10.0, weight_bytes=4, output_bytes=2)]
        * layers,
        steps=8,
        head_flops=20.0,
        embedding_parameters=vocabulary * width,
        other_parameters=0,
    )


def settings(**changed) -> SplitSettings:
    facts = {
        "teacher": profile(64, 2, 40),
        "student": profile(32, 2, 40),
        "batch": 2,
        "steps": 2,
        "context": 8,
    }
    return SplitSettings(**{**facts, **changed})


def windows(count: int, context: int = 8, vocabulary: int = 40) -> Dataset:
    inputs = (7 * np.arange(count)[:, None] + np.arange(context)) % vocabulary
    return Dataset(inputs.astype(np.int32))


def worker(split: SplitSettings, data: Dataset, device: Device = BOARD, **more) -> SplitWorker:
    return SplitWorker(device=device, data=data, split=split, seed=3, front_of=no_front, **more)


def no_front(whose: str, layers: int):
    raise AssertionError(f"{layers} layers of the {whose} where none were expected")


def job(op: str, **arrays) -> Job:
    return Job(
        id=f"1.0.{op}",
        device=BOARD.id,
        op=op,
        arrays={name: np.asarray(value) for name, value in arrays.items()},
        expected=Expected(arrays={}),
    )


def begun(one: SplitWorker, rows: np.ndarray, first_step: int = 0, **more) -> dict[str, np.ndarray]:
    told = one.handle(
        job(
            "begin",
            cut=0,
            teacher_cut=0,
            bits=16,
            first_step=first_step,
            student_rows=rows.astype(np.float16),
            **more,
        )
    )
    return dict(told)
