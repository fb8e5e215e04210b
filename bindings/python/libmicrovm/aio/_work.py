"""Blocking calls in a few threads, each with a token that the cancellation of its task fires."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import threading
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Optional, TypeVar

from .._native import CancelToken
from .._typing import OnProgress, Timeout
from ..errors import Cancelled, DeadlineExceeded, InvalidArgument
from ..values import Progress

T = TypeVar("T")

# What a blocking call is given: the seconds that are left of its time limit, and its token.
Blocking = Callable[[Optional[float], CancelToken], T]


class Deadline:
    """The moment until which a call may take: its wait for a thread counts."""

    def __init__(self, timeout: Timeout) -> None:
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> Optional[float]:
        """Seconds; None: no limit. Raises DeadlineExceeded when there are none."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the call's time limit is over")
        return left


class Work:
    """The threads of one aio.Runtime, and the calls that are under way in them."""

    def __init__(self, threads: int) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="microvm-aio")
        self._tokens: set[CancelToken] = set()
        self._closed = False
        self.sides: weakref.WeakSet[Any] = weakref.WeakSet()  # of all streams: what tasks may wait for
        _all_work.add(self)

    async def call(
        self,
        blocking: Blocking[T],
        timeout: Timeout = None,
        abandon: Optional[Callable[[T], object]] = None,
    ) -> T:
        """Carries out `blocking` in a thread.

        When the task is cancelled the call is, and this returns once it has left nothing: what it has made all the
        same goes to `abandon`, in a thread too.
        """
        token = CancelToken()
        deadline = Deadline(timeout)
        self._tokens.add(token)
        try:
            return await self._finish(self._submit(lambda: blocking(deadline.left(), token)), token, abandon)
        finally:
            self._tokens.discard(token)

    async def do(self, short: Callable[[], T]) -> T:
        """Carries out `short`, which takes no limits, in a thread: to its end also when the task is cancelled."""
        return await self._finish(self._submit(short), None, None)

    def _submit(self, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        if self._closed:
            raise InvalidArgument("the Runtime is closed")
        return self._pool.submit(work)

    async def _finish(
        self,
        future: concurrent.futures.Future[T],
        token: Optional[CancelToken],
        abandon: Optional[Callable[[T], object]],
    ) -> T:
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            if token is not None and not future.cancel():
                token.cancel()
            await _settled(waiting)
            if abandon is not None and not waiting.cancelled() and waiting.exception() is None:
                made = waiting.result()
                pool = None if self._closed else self._pool
                await _settled(asyncio.get_running_loop().run_in_executor(pool, abandon, made))
            raise
        if waiting.cancelled():
            raise Cancelled("the Runtime was closed before the call had begun")
        return waiting.result()

    @property
    def closed(self) -> bool:
        return self._closed

    def cancel(self) -> None:
        """Cancels the calls that are under way, and tells the tasks that wait for a stream. In their loop."""
        for token in list(self._tokens):
            token.cancel()
        for side in list(self.sides):
            side.close()

    def close(self) -> None:
        """Cancels the calls that are under way; no more begin. Waits for none of them."""
        self._closed = True
        for token in list(self._tokens):
            token.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)


async def _settled(future: asyncio.Future[Any]) -> None:
    """Waits until it is done, however often this task is cancelled meanwhile: that is told anyway."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()  # looked at, or asyncio says that nobody did


def in_loop(on_progress: OnProgress) -> OnProgress:
    """A callback of this task's loop as one for the thread that makes the call."""
    if on_progress is None:
        return None
    function, loop = on_progress, asyncio.get_running_loop()

    def tell(progress: Progress) -> None:
        loop.call_soon_threadsafe(function, progress)

    return tell


_all_work: weakref.WeakSet[Work] = weakref.WeakSet()


def _close_all() -> None:
    for work in list(_all_work):
        work.close()


# An interpreter that ends first joins the threads of all pools, and one may be in a call for a loop that was never
# closed. Only the hook that the pools use themselves, last come first served, is before that.
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    _register(_close_all)
