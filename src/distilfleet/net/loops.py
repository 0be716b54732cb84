"""Calls from other threads into the loop that all sessions share."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def begin(
    loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, T]]
) -> "Future[T]":
    """Work under way in the loop. Raises RuntimeError if the loop is over.

    The coroutine is made in the loop: a signal that comes between making one here and handing it
    over would leave it behind, never awaited.
    """
    future: Future[T] = Future()

    def made() -> None:
        task = loop.create_task(work())
        task.add_done_callback(lambda done: _pass_on(done, future))
        future.add_done_callback(lambda _: task)  # which keeps it: the loop itself does not

    loop.call_soon_threadsafe(made)
    return future


def _pass_on(done: "asyncio.Task[T]", future: "Future[T]") -> None:
    if done.cancelled():
        future.cancel()
        future.set_running_or_notify_cancel()
        return
    fault = done.exception()
    if fault is not None:
        future.set_exception(fault)
    else:
        future.set_result(done.result())
