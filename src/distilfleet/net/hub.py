"""The server's sessions on real streams: reads, writes and ticks around a `Desk`, in one asynchronous loop."""

import asyncio
import logging
import time
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass, field

from ..core.errors import WireError
from ..core.types import DeviceId, Result, Wave
from .desk import Desk, Said
from .identity import Peer
from .protocol import AnyMessage, Hello, Line, Refuse
from .session import Drop
from .transport import Stream

log = logging.getLogger(__name__)
HELLO_S = 10.0
"""To say hello in."""
WRITE_S = 30.0
"""A reader that takes longer for one message is dropped."""
TICK_S = 0.5


@dataclass(slots=True, eq=False)
class Live:
    """One open session."""

    fence: int
    task: "asyncio.Task[None]"
    line: Line = field(default_factory=Line)
    outbox: "asyncio.Queue[AnyMessage]" = field(default_factory=asyncio.Queue)


@dataclass(slots=True)
class Hub:
    """All sessions. Its methods belong to the loop's thread."""

    desk: Desk
    enrolled: Container[DeviceId]
    denied: Callable[[DeviceId], bool]
    live: dict[DeviceId, Live] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """How often, by reason."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(self, peer: Peer, stream: Stream) -> None:
        """One device's session, to its end."""
        line, hello = Line(), await self._hello(peer, stream)
        line.heard = 1
        task = asyncio.current_task()
        assert task is not None
        older = self.live.get(peer.device)
        fence, said = self.desk.enter(hello, time.monotonic())
        if not fence:
            await stream.write(line.write(next(one.message for one in said if not isinstance(one, Drop))))
            self._count("version")
            return
        if older is not None:
            older.task.cancel()
        self.live[peer.device] = own = Live(fence, task, line)
        writing = asyncio.create_task(self._write(own, stream))
        self.say(said)
        try:
            await self._read(peer, own, stream)
        except WireError as fault:
            log.warning("%s: %s", peer.device, fault)
            self._count("protocol")
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if self.live.get(peer.device) is own:
                del self.live[peer.device]
            self.say(self.desk.leave(peer.device, fence))

    async def collect(self, ticket: int) -> list[Result]:
        while True:
            results, said = self.desk.collect(ticket, time.monotonic())
            self.say(said)
            if results is not None:
                return results
            self.changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), TICK_S)

    async def start(self, wave: Wave) -> int:
        ticket, said = self.desk.start(wave, time.monotonic())
        self.say(said)
        return ticket

    async def tick(self) -> None:
        """For ever."""
        while True:
            self.say(self.desk.tick(time.monotonic()))
            for device in [device for device in self.live if self.denied(device)]:
                self._count("denied")
                self.live[device].task.cancel()
            await asyncio.sleep(TICK_S)

    def say(self, said: Said) -> None:
        for one in said:
            session = self.live.get(one.device)
            if session is None:
                continue
            if isinstance(one, Drop):
                self._count(one.reason)
                session.task.cancel()
            else:
                session.outbox.put_nowait(one.message)
        self.changed.set()

    async def _hello(self, peer: Peer, stream: Stream) -> Hello:
        """Raises WireError for whoever may not come in."""
        if peer.device not in self.enrolled or self.denied(peer.device):
            self._count("denied")
            with suppress(ConnectionError):
                await stream.write(Line().write(Refuse("denied: this device is not of this fleet", 60.0)))
            raise WireError("denied")
        try:
            data = await asyncio.wait_for(stream.read(), HELLO_S)
        except TimeoutError:
            data = None
        message = Line().read(data or b"")
        if not isinstance(message, Hello) or message.device != peer.device:
            self._count("protocol")
            raise WireError("a session begins with hello from the device of the certificate")
        return message

    async def _read(self, peer: Peer, own: Live, stream: Stream) -> None:
        while (data := await stream.read()) is not None:
            message = own.line.read(data)
            if message is not None:
                self.say(self.desk.receive(peer.device, own.fence, message, time.monotonic()))

    async def _write(self, own: Live, stream: Stream) -> None:
        try:
            while True:
                message = await own.outbox.get()
                await asyncio.wait_for(stream.write(own.line.write(message)), WRITE_S)
        except (ConnectionError, TimeoutError):
            self._count("slow or gone")
            own.task.cancel()

    def _count(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
