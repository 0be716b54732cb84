"""Messages on their way out of a session: what somebody waits for goes at once, and takes along
what nobody does."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from .protocol import (
    JOINED_BYTES,
    JOINED_SINCE,
    MOST_JOINED,
    AnyMessage,
    Beat,
    Chunk,
    Committed,
    Numbering,
    Received,
    joined,
)

LINGER_S = 0.003
"""A message that nobody waits for may wait so long for company."""
MOST_UNSENT_BYTES = 256 << 10
"""A reader who lets more bytes pile up is dropped. Chunks count without their data, which grants
bound."""


@dataclass(slots=True, eq=False)
class Outbox:
    """One end's. Belongs to the loop's thread."""

    version: int = 0
    """The version that the other end speaks, once it is known: older ones take one message at a
    time."""
    numbering: Numbering = field(default_factory=Numbering)
    waiting: deque[AnyMessage] = field(default_factory=deque)
    waiting_bytes: int = 0
    due: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def is_full(self) -> bool:
        """Whether the reader has let too much pile up."""
        return self.waiting_bytes > MOST_UNSENT_BYTES

    def put(self, message: AnyMessage) -> None:
        """A message to go out: at once if somebody waits for it, else within `LINGER_S`."""
        self.waiting.append(message)
        self.waiting_bytes += _words_bytes(message)
        if not isinstance(message, Received | Committed | Beat):
            self.due.set()
        elif self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(LINGER_S, self._linger_no_more)

    async def take(self) -> tuple[bytes, list[AnyMessage]]:
        """The next payload, and what is in it."""
        await self.due.wait()
        messages = [self._next()]
        size_bytes = 0
        most = MOST_JOINED if self.version >= JOINED_SINCE else 1
        while self.waiting and len(messages) < most:
            size_bytes += _bulk_bytes(messages[-1])
            if size_bytes + _bulk_bytes(self.waiting[0]) > JOINED_BYTES:
                break
            messages.append(self._next())
        if not self.waiting:
            self.due.clear()
        return joined([self.numbering.write(message) for message in messages]), messages

    def _next(self) -> AnyMessage:
        message = self.waiting.popleft()
        self.waiting_bytes -= _words_bytes(message)
        return message

    def _linger_no_more(self) -> None:
        self.timer = None
        if self.waiting:
            self.due.set()


def _bulk_bytes(message: AnyMessage) -> int:
    return len(message.data) if isinstance(message, Chunk) else 0


def _words_bytes(message: AnyMessage) -> int:
    """About what it takes, without the data of chunks."""
    return 32 + len(getattr(message, "key", ""))
