"""The replies of a wave over the wire, all at once where they are alike: what `wire` does to each, but of many.

`wire` stays the definition: frames have the same bytes, replies and refusals the same words. Whatever is out of the
ordinary - a reply of another layout than announced, NaN, a norm near its limit - goes through `wire` by itself.

Axes: D devices.
"""

from collections.abc import Sequence

import numpy as np

from . import wire
from .table import Row, column
from .types import Arrays, ArraySpec, Expected, Job, Reply, Result

ORDINARY = 0.99
"""Of the largest norm that is let in: below it rounding decides nothing."""
WIDE = wire.DTYPES - {"<f2"}

Layout = tuple[tuple[str, np.dtype, tuple[int, ...]], ...]
Key = tuple[int, Layout | int]
"""Which expectation, and names, dtypes and shapes, or the table that the answer is a row of."""


def over_the_wire(job: Job, arrays: Arrays) -> Result:
    """One answer, encoded, decoded and checked."""
    return wire.admit(wire.decode_reply(wire.encode_reply(job.id, job.device, arrays).to_bytes()), job)


def all_over_the_wire(jobs: Sequence[Job], answers: Sequence[Arrays]) -> list[Result]:
    """As `over_the_wire` of each."""
    groups: dict[Key, list[int]] = {}
    for i, (job, arrays) in enumerate(zip(jobs, answers, strict=True)):
        layout = id(arrays.table) if isinstance(arrays, Row) else _layout(arrays)
        groups.setdefault((id(job.expected), layout), []).append(i)
    results: dict[int, Result] = {}
    for rows in groups.values():
        some, said = [jobs[i] for i in rows], [answers[i] for i in rows]
        if len(rows) > 1 and _is_ordinary(_layout(said[0]), some[0].expected):
            came = read(write(some, said), some, said[0])
        else:
            came = [over_the_wire(job, arrays) for job, arrays in zip(some, said, strict=True)]
        results.update(zip(rows, came, strict=True))
    return [results[i] for i in range(len(jobs))]


def write(jobs: Sequence[Job], answers: Sequence[Arrays]) -> np.ndarray:
    """The frames of answers of one layout, [D, bytes]; shorter heads leave their row's first bytes unused."""
    body = wire.encode_body(answers[0])
    fronts = [wire.reply_head(job, body) + body.manifest for job in jobs]
    width = -(-max(map(len, fronts)) // 8) * 8  # arrays start where a processor likes them to
    frames = np.empty((len(jobs), width + len(body.data)), np.uint8)
    heads = b"".join([front.rjust(width, b"\0") for front in fronts])
    frames[:, :width] = np.frombuffer(heads, np.uint8).reshape(len(jobs), width)
    for name, place in _places(frames, answers[0]).items():
        place[...] = column(answers, name)
    frames.flags.writeable = False
    return frames


def read(frames: np.ndarray, jobs: Sequence[Job], alike: Arrays) -> list[Result]:
    """Replies that are views of their frames, or why they are refused; `alike` has their layout."""
    table = _places(frames, alike)
    squares_D = np.zeros(len(jobs))
    with np.errstate(all="ignore"):
        for array in table.values():
            if array.dtype.kind == "f":
                flat = array.reshape(len(jobs), -1)
                squares_D += (flat[:, None, :] @ flat[:, :, None])[:, 0, 0]  # a dot product for each device
    fine_D = np.sqrt(squares_D) < ORDINARY * jobs[0].expected.most_norm
    return [
        Reply(job=job.id, device=job.device, arrays=Row(table, d))
        if fine
        else wire.admit(wire.decode_reply(frames[d].tobytes().lstrip(b"\0")), job)
        for d, (job, fine) in enumerate(zip(jobs, fine_D.tolist(), strict=True))
    ]


def _layout(arrays: Arrays) -> Layout:
    return tuple([(name, array.dtype, array.shape) for name, array in arrays.items()])


def _is_ordinary(layout: Layout, expected: Expected) -> bool:
    announced = expected.arrays
    return (
        0 < len(layout) <= wire.MOST_ARRAYS
        and len(layout) == len(announced)
        and all(name in announced and _fits(announced[name], dtype, shape) for name, dtype, shape in layout)
    )


def _fits(spec: ArraySpec, dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    """Whether this is announced, and nothing that only `wire` looks at."""
    plain = ArraySpec(dtype.str, spec.shape, at_most=spec.at_most)
    return dtype.str in WIDE and spec == plain and spec.fits(shape) and 0 not in shape


def _places(frames: np.ndarray, alike: Arrays) -> dict[str, np.ndarray]:
    """Where each array is in all frames, [D, ...]: views."""
    places, at = {}, frames.shape[1]
    for name, array in reversed(list(alike.items())):
        part = frames[:, at - array.nbytes : at].view(array.dtype)
        places[name], at = part.reshape(len(frames), *array.shape), at - array.nbytes
    return {name: places[name] for name in alike}
