"""The root object, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from .. import runtime, values, vm
from .._typing import Text, Timeout
from ..values import VmEvent
from ._calls import RuntimeCalls
from ._handle import Handle
from ._vm import Vm
from ._work import Deadline, Work

if TYPE_CHECKING:
    from .. import _native


class EventStream(Handle["_native.EventStream"]):
    """What happens to the Vms of a data directory: ``async for event in await rt.events(follow=True)``."""

    async def __aiter__(self) -> AsyncIterator[VmEvent]:
        while (event := await self.next()) is not None:
            yield event

    async def next(self, *, timeout: Timeout = None) -> Optional[VmEvent]:
        """The next event; None at the end of what is there, unless it follows."""
        event = await self._reads.until(self._native.try_next, Deadline(timeout))
        return None if event is None else values.vm_event(event)


class Runtime(RuntimeCalls):
    """A data directory and what is in it, for one event loop: ``async with aio.Runtime() as rt``.

    Options are those of ``libmicrovm.Runtime``. What has a descriptor (programs, terminals, watches, logs, events, the
    end of a Vm) is waited for in the loop; all other calls share `threads` threads. Cancelling a task cancels
    its call, and ends when that has left nothing behind. Progress callbacks run in the loop; sinks and sources of
    data, `log` and `on_event` in other threads.

    Leaving the ``async with`` block and ``close()`` close everything that came out of the Runtime, and end the Vms that
    die with their owner. ``await aio.Runtime()`` opens one without a block.
    """

    def __init__(
        self,
        data_dir: Optional[Text] = None,
        *,
        pool_size: int = 0,
        memory_limit_bytes: int = 0,
        max_waiting_calls: int = 4096,
        log: Optional[Callable[[str], object]] = None,
        on_event: Optional[Callable[[VmEvent], object]] = None,
        threads: int = 8,
        timeout: Timeout = None,
    ) -> None:
        self._work = Work(threads)
        self._timeout = timeout
        self._open: Callable[[Optional[float], Any], runtime.Runtime] = lambda left, token: runtime.Runtime(
            data_dir,
            pool_size=pool_size,
            memory_limit_bytes=memory_limit_bytes,
            max_waiting_calls=max_waiting_calls,
            log=log,
            on_event=on_event,
            timeout=left,
            cancel=token,
        )

    @classmethod
    def wrap(cls, sync: runtime.Runtime, *, threads: int = 8) -> Runtime:
        """One for the loop beside a ``libmicrovm.Runtime`` that is open; closing it closes both."""
        made = cls(threads=threads)
        made._sync = sync
        return made

    def __await__(self) -> Generator[Any, None, Runtime]:
        return self._opened().__await__()

    async def _opened(self) -> Runtime:
        if not hasattr(self, "_sync"):
            self._sync = await self._work.call(self._open, self._timeout, runtime.Runtime.close)
        return self

    async def __aenter__(self) -> Runtime:
        return await self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(getattr(self, "_sync", None)).replace("libmicrovm.Runtime", "libmicrovm.aio.Runtime")

    @property
    def data_dir(self) -> Path:
        """The directory it has opened."""
        return self._sync.data_dir

    @property
    def closed(self) -> bool:
        """Whether ``close()`` was called."""
        return self._sync.closed

    async def _close(self) -> None:
        if self._work.closed:
            return
        self._work.cancel()  # first: a thread must be free for what follows, and descriptors be out of the loop
        try:
            if hasattr(self, "_sync"):
                await self._work.do(self._sync.close)
        finally:
            self._work.close()

    async def _run(self, image: str, *, timeout: Timeout, **options: Any) -> Vm:
        made = await self._work.call(
            lambda left, token: self._sync.run(image, timeout=left, cancel=token, **options), timeout, vm.Vm.terminate
        )
        return Vm(made, self._work)

    async def _run_checkpoint(self, id_or_name: str, *, timeout: Timeout, **options: Any) -> Vm:
        made = await self._work.call(
            lambda left, token: self._sync.run_checkpoint(id_or_name, timeout=left, cancel=token, **options),
            timeout,
            vm.Vm.terminate,
        )
        return Vm(made, self._work)

    async def _attach(self, id_or_name: str, *, timeout: Timeout) -> Vm:
        attached = await self._work.call(
            lambda left, token: self._sync.attach(id_or_name, timeout=left, cancel=token), timeout, vm.Vm.close
        )
        return Vm(attached, self._work)

    async def _events(self, *, timeout: Timeout, **options: Any) -> EventStream:
        native = await self._work.call(
            lambda left, token: self._sync._native.events(options, left, token), timeout, lambda made: made.close()
        )
        return EventStream(native, self._work)
