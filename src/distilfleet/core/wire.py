"""Messages <-> bytes. A frame is a typed header and raw little-endian arrays; nothing on it can
execute.

    frame  = magic "DF" | version u8 | kind u8 | head length u32 | body manifest length u32
             | head | manifest | body
    head   = msgpack of `JobHead` or `ReplyHead`
    manifest = msgpack of [name, dtype, shape] per array; body = the arrays, one after another

Head and body are separate so that arrays which every job of a wave shares are encoded once.
Decoding copies nothing: arrays are read-only views of the frame.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite, prod, sqrt
from typing import TypeVar

import msgspec
import numpy as np

from .errors import WireError
from .types import Arrays, ArraySpec, DeviceId, Expected, Job, Missed, Reply, Result

VERSION = 1
MOST_ARRAYS = 4096
MOST_OFF = 1e-3
"""How far from one the sum of a distribution may be."""
REMEMBERED_BYTES = 1 << 14
"""A manifest up to this size is read once for all the frames that carry it: those of a wave are
alike."""
DTYPES = frozenset(
    {"<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "|b1"}
)
_PREFIX = struct.Struct("<2sBBII")
_JOB = 0
_REPLY = 1


class JobHead(msgspec.Struct, frozen=True, array_like=True):
    """What a job's frame says before its arrays."""

    id: str
    device: str
    op: str


class ReplyHead(msgspec.Struct, frozen=True, array_like=True):
    """What a reply's frame says before its arrays."""

    job: str
    device: str


T = TypeVar("T")
Manifest = list[tuple[str, str, tuple[int, ...]]]
Layout = tuple[tuple[str, np.dtype, tuple[int, ...], int, int], ...]
"""The name, dtype, shape, first and end byte of each array."""
_encode = msgspec.msgpack.Encoder().encode
_job_head = msgspec.msgpack.Decoder(JobHead).decode
_reply_head = msgspec.msgpack.Decoder(ReplyHead).decode
_manifest = msgspec.msgpack.Decoder(Manifest).decode


@dataclass(frozen=True, slots=True)
class Body:
    """Encoded arrays; the part of a frame that many jobs can share."""

    manifest: bytes
    data: bytes

    def __len__(self) -> int:
        return len(self.manifest) + len(self.data)


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. `len()` is its size on the link."""

    head: bytes
    body: Body

    def __len__(self) -> int:
        return len(self.head) + len(self.body)

    def to_bytes(self) -> bytes:
        """The frame as it travels."""
        return b"".join((self.head, self.body.manifest, self.body.data))


def encode_body(arrays: Arrays) -> Body:
    """Raises ValueError for too many arrays, or a dtype that cannot travel (objects, strings)."""
    if len(arrays) > MOST_ARRAYS:
        raise ValueError(f"at most {MOST_ARRAYS} arrays in a frame, got {len(arrays)}")
    manifest: Manifest = []
    pieces: list[memoryview] = []
    for name, array in arrays.items():
        plain = _plain(name, array)
        manifest.append((name, plain.dtype.str, plain.shape))
        if plain.size:
            pieces.append(plain.data)
    return Body(_encode(manifest), b"".join(pieces))


def encode_job(job: Job, body: Body | None = None) -> Frame:
    """A job's frame; hand in `body` where another job of the wave has the same arrays."""
    body = encode_body(job.arrays) if body is None else body
    return Frame(job_head(job, body), body)


def encode_reply(job: str, device: DeviceId, arrays: Arrays) -> Frame:
    """A reply's frame. Raises ValueError as `encode_body` does."""
    body = encode_body(arrays)
    return Frame(_front(_REPLY, _encode(ReplyHead(job, device)), body.manifest), body)


def job_head(job: Job, body: Body) -> bytes:
    """Prefix and head of the job's frame."""
    return _front(_JOB, _encode(JobHead(job.id, job.device, job.op)), body.manifest)


def reply_head(job: Job, body: Body) -> bytes:
    """Prefix and head of the reply's frame."""
    return _front(_REPLY, _encode(ReplyHead(job.id, job.device)), body.manifest)


def decode_job(frame: bytes, expected: Expected) -> Job:
    """Raises WireError; never anything else, whatever the bytes."""
    head, arrays = _open(frame, _JOB)
    message = _typed(_job_head, head)
    return Job(
        id=message.id, device=message.device, op=message.op, arrays=arrays, expected=expected
    )


def decode_reply(frame: bytes) -> Reply:
    """Raises WireError; never anything else, whatever the bytes."""
    head, arrays = _open(frame, _REPLY)
    message = _typed(_reply_head, head)
    return Reply(job=message.job, device=message.device, arrays=arrays)


