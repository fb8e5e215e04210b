"""A terminal in a Vm, for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Union

from .. import values
from .._typing import Data, Timeout
from ..values import ExitStatus, PtyOutput, PtySize
from ._handle import ProgramClient, as_bytes
from ._work import Deadline

if TYPE_CHECKING:
    from .. import _native


class Pty(ProgramClient["_native.Pty", PtyOutput]):
    """A program on a terminal, or rather one client of it: from ``vm.pty()`` and ``vm.attach_pty()``.

    ``async for`` gives its output as it comes. Leaving the ``async with`` block and ``close()`` only detach.
    """

    async def _read(self, deadline: Deadline) -> Optional[PtyOutput]:
        return values.pty_output(await self._reads.until(self._native.try_read, deadline))

    async def write(self, data: Data, *, timeout: Timeout = None) -> None:
        """Keys, as a terminal sends them: "\\r" is Enter, "\\x03" Ctrl-C. Waits while the program does not read."""
        rest, deadline = as_bytes(data), Deadline(timeout)
        while rest:
            rest = rest[await self._writes.until(lambda: self._native.try_write(rest), deadline) :]

    async def resize(self, size: Union[PtySize, tuple[int, int]], *, timeout: Timeout = None) -> None:
        """A new size, a PtySize or ``(rows, columns)``; only a writer's counts."""
        await self._work.call(lambda left, token: self._native.resize(size, left, token), timeout)

    async def detach(self) -> None:
        """Closes this client's connection; the program goes on."""
        await self._work.do(self._native.detach)

    async def wait(self, *, timeout: Timeout = None) -> ExitStatus:
        """Discards output that was not read and waits for the program's end."""
        return values.exit_status(await self._reads.until(self._native.try_wait, Deadline(timeout)))
