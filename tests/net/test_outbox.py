"""What goes out at once, what lingers, and what goes together."""

import asyncio
import time

import pytest

from distilfleet.net.outbox import LINGER_S, Outbox
from distilfleet.net.protocol import (
    JOINED_BYTES,
    MOST_MESSAGE_BYTES,
    VERSION,
    AnyMessage,
    Beat,
    Chunk,
    Committed,
    Grant,
    Received,
)

URGENT, LAZY = Grant("run/1", 1, 0, 4), Received("run/1", b"d")


async def taken(box: Outbox) -> tuple[list, float]:
    """With the seconds that it took."""
    began_s = time.monotonic()
    _, messages = await box.take()
    return messages, time.monotonic() - began_s


async def put_and_taken(box: Outbox, message: AnyMessage) -> tuple[list, float]:
    """With the seconds since before it was put: however busy the machine is, they are no fewer than
    it lingered."""
    began_s = time.monotonic()
    box.put(message)
    messages, _ = await taken(box)
    return messages, time.monotonic() - began_s


def test_what_nobody_waits_for_lingers_and_goes():
    async def alone():
        box = Outbox(VERSION)
        first, first_s = await put_and_taken(box, LAZY)
        second, second_s = await put_and_taken(box, Beat())
        return first, second, min(first_s, second_s)

    first, second, least_s = asyncio.run(alone())
    assert (first, second) == ([LAZY], [Beat()])
    assert least_s >= 0.9 * LINGER_S


def test_what_somebody_waits_for_takes_along_what_lingers():
    async def together():
        box = Outbox(VERSION)
        asyncio.get_running_loop().call_later(3600, box.put, Beat())
        box.put(LAZY)
        box.timer.cancel()
        box.put(URGENT)
        messages, _ = await taken(box)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(box.take(), 3 * LINGER_S)
        return messages

    assert asyncio.run(together()) == [LAZY, URGENT]


def test_chunks_that_are_large_travel_alone():
    async def sizes(chunks):
        box, found = Outbox(VERSION), []
        for size_bytes in chunks:
            box.put(Chunk("run/1", 0, bytes(size_bytes)))
        while len(box):
            data, messages = await box.take()
            assert len(data) < MOST_MESSAGE_BYTES
            found.append(len(messages))
        return found

    third = JOINED_BYTES // 3
    assert asyncio.run(sizes([third, third, third, third, 1 << 20, 1 << 20, 10, 10])) == [
        3,
        1,
        1,
        1,
        2,
    ]


def test_a_round_of_many_jobs_is_committed_to_a_slow_device_at_once():
    async def committed(count, key):
        box = Outbox(VERSION)
        for number in range(count):
            box.put(Committed(f"{key}{number}", True))
        return box

    box = asyncio.run(committed(2000, "splitkd-20261121-091500-000000/12.3.step"))
    assert not box.is_full
    assert asyncio.run(committed(2000, "x" * 480)).is_full


def test_what_was_taken_waits_no_more():
    async def emptied():
        box = Outbox(VERSION)
        for _ in range(200):
            box.put(LAZY)
            box.put(URGENT)
        while len(box):
            await box.take()
        return box.waiting_bytes

    assert asyncio.run(emptied()) == 0