def receive_job(head: bytes, arrays: Arrays, expected: Expected) -> Job:
    """A job from the head of its frame and arrays that are decoded already. Raises WireError."""
    message = _typed(_job_head, memoryview(head)[_PREFIX.size :])
    return Job(
        id=message.id, device=message.device, op=message.op, arrays=arrays, expected=expected
    )


def decode_body(body: Body) -> Arrays:
    """The arrays of a body that is already in memory."""
    return _arrays(body.manifest, memoryview(body.data))


def head_bytes(job: Job) -> tuple[int, int]:
    """Sizes in bytes of the job's and of its reply's frame, without manifest and data."""
    return (
        _PREFIX.size + len(_encode(JobHead(job.id, job.device, job.op))),
        _PREFIX.size + len(_encode(ReplyHead(job.id, job.device))),
    )


def frame_bytes(job: Job) -> tuple[int, int]:
    """Sizes in bytes of the job's frame and of the expected reply's."""
    down, up = head_bytes(job)
    return down + encoded_bytes(job.arrays), up + body_bytes(job.expected.arrays)


def body_bytes(arrays: Mapping[str, ArraySpec]) -> int:
    """Size in bytes of manifest and data of these arrays, known before they exist."""
    return _body_bytes(tuple([(name, spec.dtype, spec.shape) for name, spec in arrays.items()]))


def encoded_bytes(arrays: Arrays) -> int:
    """Size in bytes of manifest and data of these arrays."""
    return _body_bytes(tuple([(name, array.dtype, array.shape) for name, array in arrays.items()]))


def specs(arrays: Arrays) -> dict[str, ArraySpec]:
    """The announcement that these arrays would fulfil."""
    return {name: ArraySpec(_spell(array.dtype.str), array.shape) for name, array in arrays.items()}


def admit(reply: Reply, job: Job) -> Result:
    """The reply, or a `Missed` that says why it is not let in. Checked before any arithmetic."""
    if (reply.job, reply.device) == (job.id, job.device):
        fault = _fault(reply.arrays, job.expected)
    else:
        fault = (
            f"expected an answer to {job.id} from {job.device}, got one to {reply.job} from "
            f"{reply.device}"
        )
    if fault is None:
        return reply
    return Missed(job=job.id, device=job.device, reason=f"rejected: {fault}")


def _fault(arrays: Arrays, expected: Expected) -> str | None:
    if arrays.keys() != expected.arrays.keys():
        return f"expected arrays {sorted(expected.arrays)}, got {sorted(arrays)}"
    squares = 0.0
    for name, spec in expected.arrays.items():
        array = arrays[name]
        fault = _array_fault(array, spec)
        if fault is not None:
            return f"{name} {fault}"
        if array.dtype.kind == "f":
            squares += _square_sum(array)
    return _norm_fault(arrays, sqrt(squares), expected.most_norm)


def _array_fault(array: np.ndarray, spec: ArraySpec) -> str | None:
    dtype = array.dtype
    is_announced = dtype.str == spec.dtype or dtype == spec.dtype
    if not is_announced or not spec.fits(array.shape):
        return f"is {dtype}{list(array.shape)}, expected {spec.dtype}{_rows(spec)}"
    if spec.least > -inf or spec.sums_to_one:
        return _outside(array, spec)
    return None


def _norm_fault(arrays: Arrays, norm: float, most_norm: float) -> str | None:
    """What is wrong with all numbers together; their `norm` is not finite if one is not, or is too
    large to square."""
    if not isfinite(norm):
        holder = _not_finite(arrays)
        if holder is not None:
            return f"{holder} holds NaN or infinity"
        norm = _large_norm(arrays)
    return f"norm {norm:.3g} is over {most_norm:.3g}" if norm > most_norm else None


def _outside(array: np.ndarray, spec: ArraySpec) -> str | None:
    """How numbers are out of their range; NaN and infinity are in none."""
    if not array.size:
        return None
    if not np.isfinite(array).all():
        return "holds NaN or infinity"
    least = max(spec.least, 0.0) if spec.sums_to_one else spec.least
    if array.min() < least:
        return f"holds {array.min():.3g}, less than {least:g}"
    if not spec.sums_to_one:
        return None
    sums = array.sum(axis=-1, dtype=np.float64)
    off = float(np.abs(sums - 1).max())
    return f"has a row that adds up to one only within {off:.3g}" if off > MOST_OFF else None


def _rows(spec: ArraySpec) -> str:
    return f"{list(spec.shape)}, or fewer rows" if spec.at_most else str(list(spec.shape))


def _square_sum(array: np.ndarray) -> float:
    flat = array if array.dtype.itemsize > 2 else array.astype(np.float32)
    return float(np.vdot(flat, flat))  # which says nothing on overflow


def _not_finite(arrays: Arrays) -> str | None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return name
    return None


