"""A program in a Vm, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, Optional, Protocol, TypeVar

from .. import values
from .._typing import Data, Timeout
from ..exec import ExecResult
from ..values import ExecOutput, ExitStatus
from ._ready import Side
from ._work import Deadline, Work

if TYPE_CHECKING:
    from .. import _native


class Stream(Protocol):
    """A handle of the library that has a descriptor."""

    def fd(self) -> int:
        """Readable when there is something."""

    def close(self) -> None:
        """Lets go of it."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""


Native = TypeVar("Native", bound=Stream)

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


def as_bytes(data: Data) -> memoryview:
    return memoryview(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data).cast("B")


class Exec(Handle["_native.Exec"]):
    """A program in a Vm, or rather one client of it: from ``vm.popen()`` and ``vm.attach_exec()``.

    ``async for`` gives the pieces of both its outputs as they come. Leaving the ``async with`` block and ``close()``
    kill the program if it runs and is not ``detached`` (of ``attach_exec()``: only detach).
    """

    def __init__(self, native: _native.Exec, work: Work) -> None:
        super().__init__(native, work)
        self._status: Optional[ExitStatus] = None

    async def __aenter__(self) -> Exec:
        return self

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"id={self.id!r} pid={self.pid}"
        return f"<libmicrovm.aio.Exec {state}>"

    async def __aiter__(self) -> AsyncIterator[ExecOutput]:
        while (output := await self.read()) is not None:
            yield output

    async def read(self, *, timeout: Timeout = None) -> Optional[ExecOutput]:
        """The next piece of output, as soon as there is one; None at the end."""
        return await self._read(Deadline(timeout))

    async def _read(self, deadline: Deadline) -> Optional[ExecOutput]:
        return values.exec_output(await self._reads.until(self._native.try_read, deadline))

    async def write(self, data: Data, *, timeout: Timeout = None) -> None:
        """Writes all of `data` (bytes-like, or ``str`` as UTF-8) to the program's stdin; waits while it does not read.

        Raises ``Busy`` when this client does not (any more) write.
        """
        await self._write(data, Deadline(timeout))

    async def _write(self, data: Data, deadline: Deadline) -> None:
        rest = as_bytes(data)
        while rest:
            rest = rest[await self._writes.until(lambda: self._native.try_write_stdin(rest), deadline) :]

    async def close_stdin(self, *, timeout: Timeout = None) -> None:
        """The program reads what was written, then the end. May be repeated."""
        await self._close_stdin(Deadline(timeout))

    async def _close_stdin(self, deadline: Deadline) -> None:
        await self._writes.until(self._native.try_close_stdin, deadline)

    async def signal(self, signal: int, *, timeout: Timeout = None) -> None:
        """Sends a signal (a number, or of ``signal.Signals``) to the program's process group."""
        await self._work.call(lambda left, token: self._native.signal(signal, left, token), timeout)

    async def kill(self, *, timeout: Timeout = None) -> None:
        """Sends SIGKILL."""
        await self.signal(9, timeout=timeout)

    async def detach(self, *, timeout: Timeout = None) -> None:
        """Leaves the program running; further calls raise ``Busy``."""
        await self._work.call(self._native.detach, timeout)

    async def wait(self, *, check: bool = False, timeout: Timeout = None) -> ExitStatus:
        """Discards output that was not read, waits for the end and says how it was.

        With ``check`` raises ``subprocess.CalledProcessError`` unless it was exit code 0.
        """
        status = await self._wait(Deadline(timeout))
        if check:
            ExecResult([], status.returncode, b"", b"", status).check_returncode()
        return status

    async def _wait(self, deadline: Deadline) -> ExitStatus:
        if self._status is None:
            self._status = values.exit_status(await self._reads.until(self._native.try_wait, deadline))
        return self._status

    async def communicate(self, input: Optional[Data] = None, *, timeout: Timeout = None) -> tuple[bytes, bytes]:
        """Writes `input` and the end, reads all output, waits for the end; returns ``(stdout, stderr)``."""
        deadline = Deadline(timeout)
        out, err = await self._collect(input, None, deadline)
        await self._wait(deadline)
        return out, err

    async def _collect(self, input: Optional[Data], most: Optional[int], deadline: Deadline) -> tuple[bytes, bytes]:
        # What can not be written is refused here: in the task nobody would hear of it, and the program wait for ever.
        feeder = asyncio.ensure_future(self._feed(as_bytes(input), deadline)) if input is not None else None
        kept = {values.Stream.OUT: bytearray(), values.Stream.ERR: bytearray()}
        try:
            while (output := await self._read(deadline)) is not None:
                buffer = kept[output.stream]
                buffer += output.data if most is None else output.data[: most - len(buffer)]
        finally:
            if feeder is not None:
                feeder.cancel()
                await asyncio.gather(feeder, return_exceptions=True)
        return bytes(kept[values.Stream.OUT]), bytes(kept[values.Stream.ERR])

    async def _feed(self, input: Data, deadline: Deadline) -> None:
        await self._write(input, deadline)
        await self._close_stdin(deadline)

    @property
    def returncode(self) -> Optional[int]:
        """As in ``subprocess``, once ``wait()`` has returned; None before."""
        return None if self._status is None else self._status.returncode

    @property
    def id(self) -> str:
        """Of the program; ``vm.attach_exec()`` takes it."""
        return self._native.id()

    @property
    def pid(self) -> int:
        """In the guest; 0 when it did not start, or had ended when this client attached."""
        return self._native.pid()

    @property
    def position(self) -> int:
        """Of the next byte ``read()`` returns, in both streams together."""
        return self._native.position()

    @property
    def writer(self) -> bool:
        """Whether this client writes stdin."""
        return self._native.writer()
