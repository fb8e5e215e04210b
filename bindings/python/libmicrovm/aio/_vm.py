"""One microVM, for asyncio."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any, Optional

from .. import _native, errors, values, vm
from .._typing import Data, Timeout
from ..exec import ExecResult
from ..values import ExitStatus, FileEvent, FlowRecord, VmEnding
from ._calls import VmCalls
from ._exec import Exec
from ._handle import Handle
from ._pty import Pty
from ._ready import Side
from ._work import Deadline, Work

# As CollectOptions has it.
_COLLECTED_BYTES = 1 << 20

# For programs that nobody got, whose guest may be stuck; a terminal is hung up, and after 5 s killed.
_END_SECONDS, _HANG_UP_SECONDS = 2, 8


class Watch(Handle["_native.Watch"]):
    """What happens to files of a guest, as it happens: ``async for event in await vm.watch(path)``."""

    async def __aiter__(self) -> AsyncIterator[FileEvent]:
        while (event := await self.next()) is not None:
            yield event

    async def next(self, *, timeout: Timeout = None) -> Optional[FileEvent]:
        """The next event; None when what is watched is gone."""
        event = await self._reads.until(self._native.try_next, Deadline(timeout))
        return None if event is None else values.file_event(event)


class LogStream(Handle["_native.LogStream"]):
    """What a Vm's log keeps, then what comes: ``async for data in await vm.follow_logs()``."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (data := await self.read()) is not None:
            yield data

    async def read(self, *, timeout: Timeout = None) -> Optional[bytes]:
        """The next bytes; None when the Vm has ended and all was read."""
        return await self._reads.until(self._native.try_read, Deadline(timeout))


class FlowStream(Handle["_native.FlowStream"]):
    """The flows of a Vm as they come: ``async for flow in await vm.flows()``."""

    async def __aiter__(self) -> AsyncIterator[FlowRecord]:
        while (record := await self.next()) is not None:
            yield record

    async def next(self, *, timeout: Timeout = None) -> Optional[FlowRecord]:
        """The next record; None when the Vm has ended."""
        record = await self._reads.until(self._native.try_next, Deadline(timeout))
        return None if record is None else values.flow_record(record)


