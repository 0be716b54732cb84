"""A device's end of a session as a state machine, and the answers that it holds; the server's is in
`server_side`."""

from dataclasses import dataclass, field

from ..core.errors import WireError
from ..core.types import DeviceId
from .protocol import (
    CHUNK_BYTES,
    MOST_REASON,
    VERSION,
    VERSIONS,
    AnyMessage,
    Beat,
    Chunk,
    Committed,
    Decline,
    Grant,
    Hello,
    Offer,
    Received,
    Refuse,
    Setup,
    Welcome,
    listed,
    run_of,
    trunk_of,
)
from .server_side import BEAT_S, LEASE_BEATS
from .transfer import NO_EFFORT, Effort, Incoming, Outgoing, eager
from .wave import LATER


@dataclass(frozen=True, slots=True)
class Prepare:
    """Device: build the worker of this run."""

    run: str
    spec: bytes


@dataclass(frozen=True, slots=True)
class Begin:
    """Device: do this job, then call `answer` or `decline`."""

    key: str
    data: bytes
    digest: bytes
    received_s: float = 0.0
    """When the last bytes of the job came."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Device: the answer may go. Not counted: the worker must be as it was before this job."""

    key: str
    counted: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Device: the server gives no session."""

    reason: str
    retry_s: float


DeviceOutput = AnyMessage | Prepare | Begin | Settle | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An answer that a device keeps until it is settled."""

    job_digest: bytes
    data: bytes
    effort: Effort = NO_EFFORT
    """What it took; on disk its seconds and joules alone."""


@dataclass(slots=True)
class DeviceSide:
    """A device's own session. Methods return what to say and what to do."""

    device: DeviceId
    most_bytes: int
    """The largest job that this device takes now."""
    held: dict[str, Held] = field(default_factory=dict)
    ever_bytes: int = 0
    """The largest job that it would take on another day."""
    open: bool = False
    beat_s: float = BEAT_S
    chunk_bytes: int = CHUNK_BYTES
    version: int = VERSION
    last_seen_s: float = 0.0
    running: dict[str, bytes] = field(default_factory=dict)
    """Digests of the jobs under way here, by key."""
    incoming: dict[str, Incoming] = field(default_factory=dict)
    outgoing: dict[str, Outgoing] = field(default_factory=dict)

    def hello(self, now_s: float) -> Hello:
        """A new connection: these are the first words on it."""
        self.open = False
        self.last_seen_s = now_s
        return Hello(VERSIONS, self.device, listed((*self.held, *self.running)))

    def receive(self, message: AnyMessage, now_s: float) -> list[DeviceOutput]:
        """Raises WireError for what no server says."""
        self.last_seen_s = now_s
        match message:
            case Welcome():
                self._welcomed(message)
                return []
            case Refuse():
                return [Refused(message.reason, message.retry_s)]
            case Setup():
                return [Prepare(message.run, message.spec)]
            case Offer():
                return self._offered(message)
            case Chunk():
                return self._chunk(message)
            case Grant():
                out = self.outgoing.get(message.key)
                return [] if out is None else list(out.granted(message))
            case Received():
                self.outgoing.pop(message.key, None)
                return []
            case Committed():
                return self._settled(message)
            case Beat():
                return []
        raise WireError(f"a server does not say {type(message).__name__}")

    def _welcomed(self, message: Welcome) -> None:
        self.open = True
        self.beat_s = message.beat_s
        self.version = message.version

    def over(self, now_s: float) -> bool:
        """Whether the server has been silent for too long: connect again."""
        return now_s - self.last_seen_s >= LEASE_BEATS * self.beat_s

    def answer(self, key: str, held: Held) -> list[DeviceOutput]:
        """A job is done and its answer on this device's disk. Says nothing if it is no longer
        wanted."""
        if self.running.pop(key, None) != held.job_digest:
            return []
        self.held[key] = held
        return self._send(key)

    def decline(self, key: str, reason: str) -> list[DeviceOutput]:
        """A job will not be done. Says nothing if it is no longer wanted."""
        if self.running.pop(key, None) is None:
            return []
        return [Decline(key, reason[:MOST_REASON])] if self.open else []

    def _offered(self, offer: Offer) -> list[DeviceOutput]:
        held = self.held.get(offer.key)
        if held is not None and held.job_digest == offer.digest:
            return [Received(offer.key, offer.digest), *self._send(offer.key)]
        if self.running.get(offer.key) == offer.digest:
            return [Received(offer.key, offer.digest)]
        if not 0 < offer.size_bytes <= self.most_bytes:
            return [self._too_large(offer)]
        before = self.incoming.get(offer.key)
        forgotten = self._settled(Committed(offer.key, False))
        parts = before.parts if before is not None and before.offer.digest == offer.digest else []
        incoming = Incoming(offer, parts, self.chunk_bytes)
        incoming.begin(self.last_seen_s)
        self.incoming[offer.key] = incoming
        if eager(offer.size_bytes, self.chunk_bytes):
            return forgotten
        return [*forgotten, incoming.grant(self.last_seen_s)]

    def _too_large(self, offer: Offer) -> Decline:
        when = LATER if 0 < offer.size_bytes <= self.ever_bytes else "declined"
        limit = f"a job of {offer.size_bytes} bytes; this device takes {self.most_bytes}"
        return Decline(offer.key, f"{when}: {limit}")

    def _chunk(self, chunk: Chunk) -> list[DeviceOutput]:
        incoming = self.incoming.get(chunk.key)
        if incoming is None or not incoming.take(chunk, self.last_seen_s):
            return []
        if not incoming.complete:
            return [incoming.grant(self.last_seen_s)]
        del self.incoming[chunk.key]
        if not incoming.sound():
            raise WireError(f"{chunk.key}: the bytes do not have the digest that was offered")
        self.running[chunk.key] = incoming.offer.digest
        begin = Begin(chunk.key, incoming.data, incoming.offer.digest, self.last_seen_s)
        return [Received(chunk.key, incoming.offer.digest), begin]

    def _settled(self, message: Committed) -> list[DeviceOutput]:
        """What did not count goes together with all that was built on it, the latest first."""
        run = trunk_of(run_of(message.key))
        done = [key for key in (*self.held, *self.running) if trunk_of(run_of(key)) == run]
        done = done if message.key in self.held else []
        since = (
            done[done.index(message.key) :]
            if message.key in done and not message.counted
            else [message.key]
        )
        out = [settle for key in reversed(since) for settle in self._forget(key, message.counted)]
        return out + [
            Decline(key, "built on an answer that did not count") for key in since[1:] if self.open
        ]

    def _forget(self, key: str, counted: bool) -> list[DeviceOutput]:
        known = key in self.held or key in self.running
        self.held.pop(key, None)
        self.running.pop(key, None)
        self.outgoing.pop(key, None)
        self.incoming.pop(key, None)
        return [Settle(key, counted)] if known else []

    def _send(self, key: str) -> list[DeviceOutput]:
        if key not in self.outgoing:
            held = self.held[key]
            self.outgoing[key] = Outgoing(key, held.data, self.chunk_bytes, held.effort)
        return list(self.outgoing[key].opening()) if self.open else []
