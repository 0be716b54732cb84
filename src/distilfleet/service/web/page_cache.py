"""The live page as it was last painted, for each thing that somebody looks for in the roster."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ...report.live_page import Painted, View, document, paint
from ...report.page import encoded, sections

EVERY_S = 1.0
"""Between looks at the fleet, while somebody watches."""
SHARE = 0.05
"""Of one processor that painting may take."""
MOST_FIND = 80
"""Characters."""
MOST_BOARDS = 8
"""Another one takes the place of the one that was asked for longest ago; who reads that one goes on
reading it."""


@dataclass(slots=True)
class PageCache:
    """Whoever comes first after a while paints it for all who look for the same."""

    sight: Callable[[], View]
    find: str = ""
    share: float = SHARE
    version: int = 0
    title: str = ""
    slots: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Markup, and the version that it is of."""
    run: Any = None
    of_run: Any = field(default_factory=dict)
    due_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def page(self) -> bytes:
        with self.lock:
            self._paint()
            slots = {name: markup for name, (_, markup) in self.slots.items()}
            return encoded(document(Painted(title=self.title, slots=slots)))

    def news(self, seen: int) -> tuple[int, bytes]:
        """What is newer than version `seen`, as an event; empty if nothing is."""
        with self.lock:
            self._paint()
            if self.version == seen:
                return seen, b""
            new = {name: markup for name, (version, markup) in self.slots.items() if version > seen}
            return (
                self.version,
                f"data: {json.dumps({'title': self.title, 'slots': new})}\n\n".encode(),
            )

    def _paint(self) -> None:
        """Raises TimeoutError if the fleet does not answer."""
        began_s = time.monotonic()
        if began_s < self.due_s:
            return
        view = replace(self.sight(), find=self.find)
        if view.run is not self.run:
            self.run, self.of_run = view.run, {} if view.run is None else sections(view.run)
        painted = paint(view, self.of_run)
        old = {name: markup for name, (_, markup) in self.slots.items()}
        if painted.title != self.title or painted.slots != old:
            self.version = self.version + 1
            self.title = painted.title
        for name, markup in painted.slots.items():
            if old.get(name) != markup:
                self.slots[name] = self.version, markup
        now_s = time.monotonic()
        self.due_s = now_s + max(EVERY_S, (now_s - began_s) / self.share)


@dataclass(slots=True)
class PageCaches:
    """One for each thing that is looked for, of one look at the fleet."""

    sight: Callable[[], View]
    known: dict[str, PageCache] = field(default_factory=dict)
    seen: View | None = None
    due_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, find: str) -> PageCache:
        find = " ".join(find.lower().split())[:MOST_FIND]
        with self.lock:
            board = self.known.pop(find, None) or PageCache(self.view, find)
            self.known[find] = board
            if len(self.known) > MOST_BOARDS:
                del self.known[next(iter(self.known))]
            for one in self.known.values():
                one.share = SHARE / len(self.known)
            return board

    def view(self) -> View:
        """Raises TimeoutError if the fleet does not answer."""
        with self.lock:
            if self.seen is None or time.monotonic() >= self.due_s:
                self.seen = self.sight()
                self.due_s = time.monotonic() + EVERY_S / 2
            return self.seen

    def renew(self) -> None:
        """Something was done that all should see at once."""
        with self.lock:
            self.due_s = 0.0
            for one in self.known.values():
                one.due_s = 0.0
