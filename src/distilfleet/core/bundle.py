"""The replies of a wave over the wire, all at once where they are alike: what `wire` does to each,
but of many.

`wire` stays the definition: frames have the same bytes, replies and refusals the same words.
Whatever is out of the ordinary - a reply of another layout than announced, NaN, a norm near its
limit - goes through `wire` by itself.

Axes: D devices.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from . import wire
from .table import DeviceRow, column
from .types import Arrays, ArraySpec, Expected, Job, Reply, Result

ORDINARY = 0.99
"""The share of the largest admitted norm below which rounding decides nothing."""
WIDE = wire.DTYPES - {"<f2"}

Layout = tuple[tuple[str, np.dtype, tuple[int, ...]], ...]
Key = tuple[int, Layout | int]
"""What answers are alike by: their expectation, and their layout or the table that they are rows
of."""


def over_the_wire(job: Job, arrays: Arrays) -> Result:
    """One answer, encoded, decoded and checked."""
    return wire.admit(
        wire.decode_reply(wire.encode_reply(job.id, job.device, arrays).to_bytes()), job
    )


def all_over_the_wire(jobs: Sequence[Job], answers: Sequence[Arrays]) -> list[Result]:
    """What `over_the_wire` gives for each answer, in their order."""
    results: dict[int, Result] = {}
    for places in _alike(jobs, answers):
        own_jobs = [jobs[place] for place in places]
        own_answers = [answers[place] for place in places]
        results.update(zip(places, _group_over_the_wire(own_jobs, own_answers), strict=True))
    return [results[place] for place in range(len(jobs))]


def _alike(jobs: Sequence[Job], answers: Sequence[Arrays]) -> Iterable[list[int]]:
    """The places of answers of one layout to jobs of one expectation, group by group."""
    groups: dict[Key, list[int]] = {}
    for place, (job, arrays) in enumerate(zip(jobs, answers, strict=True)):
        layout = id(arrays.table) if isinstance(arrays, DeviceRow) else _layout(arrays)
        groups.setdefault((id(job.expected), layout), []).append(place)
    return groups.values()


def _group_over_the_wire(jobs: Sequence[Job], answers: Sequence[Arrays]) -> list[Result]:
    """Answers that are alike: in one piece if there is nothing out of the ordinary about them."""
    first = answers[0]
    if len(jobs) > 1 and _is_ordinary(_layout(first), jobs[0].expected):
        return read(write(jobs, answers), jobs, first)
    return [over_the_wire(job, arrays) for job, arrays in zip(jobs, answers, strict=True)]


def write(jobs: Sequence[Job], answers: Sequence[Arrays]) -> np.ndarray:
    """The frames of answers of one layout, [D, bytes]; shorter heads leave their row's first bytes
    unused."""
    body = wire.encode_body(answers[0])
    fronts = [wire.reply_head(job, body) + body.manifest for job in jobs]
    longest = max(map(len, fronts))
    width = -(-longest // 8) * 8  # arrays start where a processor likes them to
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
    ordinary_D = _norms(table, len(jobs)) < ORDINARY * jobs[0].expected.most_norm
    results: list[Result] = []
    for d, (job, ordinary) in enumerate(zip(jobs, ordinary_D.tolist(), strict=True)):
        if ordinary:
            results.append(Reply(job=job.id, device=job.device, arrays=DeviceRow(table, d)))
        else:
            frame = frames[d].tobytes().lstrip(b"\0")
            results.append(wire.admit(wire.decode_reply(frame), job))
    return results


def _norms(table: Arrays, devices: int) -> np.ndarray:
    """The norm of each device's floating-point arrays together, [D]; NaN or infinity where theirs
    is."""
    squares_D = np.zeros(devices)
    with np.errstate(all="ignore"):
        for array in table.values():
            if array.dtype.kind == "f":
                flat = array.reshape(devices, -1)
                # a dot product for each device
                squares_D += (flat[:, None, :] @ flat[:, :, None])[:, 0, 0]
        return np.sqrt(squares_D)


def _layout(arrays: Arrays) -> Layout:
    return tuple([(name, array.dtype, array.shape) for name, array in arrays.items()])


def _is_ordinary(layout: Layout, expected: Expected) -> bool:
    announced = expected.arrays
    if not 0 < len(layout) <= wire.MOST_ARRAYS or len(layout) != len(announced):
        return False
    return all(
        name in announced and _fits(announced[name], dtype, shape) for name, dtype, shape in layout
    )


def _fits(spec: ArraySpec, dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    """Whether this is announced, and nothing that only `wire` looks at."""
    plain = ArraySpec(dtype.str, spec.shape, at_most=spec.at_most)
    return dtype.str in WIDE and spec == plain and spec.fits(shape) and 0 not in shape


def _places(frames: np.ndarray, alike: Arrays) -> dict[str, np.ndarray]:
    """Where each array is in all frames, [D, ...]: views."""
    places = {}
    end = frames.shape[1]
    for name, array in reversed(list(alike.items())):
        start = end - array.nbytes
        part = frames[:, start:end].view(array.dtype)
        places[name] = part.reshape(len(frames), *array.shape)
        end = start
    return {name: places[name] for name in alike}
