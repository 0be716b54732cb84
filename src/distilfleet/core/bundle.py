"""The replies of a wave over the wire, all at once where they are alike: what `wire` does to each, but of many.

`wire` stays the definition: frames have the same bytes, replies and refusals the same words. Whatever is out of the
ordinary - a reply of another layout than announced, NaN, a norm near its limit - goes through `wire` by itself.

Axes: D devices.
"""

from collections.abc import Sequence

import numpy as np

from . import wire
from .types import Arrays, ArraySpec, Job, Reply, Result

ORDINARY = 0.99
"""Of the largest norm that is let in: below it rounding decides nothing."""
WIDE = wire.DTYPES - {"<f2"}

Layout = tuple[tuple[str, np.dtype, tuple[int, ...]], ...]
Key = tuple[int, Layout]
"""Which expectation, and names, dtypes and shapes."""


def over_the_wire(job: Job, arrays: Arrays) -> Result:
    """One answer, encoded, decoded and checked."""
    return wire.admit(wire.decode_reply(wire.encode_reply(job.id, job.device, arrays).to_bytes()), job)


def all_over_the_wire(jobs: Sequence[Job], answers: Sequence[Arrays]) -> list[Result]:
    """As `over_the_wire` of each."""
    groups: dict[Key, list[int]] = {}
    for i, (job, arrays) in enumerate(zip(jobs, answers, strict=True)):
        layout = tuple([(name, array.dtype, array.shape) for name, array in arrays.items()])
        groups.setdefault((id(job.expected), layout), []).append(i)
    results: dict[int, Result] = {}
    for (_, layout), rows in groups.items():
        some, said = [jobs[i] for i in rows], [answers[i] for i in rows]
        if len(rows) > 1 and _is_ordinary(layout, some[0]):
            came = read(write(some, said), some, said[0])
        else:
            came = [over_the_wire(job, arrays) for job, arrays in zip(some, said, strict=True)]
        results.update(zip(rows, came, strict=True))
    return [results[i] for i in range(len(jobs))]


def write(jobs: Sequence[Job], answers: Sequence[Arrays]) -> np.ndarray:
    """The frames of answers of one layout, [D, bytes]; shorter heads leave their row's first bytes unused."""
    manifest = wire.encode_body(answers[0]).manifest
    fronts = [wire.reply_head(job, manifest) + manifest for job in jobs]
    width = -(-max(map(len, fronts)) // 8) * 8  # arrays start where a processor likes them to
    parts: list[bytes | memoryview] = []
    for front, arrays in zip(fronts, answers, strict=True):
        parts.append(front.rjust(width, b"\0"))
        parts.extend([np.ascontiguousarray(array).data for array in arrays.values()])
    return np.frombuffer(b"".join(parts), np.uint8).reshape(len(jobs), -1)


def read(frames: np.ndarray, jobs: Sequence[Job], alike: Arrays) -> list[Result]:
    """Replies that are views of their frames, or why they are refused; `alike` has their layout."""
    columns = _columns(frames, alike)
    squares_D = np.zeros(len(jobs))
    with np.errstate(all="ignore"):
        for column in columns.values():
            if column.dtype.kind == "f":
                flat = column.reshape(len(jobs), -1)
                squares_D += (flat[:, None, :] @ flat[:, :, None])[:, 0, 0]  # a dot product for each device
    fine_D = np.sqrt(squares_D) < ORDINARY * jobs[0].expected.most_norm
    views = zip(*([column[d, ...] for d in range(len(jobs))] for column in columns.values()), strict=True)
    return [
        Reply(job=job.id, device=job.device, arrays=dict(zip(columns, arrays, strict=True)))
        if fine
        else wire.admit(wire.decode_reply(frame.tobytes().lstrip(b"\0")), job)
        for job, frame, fine, arrays in zip(jobs, frames, fine_D.tolist(), views, strict=True)
    ]


def _is_ordinary(layout: Layout, job: Job) -> bool:
    came = {name: ArraySpec(dtype.str, shape) for name, dtype, shape in layout}
    sizes = all(spec.dtype in WIDE and spec.size_bytes for spec in came.values())
    return 0 < len(came) <= wire.MOST_ARRAYS and came == job.expected.arrays and sizes


def _columns(frames: np.ndarray, alike: Arrays) -> dict[str, np.ndarray]:
    """Each array of all frames, [D, ...]: views."""
    columns, at = {}, frames.shape[1]
    for name, array in reversed(list(alike.items())):
        part = frames[:, at - array.nbytes : at].view(array.dtype)
        columns[name], at = part.reshape(len(frames), *array.shape), at - array.nbytes
    return {name: columns[name] for name in alike}
