"""Waiting for a file descriptor in the event loop: what has one needs no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Optional, TypeVar

from ..errors import DeadlineExceeded, InvalidArgument, VmGone, WouldBlock
from ._work import Deadline

T = TypeVar("T")

# So many pieces of a fast stream in a row, then the other tasks have their turn.
_TURNS = 32


class Side:
    """One direction of a descriptor, for one task at a time.

    The descriptor is registered for each wait anew: a stream that has attached again has the same number for another
    file, which the loop's epoll does not know.
    """

    def __init__(self, fd: Callable[[], int], writes: bool = False) -> None:
        self._fd = fd
        self._writes = writes
        self._waiting: Optional[asyncio.Future[None]] = None
        self._leave: Callable[[], object] = lambda: None
        self._turns = 0

    async def until(self, attempt: Callable[[], T], deadline: Deadline) -> T:
        """What `attempt` returns as soon as it does not raise WouldBlock."""
        await self._take_turn()
        while True:
            try:
                return attempt()
            except WouldBlock:
                await self._ready(deadline)

    async def _take_turn(self) -> None:
        # Before anything was taken: a task that is cancelled here loses nothing.
        self._turns += 1
        if self._turns % _TURNS == 0:
            await asyncio.sleep(0)

    async def _ready(self, deadline: Deadline) -> None:
        left = deadline.left()
        waiting = self._register()
        timer = None if left is None else asyncio.get_running_loop().call_later(left, _expire, waiting)
        try:
            await waiting
        finally:
            if timer is not None:
                timer.cancel()
            if self._waiting is waiting:
                self._unregister()

    def _register(self) -> asyncio.Future[None]:
        if self._waiting is not None:
            raise InvalidArgument("another task waits for this stream: one at a time may")
        loop, fd = asyncio.get_running_loop(), self._fd()
        waiting = loop.create_future()
        if self._writes:
            loop.add_writer(fd, _wake, waiting)
            self._leave = lambda: loop.remove_writer(fd)
        else:
            loop.add_reader(fd, _wake, waiting)
            self._leave = lambda: loop.remove_reader(fd)
        self._waiting = waiting
        return waiting

    def _unregister(self) -> None:
        self._waiting = None
        self._leave()

    def close(self) -> None:
        """Who waits is told. Before the descriptor is closed, or its number may be another stream's by then."""
        waiting = self._waiting
        if waiting is None:
            return
        self._unregister()
        if not waiting.done():
            waiting.set_exception(VmGone("the handle was closed under the call"))


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _expire(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(DeadlineExceeded("the time limit of the call is over"))
