"""Calls into the loop of all sessions, and what is left when that loop is over."""

import asyncio
import gc
import threading
from concurrent.futures import CancelledError
from contextlib import contextmanager

import pytest
from patience import HANGS_S

from distilfleet.net.loops import begin


@contextmanager
def running():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def halved(count):
    await asyncio.sleep(0)
    return 10 // count


def test_results_and_faults_come_back():
    with running() as loop:
        assert begin(loop, lambda: halved(2)).result(HANGS_S) == 5
        with pytest.raises(ZeroDivisionError):
            begin(loop, lambda: halved(0)).result(HANGS_S)


def test_who_is_cancelled_is_not_waited_for_any_more():
    async def cancelled():
        raise asyncio.CancelledError

    with running() as loop, pytest.raises(CancelledError):
        begin(loop, cancelled).result(HANGS_S)


def test_nothing_is_left_behind_for_a_loop_that_is_over():
    """A coroutine that nobody awaits would be told at the end of the process, after its last
    words."""
    with running() as loop:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        begin(loop, lambda: halved(2))
    gc.collect()
