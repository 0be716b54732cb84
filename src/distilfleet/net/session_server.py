"""The server's sessions on real streams: reads, writes and ticks around a `Coordinator`, in one
asynchronous loop."""

import asyncio
import logging
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ..core.errors import StorageError, WireError
from ..core.failpoint import reached
from ..core.types import DeviceId, Result, Wave
from .coordinator import Coordinator, Outbound
from .handshakes import take_failed
from .heap import HeapTrim
from .keys import Peer
from .outbox import Outbox
from .protocol import MOST_HELLO_BYTES, AnyMessage, Chunk, Decline, Hello, Numbering, Refuse, agree
from .server_side import Drop
from .traffic import Traffic
from .transport import Stream

log = logging.getLogger(__name__)
HELLO_S = 10.0
"""A device has so long to say hello."""
WRITE_S = 30.0
"""A reader that takes longer for one payload is dropped."""
TICK_S = 0.5
FAREWELL_S = 1.0
"""The last words of a session have so long to arrive; then it ends without."""
LOG_PAUSE_S = 60.0
"""The log has at most one line in so long about a device that gets no session."""


@dataclass(slots=True, eq=False)
class Live:
    """One open session."""

    fence: int
    task: "asyncio.Task[None]"
    expires_s: float
    """When the certificate that the device came with expires."""
    traffic: Traffic
    outbox: Outbox
    numbering: Numbering