def _large_norm(arrays: Arrays) -> float:
    """The norm of values whose squares are too large to add up."""
    floats = [array for array in arrays.values() if array.dtype.kind == "f" and array.size]
    largest = max(float(np.abs(array).max()) for array in floats)
    squares = 0.0
    for array in floats:
        scaled = array.astype(np.float64) / largest
        squares += float(np.square(scaled).sum())
    return largest * sqrt(squares)


def _front(kind: int, head: bytes, manifest: bytes) -> bytes:
    return _PREFIX.pack(b"DF", VERSION, kind, len(head), len(manifest)) + head


def _open(frame: bytes, kind: int) -> tuple[memoryview, Arrays]:
    if len(frame) < _PREFIX.size:
        raise WireError(f"a frame has at least {_PREFIX.size} bytes, got {len(frame)}")
    magic, version, found, head_size, manifest_size = _PREFIX.unpack_from(frame)
    if magic != b"DF" or version != VERSION:
        raise WireError(
            f"expected a version {VERSION} frame, got magic {magic!r} version {version}"
        )
    if found != kind:
        raise WireError(f"expected a frame of kind {kind}, got {found}")
    manifest_at = _PREFIX.size + head_size
    data_at = manifest_at + manifest_size
    if data_at > len(frame):
        raise WireError(f"the header announces {data_at} bytes, the frame has {len(frame)}")
    view = memoryview(frame)
    head = view[_PREFIX.size : manifest_at]
    return head, _arrays(view[manifest_at:data_at], view[data_at:])


def _arrays(manifest: bytes | memoryview, data: memoryview) -> Arrays:
    layout = (
        _remembered(bytes(manifest)) if len(manifest) <= REMEMBERED_BYTES else _layout(manifest)
    )
    if _end(layout) != len(data):
        raise _misfit(layout, len(data))
    return {name: _view(name, data, dtype, shape, start) for name, dtype, shape, start, _ in layout}


def _layout(manifest: bytes | memoryview) -> Layout:
    """Where each array of a body lies. Raises WireError for arrays that cannot travel."""
    entries = _typed(_manifest, manifest)
    if len(entries) > MOST_ARRAYS:
        raise WireError(f"at most {MOST_ARRAYS} arrays in a frame, got {len(entries)}")
    layout: dict[str, tuple[str, np.dtype, tuple[int, ...], int, int]] = {}
    start = 0
    for name, dtype_name, shape in entries:
        if dtype_name not in DTYPES or name in layout or min(shape, default=0) < 0:
            raise WireError(f"{name}: not an array that can travel: {dtype_name}{list(shape)}")
        dtype = np.dtype(dtype_name)
        # Python integers: no overflow, however large the lie
        end = start + prod(shape) * dtype.itemsize
        layout[name] = (name, dtype, shape, start, end)
        start = end
    return tuple(layout.values())


def _end(layout: Layout) -> int:
    """The first byte behind the last array."""
    return layout[-1][-1] if layout else 0


_remembered = lru_cache(maxsize=64)(_layout)


def _misfit(layout: Layout, size_bytes: int) -> WireError:
    for name, dtype, shape, start, end in layout:
        if end > size_bytes:
            return WireError(
                f"{name}: {size_bytes - start} bytes left, {dtype.str}{list(shape)} needs more"
            )
    return WireError(f"{size_bytes - _end(layout)} bytes after the last array")


def _view(
    name: str, data: memoryview, dtype: np.dtype, shape: tuple[int, ...], start: int
) -> np.ndarray:
    try:
        return (
            np.ndarray(shape, dtype, data, start) if start < len(data) else np.empty(shape, dtype)
        )
    except ValueError as fault:
        raise WireError(f"{name}: no array has the shape {list(shape)}: {fault}") from None


def _typed(decode: Callable[[bytes | memoryview], T], data: bytes | memoryview) -> T:
    try:
        return decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as fault:
        raise WireError(f"unreadable header: {fault}") from None


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.str in DTYPES and array.flags.c_contiguous:
        return array
    little_endian = array.dtype.newbyteorder("<")
    little = np.ascontiguousarray(array).astype(little_endian, copy=False).reshape(array.shape)
    if little.dtype.str not in DTYPES:
        raise ValueError(f"{name}: dtype {array.dtype} cannot travel; use one of {sorted(DTYPES)}")
    return little


@lru_cache(maxsize=256)
def _body_bytes(entries: tuple[tuple[str, str | np.dtype, tuple[int, ...]], ...]) -> int:
    manifest: Manifest = [(name, _spell(dtype), shape) for name, dtype, shape in entries]
    data_bytes = sum(ArraySpec(dtype, shape).size_bytes for _, dtype, shape in manifest)
    return len(_encode(manifest)) + data_bytes


def _spell(dtype: str | np.dtype) -> str:
    return np.dtype(dtype).newbyteorder("<").str
