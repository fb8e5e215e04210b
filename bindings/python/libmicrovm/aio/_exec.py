"""A program in a Vm, for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Optional

from .. import values
from .._typing import Data, Timeout
from ..exec import ExecResult
from ..values import ExecOutput, ExitStatus
from ._handle import ProgramClient, as_bytes
from ._work import Deadline, Work

if TYPE_CHECKING:
    from .. import _native


class Exec(ProgramClient["_native.Exec", ExecOutput]):
    """A program in a Vm, or rather one client of it: from ``vm.popen()`` and ``vm.attach_exec()``.

    ``async for`` gives the pieces of both its outputs as they come. Leaving the ``async with`` block and ``close()``
    kill the program if it runs and is not ``detached`` (of ``attach_exec()``: only detach).
    """

    def __init__(self, native: _native.Exec, work: Work) -> None:
        super().__init__(native, work)
        self._status: Optional[ExitStatus] = None

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