@dataclass(slots=True)
class SessionServer:
    """All sessions. Its methods belong to the loop's thread."""

    coordinator: Coordinator
    enrolled: Container[DeviceId]
    denied: Callable[[DeviceId], bool]
    live: dict[DeviceId, Live] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """How often a session was refused or ended, by reason."""
    logged: dict[str, int] = field(default_factory=dict)
    declined: dict[DeviceId, str] = field(default_factory=dict)
    """Why a device did not do a job, the last time that it did not."""
    traffic: dict[DeviceId, Traffic] = field(default_factory=dict)
    refusal_logged_s: dict[DeviceId, float] = field(default_factory=dict)
    """When the log was last told that a device gets no session."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    heap_trim: HeapTrim = field(default_factory=HeapTrim)
    fault: StorageError | None = None
    """Why nothing can go on: who is denied, or what became of a job, cannot be read or written."""

    def check(self) -> None:
        """Raises StorageError if it befell a session or a tick, of which nobody else hears."""
        if self.fault is not None:
            raise self.fault

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except StorageError as fault:
            self.fault = self.fault or fault
            self.changed.set()
            raise

    async def stream(self, peer: Peer, stream: Stream) -> None:
        """One device's session, to its end."""
        with self._storing():
            await self._session(peer, stream)

    async def _session(self, peer: Peer, stream: Stream) -> None:
        numbering = Numbering()
        hello = await self._hello(peer, stream, numbering)
        older = self.live.get(peer.device)
        fence, outbound = self.coordinator.enter(hello, time.monotonic(), peer.instance)
        if not fence:
            await self._refuse(peer, stream, outbound)
            return
        if older is not None:
            self._dismiss(older, self.coordinator.server.superseded(peer.device))
        own = self._opened(peer, fence, hello, numbering)
        reached("session.entered")
        writing = asyncio.create_task(self._write(own, stream))
        self.dispatch(outbound)
        try:
            await self._read(peer, own, stream)
        except WireError as fault:
            log.warning("%s: %s", peer.device, fault)
            self.count("protocol")
        finally:  # a device that goes away may cancel this too, at its next `await`
            self._closed(peer, own)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _refuse(self, peer: Peer, stream: Stream, outbound: Outbound) -> None:
        """These are the first and the last words to a device that gets no session now."""
        refusal = next(one.message for one in outbound if not isinstance(one, Drop))
        assert isinstance(refusal, Refuse)
        self.count(refusal.reason.partition(":")[0])
        self._log_refusal(peer.device, refusal.reason)
        await stream.write(Numbering().write(refusal))

    def _opened(self, peer: Peer, fence: int, hello: Hello, numbering: Numbering) -> Live:
        task = asyncio.current_task()
        assert task is not None
        traffic = self.traffic.setdefault(peer.device, Traffic())
        outbox = Outbox(agree(hello.versions) or 0)
        own = Live(fence, task, peer.expires_s, traffic, outbox, numbering)
        self.live[peer.device] = own
        return own

    def _closed(self, peer: Peer, own: Live) -> None:
        if self.live.get(peer.device) is own:
            del self.live[peer.device]
        self.dispatch(self.coordinator.leave(peer.device, own.fence))

    async def collect(self, ticket: int) -> list[Result]:
        """Raises AgainError if other devices are to have the round, StarvedError if none can."""
        while True:
            self.check()
            if ticket not in self.coordinator.waves:
                return []  # called off: nobody asks any more
            results, outbound = self.coordinator.collect(ticket, time.monotonic())
            self.dispatch(outbound)
            if results is not None:
                return results
            self.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self.changed.wait()

    async def start(self, wave: Wave) -> int:
        """Send out a wave's jobs; the ticket by which it is collected."""
        ticket, outbound = self.coordinator.start(wave, time.monotonic())
        self.dispatch(outbound)
        reached("wave.started")
        return ticket

    async def tick(self) -> None:
        """For ever, or until storage fails."""
        while True:
            with self._storing():
                self._tick()
            await asyncio.sleep(TICK_S)

    def _tick(self) -> None:
        self.dispatch(self.coordinator.tick(time.monotonic()))
        if self.coordinator.stood_still_s:
            log.warning(
                "stood still for %.0f s: all devices have their time anew",
                self.coordinator.stood_still_s,
            )
            self.coordinator.stood_still_s = 0.0
        for device in [device for device in self.live if self.denied(device)]:
            self._end(device, "denied")
        now_s = time.time()
        for device in [device for device, own in self.live.items() if own.expires_s < now_s]:
            self._end(device, "expired")
        for reason, times in take_failed().items():
            self.count(f"handshake: {reason}", times)
        self._log_refused()

    def dispatch(self, outbound: Outbound) -> None:
        """Put messages into the outboxes of their devices, and end sessions that are to be
        dropped."""
        for one in outbound:
            session = self.live.get(one.device)
            if session is None:
                continue
            if isinstance(one, Drop):
                self._end(one.device, one.reason)
            elif session.outbox.is_full:
                self._end(one.device, "slow reader")
            else:
                session.outbox.put(one.message)
        self.changed.set()

    async def _hello(self, peer: Peer, stream: Stream, numbering: Numbering) -> Hello:
        """Raises WireError for whoever may not come in."""
        message = await self._first(stream, numbering)
        if not isinstance(message, Hello):
            raise self._refusal("unreadable hello")
        if message.device != peer.device:
            raise self._refusal("hello from another device than the certificate's")
        if peer.device not in self.enrolled or self.denied(peer.device):
            # before it is said: who hears it may hang up, which cancels this
            refusal = self._refusal("denied")
            with suppress(ConnectionError):
                await stream.write(
                    Numbering().write(Refuse("denied: this device is not of this fleet", 60.0))
                )
            raise refusal
        return message

    async def _first(self, stream: Stream, numbering: Numbering) -> AnyMessage | None:
        """The first message; None if it cannot be read. Raises WireError if there is none, or a
        large one."""
        try:
            data = await asyncio.wait_for(stream.read(), HELLO_S)
        except TimeoutError:
            raise self._refusal("no hello in time") from None
        if data is None:
            raise self._refusal("no hello")
        if len(data) > MOST_HELLO_BYTES:
            raise self._refusal("oversized hello")
        try:
            return numbering.read(data)
        except WireError:
            return None

    def _refusal(self, reason: str) -> WireError:
        self.count(reason)
        return WireError(reason)

    def _dismiss(self, own: Live, last: Refuse) -> None:
        """These are the last words of a session; who does not take them hears nothing any more."""
        own.outbox.put(last)
        asyncio.get_running_loop().call_later(FAREWELL_S, own.task.cancel)

    async def farewell(self, reason: str) -> None:
        """To all devices: the server stops. They try again as after any cut."""
        tasks = [own.task for own in self.live.values()]
        for own in self.live.values():
            self._dismiss(own, Refuse(reason, 0.0))
        if tasks:
            await asyncio.wait(tasks, timeout=FAREWELL_S)

    def _end(self, device: DeviceId, reason: str) -> None:
        self.count(reason)
        self.live.pop(device).task.cancel()

    async def _read(self, peer: Peer, own: Live, stream: Stream) -> None:
        while (data := await stream.read()) is not None:
            self.heap_trim.moved(len(data))
            own.traffic.up.add(len(data), time.monotonic())
            for message in own.numbering.messages(data):
                self._note(peer.device, message)
                self.dispatch(
                    self.coordinator.receive(peer.device, own.fence, message, time.monotonic())
                )

    def _note(self, device: DeviceId, message: AnyMessage) -> None:
        """What the log says of a message: of refusals to do a job, each that is new."""
        if isinstance(message, Chunk):
            reached("upload.chunk")
        elif isinstance(message, Decline) and self.declined.get(device) != message.reason:
            self.declined[device] = message.reason
            log.info("%s does not do a job: %r", device, message.reason)
        elif isinstance(message, Refuse):
            log.info("%s leaves: %r", device, message.reason)

    async def _write(self, own: Live, stream: Stream) -> None:
        try:
            while True:
                data, messages = await own.outbox.take()
                async with asyncio.timeout(WRITE_S):
                    await stream.write(data)
                own.traffic.down.add(len(data), time.monotonic())
                if isinstance(messages[-1], Refuse):
                    own.task.cancel()
                    return
        except (ConnectionError, TimeoutError):
            self.count("slow or gone")
            own.task.cancel()

    def count(self, reason: str, times: int = 1) -> None:
        """Somebody was turned away."""
        self.refused[reason] = self.refused.get(reason, 0) + times

    def _log_refused(self) -> None:
        """A line for each reason with news, so that nobody can flood the log."""
        for reason, times in self.refused.items():
            if times != self.logged.get(reason):
                log.warning("refused: %s (%d so far)", reason, times)
        self.logged = dict(self.refused)

    def _log_refusal(self, device: DeviceId, reason: str) -> None:
        """By name, and not each time: who is refused comes again."""
        now_s = time.monotonic()
        refusal_logged_s = self.refusal_logged_s.get(device)
        if refusal_logged_s is None or now_s >= refusal_logged_s + LOG_PAUSE_S:
            self.refusal_logged_s[device] = now_s
            log.warning("%s gets no session: %s", device, reason)
