"""What server and devices say to each other: a closed list of typed messages, each its own bytes.

Every transfer goes the same way in both directions: `Offer`, `Grant`, `Chunk` ..., `Received`. A
grant is cumulative ("I hold what is before `start`, send up to `until`"), so that hearing it twice,
late or out of order does no harm, and no body travels before there is room for it; a small one goes
along with its offer, and again if there was no room. `Received` says that the bytes are there,
`Committed` that the outcome is on disk: a device keeps its answer until then.

A job goes by its *key*, the run's name and the job's id, so that keys never repeat.

    message on the wire = number in its session u32, little endian | msgpack of one of the structs
    payload of a stream = a message, or, since version 3, several:
                          0 u32 | (length u32 | message) ...

Numbers turn a network that loses, repeats or reorders into one that breaks: what comes twice is
dropped, a gap ends the session, and the next session resumes. Within a session order can be relied
on.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated

import msgspec
from blake3 import blake3
from msgspec import Meta

from ..core.errors import WireError
from ..core.types import Expected, Job
from ..core.wire import Body, body_bytes, decode_job, encode_job, head_bytes

VERSION = 3
VERSIONS = tuple(range(VERSION, max(0, VERSION - 2), -1))
"""This one and the one before, best first."""
JOINED_SINCE = 3
MOST_JOINED = 64
JOINED_BYTES = 128 << 10
"""Messages of one payload, and bytes of frames in it; a larger chunk goes alone."""
CHUNK_BYTES = 1 << 20
MOST_MESSAGE_BYTES = CHUNK_BYTES + (64 << 10)
MOST_HELLO_BYTES = 4096
"""Whoever has not said hello is not listened to any longer."""
MOST_KEYS = 64
MOST_KEYS_BYTES = 3072
"""A message lists at most so many keys."""
MOST_REASON = 1000
"""A reason has at most so many characters."""


Text = Annotated[str, Meta(max_length=512)]
Reason = Annotated[str, Meta(max_length=MOST_REASON)]
Digest = Annotated[bytes, Meta(max_length=32)]
Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0.0, le=1e9)]
"""Seconds or joules; neither NaN nor infinity."""
Work = Annotated[float, Meta(ge=0.0, le=1e30)]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Fields are only ever added at the end, with defaults."""


class Hello(Message, frozen=True, tag=1):
    """Device: the first words of a session."""

    versions: Annotated[tuple[int, ...], Meta(max_length=16)]
    device: Text
    unsettled: Annotated[tuple[Text, ...], Meta(max_length=MOST_KEYS)] = ()
    """Jobs whose outcome the device does not know."""


class Welcome(Message, frozen=True, tag=2):
    """Server: the session is open, and any other of this device is over."""

    version: int
    fence: Count
    """The number of the session among all of this device."""
    beat_s: Amount


class Refuse(Message, frozen=True, tag=3):
    """Either: no session, or none any more, why, and after how long there may be one. The last
    words of a session."""

    reason: Reason
    retry_s: Amount


class Beat(Message, frozen=True, tag=4):
    """Either: still here. A server answers each of a device's."""

    battery_share: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    """The charge of the device's battery, if it has one."""


class Setup(Message, frozen=True, tag=5):
    """Server: what to build a worker from, a `RunSpec` in msgpack."""

    run: Text
    spec: bytes


class Offer(Message, frozen=True, tag=6):
    """Either: there is a frame to send."""

    key: Text
    size_bytes: Count
    digest: Digest
    attempt: Count
    """Counts up, so that a grant for an earlier offer is told from one for this."""
    busy_s: Amount = 0.0
    energy_j: Amount = 0.0
    """The seconds and joules that an answer took."""
    measured: bool = False
    """Whether the joules of an answer are a meter's."""
    waited_s: Amount | None = None
    """How long the job of an answer waited at the device; None if that was off in between."""
    flops: Work | None = None
    moved_bytes: Work | None = None
    """The work of an answer as declared before it, so that a forecast can be held against what it
    took."""


class Grant(Message, frozen=True, tag=7):
    """Either: send what is granted of a frame."""

    key: Text
    attempt: Count
    start: Count
    """Chunks before this one have come."""
    until: Count
    """Chunks before this one may be sent."""


class Chunk(Message, frozen=True, tag=8):
    """Either: a piece of a frame."""

    key: Text
    index: Count
    data: Annotated[bytes, Meta(max_length=CHUNK_BYTES)]


class Received(Message, frozen=True, tag=9):
    """Either: all bytes are here, with the right digest. In memory only."""

    key: Text
    digest: Digest


class Committed(Message, frozen=True, tag=10):
    """Server: the outcome is on disk. A device that did not count goes back to what it was before
    the job."""

    key: Text
    counted: bool


class Decline(Message, frozen=True, tag=11):
    """Device: will not, or cannot, do this job."""

    key: Text
    reason: Reason


AnyMessage = (
    Hello | Welcome | Refuse | Beat | Setup | Offer | Grant | Chunk | Received | Committed | Decline
)
_NUMBER = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AnyMessage).decode


@dataclass(slots=True)
class Numbering:
    """One end of a session: numbers what goes out and checks the numbers of what comes in."""

    sent: int = 0
    received: int = 0

    def write(self, message: AnyMessage) -> bytes:
        """The bytes of the next message."""
        self.sent += 1
        return _NUMBER.pack(self.sent) + encode(message)

    def read(self, data: bytes) -> AnyMessage | None:
        """None for what came before. Raises WireError for a gap or unreadable bytes; never anything
        else."""
        number, message = decode(data)
        if number <= self.received:
            return None
        if number != self.received + 1:
            raise WireError(f"expected message {self.received + 1} of the session, got {number}")
        self.received = number
        return message

    def messages(self, payload: bytes) -> Iterator[AnyMessage]:
        """Those of a payload, less what came before. Raises WireError."""
        for data in parted(payload):
            message = self.read(data)
            if message is not None:
                yield message


