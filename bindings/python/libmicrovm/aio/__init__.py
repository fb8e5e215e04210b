"""The same for asyncio: a twin for every call of ``libmicrovm`` that may block.

>>> from libmicrovm import aio
>>> async with aio.Runtime() as rt, await rt.run("counter") as vm:
...     print((await vm.exec(["hostname"], text=True)).stdout)

Names and options are those of the calls they stand for, without `cancel`: cancelling the task cancels the call, and
the task ends when the call has left nothing behind. Thousands of programs, terminals, watches and logs are waited for in
the event loop, without a thread each; see :class:`Runtime`.
"""

from ._exec import Exec
from ._probe import deep_probe, probe_host, probe_kvm
from ._pty import Pty
from ._runtime import EventStream, Runtime
from ._vm import FlowStream, LogStream, Vm, Watch

__all__ = [
    "EventStream",
    "Exec",
    "FlowStream",
    "LogStream",
    "Pty",
    "Runtime",
    "Vm",
    "Watch",
    "deep_probe",
    "probe_host",
    "probe_kvm",
]
