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
        self._closed = False
        self.other: Optional[Side] = None  # the other direction of the same descriptor

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
        if self._closed:
            raise VmGone("the handle was closed under the call")
        loop, fd = asyncio.get_running_loop(), self._fd()
        waiting = loop.create_future()
        add = loop.add_writer if self._writes else loop.add_reader
        remove = loop.remove_writer if self._writes else loop.remove_reader
        try:
            add(fd, _wake, waiting)
        except FileNotFoundError:
            # The other direction was registered when the number stood for another file. By now the loop has
            # forgotten both.
            self._wake_other()
            add(fd, _wake, waiting)
        self._leave = lambda: remove(fd)
        self._waiting = waiting
        return waiting

    def _unregister(self) -> None:
        self._waiting = None
        try:
            self._leave()
        except FileNotFoundError:  # as above
            self._wake_other()

    def _wake_other(self) -> None:
        if self.other is not None and self.other._waiting is not None:
            _wake(self.other._waiting)

    def close(self) -> None:
        """Who waits is told. Before the descriptor is closed, or its number may be another stream's by then."""
        self._closed = True
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
