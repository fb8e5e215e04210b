"""Handles of the library in the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic, Optional, Protocol, TypeVar

from .._typing import Data, Timeout
from ._ready import Side
from ._work import Deadline, Work


class Stream(Protocol):
    """A handle of the library that has a descriptor."""

    def fd(self) -> int:
        """Readable when there is something."""

    def close(self) -> None:
        """Lets go of it."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""


class Program(Stream, Protocol):
    """One that is a client of a program."""

    def signal(self, signal: int, timeout: Timeout, cancel: Any, /) -> None:
        """Sends a signal."""

    def id(self) -> str:
        """Of the program."""

    def pid(self) -> int:
        """In the guest."""

    def position(self) -> int:
        """Of the next byte."""

    def writer(self) -> bool:
        """Whether it writes."""


Native = TypeVar("Native", bound=Stream)
NativeProgram = TypeVar("NativeProgram", bound=Program)
Output = TypeVar("Output")
Self = TypeVar("Self", bound="Handle[Any]")


class Handle(Generic[Native]):
    """What all streams have: a handle of the library, and its descriptor in the event loop.

    One task may read, one other may write. It is closed at the end of an ``async with``, or by ``close()``.
    """

    def __init__(self, native: Native, work: Work) -> None:
        self._native = native
        self._work = work
        self._reads = Side(native.fd)
        self._writes = Side(native.fd, writes=True)
        self._reads.other, self._writes.other = self._writes, self._reads
        work.sides.update((self._reads, self._writes))

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def fileno(self) -> int:
        """Readable when there is something."""
        return self._native.fd()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its Runtime was."""
        return self._native.closed

    async def close(self) -> None:
        """Lets go of it; a task that waits for it is told. May be repeated."""
        self._reads.close()
        self._writes.close()
        if not self.closed:
            await self._work.do(self._native.close)


class ProgramClient(Handle[NativeProgram], Generic[NativeProgram, Output]):
    """One client of a program in a Vm: what an Exec and a Pty are.

    ``async for`` gives the output as it comes, until the program has ended.
    """

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"id={self.id!r} pid={self.pid}"
        return f"<libmicrovm.aio.{type(self).__name__} {state}>"

    async def __aiter__(self) -> AsyncIterator[Output]:
        while (output := await self.read()) is not None:
            yield output

    async def read(self, *, timeout: Timeout = None) -> Optional[Output]:
        """The next piece of output, as soon as there is one; None at the end."""
        return await self._read(Deadline(timeout))

    async def _read(self, deadline: Deadline) -> Optional[Output]:
        raise NotImplementedError

    async def signal(self, signal: int, *, timeout: Timeout = None) -> None:
        """Sends a signal (a number, or of ``signal.Signals``) to the program's process group.

        On a terminal, to the one in its foreground.
        """
        await self._work.call(lambda left, token: self._native.signal(signal, left, token), timeout)

    @property
    def id(self) -> str:
        """Of the program; ``vm.attach_exec()`` or ``vm.attach_pty()`` takes it."""
        return self._native.id()

    @property
    def pid(self) -> int:
        """In the guest; 0 when it did not start, or had ended when this client attached."""
        return self._native.pid()

    @property
    def position(self) -> int:
        """Of the next byte ``read()`` returns, in all that the program puts out."""
        return self._native.position()

    @property
    def writer(self) -> bool:
        """Whether this client writes: to stdin, or as the terminal's keys."""
        return self._native.writer()


def as_bytes(data: Data) -> memoryview:
    """What is to be written, as what can be cut."""
    return memoryview(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data).cast("B")