class Vm(VmCalls):
    """A microVM: from ``Runtime.run()``, ``attach()``, ``run_checkpoint()`` and ``Vm.fork()``.

    Leaving an ``async with`` block ends a Vm that was started here and dies with its owner; of any other one it only
    lets go, as ``close()`` does.
    """

    def __init__(self, sync: vm.Vm, work: Work) -> None:
        self._sync = sync
        self._native = sync._native
        self._work = work
        self._end: Optional[Side] = None

    async def __aenter__(self) -> Vm:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._sync._ends and not self.closed:
                await self._work.do(self._sync.terminate)
        finally:
            await self.close()

    def __repr__(self) -> str:
        return repr(self._sync).replace("libmicrovm.Vm", "libmicrovm.aio.Vm")

    @property
    def id(self) -> str:
        """12 hex digits; ``Runtime.attach()`` takes it."""
        return self._sync.id

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its Runtime was."""
        return self._sync.closed

    async def _close(self) -> None:
        if self._end is not None:
            self._end.close()
        if not self.closed:
            await self._work.do(self._sync.close)

    async def _exec(
        self,
        argv: Any,
        *,
        check: bool,
        input: Optional[Data],
        text: bool,
        encoding: str,
        errors: str,
        max_bytes: Optional[int],
        timeout: Timeout,
        **options: Any,
    ) -> Any:
        deadline = Deadline(timeout)
        options.update(argv=argv, stdin_open=input is not None)
        most = _COLLECTED_BYTES if max_bytes is None else max_bytes
        program = await self._start(options, deadline.left())
        async with program:
            out, err = await program._collect(input, most, deadline)
            status = await program._wait(deadline)
        result: ExecResult[Any] = ExecResult(
            argv,
            status.returncode,
            out.decode(encoding, errors) if text else out,
            err.decode(encoding, errors) if text else err,
            status,
        )
        if check:
            result.check_returncode()
        return result

    async def _popen(self, argv: Any, *, timeout: Timeout, **options: Any) -> Exec:
        return await self._start({"argv": argv, **options}, timeout)

    async def _start(self, options: dict[str, Any], timeout: Timeout) -> Exec:
        native = await self._work.call(
            lambda left, token: self._native.exec(options, left, token),
            timeout,
            _end_detached if options.get("detached") else _native.Exec.close,
        )
        return Exec(native, self._work)

    async def _attach_exec(self, id: str, *, timeout: Timeout, **options: Any) -> Exec:
        native = await self._work.call(
            lambda left, token: self._native.attach_exec(id, options, left, token), timeout, _native.Exec.close
        )
        return Exec(native, self._work)

    async def _wait_exec(self, id: str, *, timeout: Timeout) -> ExitStatus:
        # A client that reads has a descriptor; one that only waits would keep a thread.
        deadline = Deadline(timeout)
        async with await self._attach_exec(id, timeout=deadline.left(), write=False) as program:
            return await program._wait(deadline)

    async def _pty(self, argv: Any = None, *, timeout: Timeout, **options: Any) -> Pty:
        native = await self._work.call(
            lambda left, token: self._native.pty({"argv": argv, **options}, left, token), timeout, self._hang_up
        )
        return Pty(native, self._work)

    def _hang_up(self, made: _native.Pty) -> None:
        try:
            self._native.close_pty(made.id(), _HANG_UP_SECONDS, None)
        except errors.MicrovmError:  # the handle of the Vm was closed meanwhile, and the Vm may live on
            made.signal(signal.SIGHUP, _HANG_UP_SECONDS, None)
        finally:
            made.close()

    async def _attach_pty(self, id: str, *, timeout: Timeout, **options: Any) -> Pty:
        native = await self._work.call(
            lambda left, token: self._native.attach_pty(id, options, left, token), timeout, _native.Pty.close
        )
        return Pty(native, self._work)

    async def _watch(self, path: Any, *, timeout: Timeout, **options: Any) -> Watch:
        native = await self._work.call(
            lambda left, token: self._native.watch(path, options, left, token), timeout, _native.Watch.close
        )
        return Watch(native, self._work)

    async def _follow_logs(self, source: Any = "app", *, timeout: Timeout) -> LogStream:
        native = await self._work.call(
            lambda left, token: self._native.follow_logs(source, left, token), timeout, _native.LogStream.close
        )
        return LogStream(native, self._work)

    async def _flows(self, *, timeout: Timeout) -> FlowStream:
        native = await self._work.call(
            lambda left, token: self._native.flows(left, token), timeout, _native.FlowStream.close
        )
        return FlowStream(native, self._work)

    async def _connect(self, port: int, *, timeout: Timeout) -> socket.socket:
        made = await self._work.call(
            lambda left, token: self._sync.connect(port, timeout=left, cancel=token), timeout, socket.socket.close
        )
        made.setblocking(False)
        return made

    async def open_connection(
        self, port: int, *, timeout: Timeout = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As ``asyncio.open_connection()``, to a TCP port of the guest's loopback."""
        return await asyncio.open_connection(sock=await self._connect(port, timeout=timeout))

    async def _fork(self, count: int, *, timeout: Timeout, **options: Any) -> list[Vm]:
        forks = await self._work.call(
            lambda left, token: self._sync.fork(count, timeout=left, cancel=token, **options), timeout, _end_all
        )
        return [Vm(each, self._work) for each in forks]

    async def _wait(self, *, timeout: Timeout) -> VmEnding:
        if self._end is None:
            self._end = Side(self._native.end_fd)
            self._work.sides.add(self._end)
        return values.vm_ending(await self._end.until(self._native.try_wait, Deadline(timeout)))


def _end_all(vms: list[vm.Vm]) -> None:
    for each in vms:
        each.terminate()
        each.close()


def _end_detached(made: _native.Exec) -> None:
    """Closing it would leave it running."""
    try:
        made.signal(9, _END_SECONDS, None)
        made.wait(_END_SECONDS, None)
    finally:
        made.close()
