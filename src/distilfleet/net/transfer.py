"""One frame on its way, at both ends: offered, granted, cut into chunks, put together, checked."""

from collections import deque
from dataclasses import asdict, dataclass, field

from .protocol import CHUNK_BYTES, Chunk, Grant, Offer, Pieces, Received, chunks_of, digest_of

EAGER_BYTES = 64 << 10
"""A frame of so few bytes goes along with its offer: waiting for a grant would take longer than the
bytes do."""
WINDOW = 4
"""Chunks of one frame under way, at most."""
AHEAD_S = 0.5
"""No more is under way than the link carries in so long, or one chunk: this is what a cut can
cost."""


def eager(size_bytes: int, chunk_bytes: int) -> bool:
    """Whether a frame comes along with its offer, and needs no grant unless it has to be sent
    again."""
    return size_bytes <= min(EAGER_BYTES, chunk_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What an answer took, and what it was declared to take: the fields that an `Offer` of it has
    too."""

    busy_s: float = 0.0
    energy_j: float = 0.0
    measured: bool = False
    """Whether the joules are a meter's."""
    waited_s: float | None = None
    """How long the job waited at the device before it was begun; None if that was off in
    between."""
    flops: float | None = None
    moved_bytes: float | None = None
    """The bytes of memory that the work moves, as declared before it like its `flops`."""


NO_EFFORT = Effort()
"""A job's: it is only sent."""


@dataclass(slots=True)
class Outgoing:
    """The sender's end. `attempt` tells grants of this offer from those of one before."""

    key: str
    data: bytes | Pieces
    chunk_bytes: int = CHUNK_BYTES
    effort: Effort = NO_EFFORT
    digest: bytes = b""
    attempt: int = 0
    sent: int = 0
    until: int = 0
    received: bool = False

    def __post_init__(self) -> None:
        self.digest = self.digest or digest_of(self.data)

    def offer(self) -> Offer:
        """Start, or start again."""
        self.attempt += 1
        self.until = 0
        self.received = False
        return Offer(self.key, len(self.data), self.digest, self.attempt, **asdict(self.effort))

    def opening(self) -> list[Offer | Chunk]:
        """The offer, and what goes along with it."""
        offer = self.offer()
        return [offer, self._chunk(0)] if eager(len(self.data), self.chunk_bytes) else [offer]

    def granted(self, grant: Grant) -> list[Chunk]:
        """The chunks that may go out now; none for a grant of an earlier offer."""
        if grant.attempt != self.attempt:
            return []
        if self.until == 0:
            self.sent = grant.start
        until = min(grant.until, grant.start + WINDOW, chunks_of(len(self.data), self.chunk_bytes))
        chunks = [self._chunk(index) for index in range(self.sent, until)]
        self.until, self.sent = max(self.until, grant.until), self.sent + len(chunks)
        return chunks

    def _chunk(self, index: int) -> Chunk:
        at = index * self.chunk_bytes
        return Chunk(self.key, index, self.data[at : at + self.chunk_bytes])

    def acknowledge(self, received: Received) -> None:
        """The other end says that it has all bytes, if the digest is that of this frame."""
        self.received = self.received or received.digest == self.digest


@dataclass(slots=True)
class Incoming:
    """The receiver's end; what has come outlives the session in which it came."""

    offer: Offer
    parts: list[bytes] = field(default_factory=list)
    chunk_bytes: int = CHUNK_BYTES
    began_s: float | None = None
    """When the first grant was given."""
    moved_s: float = 0.0
    chunks: int = 0
    """How many chunks have come since then."""
    ahead: int = 1

    @property
    def complete(self) -> bool:
        """Whether all chunks are here."""
        return len(self.parts) == chunks_of(self.offer.size_bytes, self.chunk_bytes)

    def is_of(self, offer: Offer) -> bool:
        """Whether it is this frame, offered again."""
        return (self.offer.digest, self.offer.size_bytes) == (offer.digest, offer.size_bytes)

    @property
    def data(self) -> bytes:
        """The frame, as far as it has come."""
        return b"".join(self.parts)

    def begin(self, now_s: float) -> None:
        """The clock of the transfer starts, once."""
        if self.began_s is None:
            self.began_s = self.moved_s = now_s

    def grant(self, now_s: float) -> Grant:
        """What has come, and how much more may be sent now."""
        self.begin(now_s)
        have = len(self.parts)
        return Grant(self.offer.key, self.offer.attempt, have, have + self.ahead)

    def take(self, chunk: Chunk, now_s: float) -> bool:
        """Whether it was the next one, of the size that it must have; anything else is as if it had
        not come."""
        at = chunk.index * self.chunk_bytes
        wanted = min(self.chunk_bytes, self.offer.size_bytes - at)
        if chunk.index != len(self.parts) or len(chunk.data) != wanted or wanted <= 0:
            return False
        self.parts.append(chunk.data)
        self._pace(now_s)
        return True

    def _pace(self, now_s: float) -> None:
        """One chunk at a time until the link is known to be fast. The mean is not fooled by bursts,
        the last one is not by how fast the link once was."""
        began_s = self.began_s if self.began_s is not None else now_s
        self.chunks += 1
        each_s = max((now_s - began_s) / self.chunks, now_s - self.moved_s)
        self.ahead = WINDOW if each_s * WINDOW <= AHEAD_S else max(1, int(AHEAD_S / each_s))
        self.moved_s = now_s

    def sound(self) -> bool:
        """Whether the bytes have the digest that was offered."""
        return digest_of(self.data) == self.offer.digest


@dataclass(slots=True)
class FlowControl:
    """Bytes that may be under way to the server at once; who finds none waits in line."""

    most_bytes: int
    taken: dict[str, int] = field(default_factory=dict)
    waiting: deque[tuple[str, int]] = field(default_factory=deque)
    used_bytes: int = 0

    def ask(self, key: str, size_bytes: int) -> bool:
        """Whether there is room now. A frame larger than all the room gets it alone."""
        if key in self.taken:
            return True
        if self.waiting or not self._fits(size_bytes):
            if key not in dict(self.waiting):
                self.waiting.append((key, size_bytes))
            return False
        self._take(key, size_bytes)
        return True

    def free(self, key: str) -> list[str]:
        """The frame has come or is called off; the keys that now have room."""
        self.used_bytes -= self.taken.pop(key, 0)
        self.waiting = deque(entry for entry in self.waiting if entry[0] != key)
        called = []
        while self.waiting and self._fits(self.waiting[0][1]):
            waited, size_bytes = self.waiting.popleft()
            self._take(waited, size_bytes)
            called.append(waited)
        return called

    def _fits(self, size_bytes: int) -> bool:
        return not self.taken or self.used_bytes + size_bytes <= self.most_bytes

    def _take(self, key: str, size_bytes: int) -> None:
        self.taken[key] = size_bytes
        self.used_bytes += size_bytes
