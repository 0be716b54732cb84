"""The heap of a process that moves many large messages."""

import ctypes
from pathlib import Path

import pytest

from distilfleet.net.heap import EVERY_BYTES, HeapTrim


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_pages_that_are_free_go_back_after_enough_was_moved():
    pages = [bytes(50_000) for _ in range(2000)]
    between = [bytes(100) for _ in range(100_000)]
    pages += [bytes(50_000) for _ in range(2000)]
    stays = [pages.pop(), between.pop()]
    full_bytes, heap_trim = resident_bytes(), HeapTrim()
    del pages
    heap_trim.moved(EVERY_BYTES - 1)
    heap_trim.moved(1)
    assert resident_bytes() < full_bytes - 50_000_000
    assert heap_trim.since_bytes == 0
    assert stays