def encode(message: AnyMessage) -> bytes:
    """A message in msgpack, without its number."""
    return _encode(message)


def decode(data: bytes) -> tuple[int, AnyMessage]:
    """A message and its number. Raises WireError; never anything else, whatever the bytes."""
    if not _NUMBER.size < len(data) <= MOST_MESSAGE_BYTES:
        raise WireError(
            f"a message has {_NUMBER.size + 1} to {MOST_MESSAGE_BYTES} bytes, got {len(data)}"
        )
    try:
        return _NUMBER.unpack_from(data)[0], _decode(memoryview(data)[_NUMBER.size :])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as fault:
        raise WireError(f"unreadable message: {fault}") from None


def joined(messages: Sequence[bytes]) -> bytes:
    """One payload for all of them, to be taken apart by `parted`."""
    if len(messages) == 1:
        return messages[0]
    return b"".join(
        [_NUMBER.pack(0), *(part for one in messages for part in (_NUMBER.pack(len(one)), one))]
    )


def parted(data: bytes) -> list[bytes]:
    """The messages of a payload. Raises WireError; never anything else, whatever the bytes."""
    if data[: _NUMBER.size] != _NUMBER.pack(0):
        return [data]
    messages = list[bytes]()
    at = _NUMBER.size
    while at < len(data):
        start = at + _NUMBER.size
        at = start + (_NUMBER.unpack_from(data, at)[0] if start <= len(data) else len(data))
        if at > len(data):
            raise WireError(f"a message of a payload of {len(data)} bytes ends at byte {at}")
        messages.append(data[start:at])
    return messages


def agree(theirs: Sequence[int], ours: Sequence[int] = VERSIONS) -> int | None:
    """The best version that both speak."""
    return max(set(theirs) & set(ours), default=None)


@dataclass(frozen=True, slots=True)
class Pieces:
    """Bytes one after another, of which many frames may share some: those are not copied."""

    parts: tuple[bytes, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)

    def __getitem__(self, where: slice) -> bytes:
        """Some of them, from a start to an end."""
        at = where.start
        end = where.stop
        cuts = []
        start = 0
        for part in self.parts:
            if at < start + len(part) and start < end:
                cuts.append(memoryview(part)[max(at - start, 0) : end - start])
            start += len(part)
        return b"".join(cuts)


def digest_of(data: bytes | bytearray | Pieces) -> bytes:
    """The BLAKE3 of some bytes, 32 bytes long."""
    digest = blake3()
    for part in data.parts if isinstance(data, Pieces) else (data,):
        digest.update(part)
    return digest.digest()


def chunks_of(size_bytes: int, chunk_bytes: int) -> int:
    """In how many chunks a frame travels."""
    return -(-size_bytes // chunk_bytes)


def key_of(run: str, job: str) -> str:
    """The name of a job among those of all runs."""
    return f"{run}/{job}"


def listed(keys: Sequence[str]) -> tuple[str, ...]:
    """As many as a hello may hold."""
    ends = accumulate(len(key.encode()) + 5 for key in keys)
    return tuple(key for key, end in zip(keys, ends, strict=True) if end <= MOST_KEYS_BYTES)[
        :MOST_KEYS
    ]


def branch_of(run: str, number: int) -> str:
    """The name of a run that went on from an older checkpoint, for the n-th time, than its devices
    did."""
    return f"{run}~{number}" if number else run


def trunk_of(branch: str) -> str:
    """The run that it is a branch of. A run's name does not end in ~ and digits."""
    run, _, number = branch.rpartition("~")
    return run if number.isdigit() else branch


def branch_number(branch: str) -> int:
    """Which branch it is; 0 for the run itself."""
    number = branch.rpartition("~")[2]
    return int(number) if branch != trunk_of(branch) else 0


def run_of(key: str) -> str:
    """The run, or branch, of a job's key."""
    return key.partition("/")[0]


def job_of(key: str) -> str:
    """The id of a job, from its key."""
    return key.partition("/")[2]


# --- frames of jobs -------------------------------------------------------------------------------

_expected = msgspec.msgpack.Decoder(Expected).decode


def pack_job(job: Job, body: Body | None = None) -> Pieces:
    """What a device needs to do a job: the reply that is expected of it, and the job's frame."""
    expected = _encode(job.expected)
    frame = encode_job(job, body)
    return Pieces(
        (_NUMBER.pack(len(expected)) + expected + frame.head, frame.body.manifest, frame.body.data)
    )


def unpack_job(data: bytes) -> Job:
    """Raises WireError; never anything else, whatever the bytes."""
    if len(data) < _NUMBER.size:
        raise WireError(f"a job has at least {_NUMBER.size} bytes, got {len(data)}")
    end = _NUMBER.size + _NUMBER.unpack_from(data)[0]
    try:
        expected = _expected(memoryview(data)[_NUMBER.size : end])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as fault:
        raise WireError(f"unreadable announcement of the reply: {fault}") from None
    return decode_job(data[end:], expected)


def most_bytes(job: Job) -> int:
    """Of the frame of an answer to this job."""
    return head_bytes(job)[1] + body_bytes(job.expected.arrays)
