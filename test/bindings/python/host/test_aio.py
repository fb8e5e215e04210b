"""How libmicrovm.aio waits, without any guest: for a thread's call, and for a descriptor."""

from __future__ import annotations

import asyncio
import inspect
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Optional, TypeVar

import pytest

import libmicrovm
from libmicrovm import aio
from libmicrovm.aio._ready import Side
from libmicrovm.aio._work import Deadline, Work

T = TypeVar("T")


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


class Call:
    """A call that takes until its token is fired, and a moment more to clean up."""

    def __init__(self, makes: Optional[str] = None) -> None:
        self.makes = makes
        self.begun = threading.Event()
        self.cleaned_up = False

    def __call__(self, left: Optional[float], token: libmicrovm.CancelToken) -> str:
        self.begun.set()
        while not token.cancelled:
            time.sleep(0.01)
        time.sleep(0.1)
        self.cleaned_up = True
        if self.makes is None:
            raise libmicrovm.Cancelled("the call was cancelled")
        return self.makes


async def until_begun(call: Call) -> None:
    while not call.begun.is_set():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("again", [False, True])
def test_a_cancelled_task_ends_after_its_call_has(again: bool) -> None:
    async def work() -> None:
        call, threads = Call(), Work(1)
        task = asyncio.ensure_future(threads.call(call))
        await until_begun(call)
        task.cancel()
        if again:
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.cleaned_up
        threads.close()

    run(work())


def test_what_was_made_all_the_same_is_let_go_of() -> None:
    async def work() -> None:
        let_go: list[str] = []
        call, threads = Call(makes="a Vm"), Work(1)
        task = asyncio.ensure_future(threads.call(call, abandon=let_go.append))
        await until_begun(call)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert let_go == ["a Vm"]
        threads.close()

    run(work())


def test_a_call_that_waits_for_a_thread_never_begins() -> None:
    async def work() -> None:
        first, second, threads = Call(), Call(), Work(1)
        busy = asyncio.ensure_future(threads.call(first))
        await until_begun(first)
        waiting = asyncio.ensure_future(threads.call(second))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        busy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await busy
        assert not second.begun.is_set()
        threads.close()

    run(work())


def test_the_wait_for_a_thread_counts() -> None:
    async def work() -> None:
        threads = Work(1)
        slow = asyncio.ensure_future(threads.call(lambda left, token: time.sleep(0.3)))
        await asyncio.sleep(0)
        with pytest.raises(libmicrovm.DeadlineExceeded):
            await threads.call(lambda left, token: None, 0.1)
        await slow
        seen = await threads.call(lambda left, token: left, 10)
        assert seen is not None and 9 < seen <= 10
        threads.close()

    run(work())


class Pipe:
    """As a stream of the library: a descriptor, and a call that never waits."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)

    def fd(self) -> int:
        return self.ours.fileno()

    def try_read(self) -> bytes:
        try:
            return self.ours.recv(1)
        except BlockingIOError:
            raise libmicrovm.WouldBlock("nothing is there now") from None


def test_a_descriptor_is_waited_for_without_a_thread() -> None:
    async def work() -> None:
        threads = threading.active_count()
        pipes = [Pipe() for _ in range(200)]
        reading = asyncio.gather(*(Side(pipe.fd).until(pipe.try_read, Deadline(None)) for pipe in pipes))
        await asyncio.sleep(0.05)
        for pipe in pipes:
            pipe.theirs.send(b"x")
        assert set(await reading) == {b"x"}
        assert threading.active_count() <= threads

    run(work())


def test_one_task_at_a_time_waits_and_a_cancelled_one_loses_nothing() -> None:
    async def work() -> None:
        pipe = Pipe()
        side = Side(pipe.fd)
        first = asyncio.ensure_future(side.until(pipe.try_read, Deadline(None)))
        await asyncio.sleep(0.01)
        with pytest.raises(libmicrovm.InvalidArgument, match="one at a time"):
            await side.until(pipe.try_read, Deadline(None))
        first.cancel()
        pipe.theirs.send(b"y")
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await side.until(pipe.try_read, Deadline(None)) == b"y"

    run(work())


def test_its_time_limit_and_its_end() -> None:
    async def work() -> None:
        pipe = Pipe()
        side = Side(pipe.fd)
        with pytest.raises(libmicrovm.DeadlineExceeded):
            await side.until(pipe.try_read, Deadline(0.05))
        waiting = asyncio.ensure_future(side.until(pipe.try_read, Deadline(None)))
        await asyncio.sleep(0.01)
        side.close()
        number = pipe.fd()
        pipe.ours.close()
        other = Pipe()
        os.dup2(other.fd(), number)  # the number is another stream's before the task has run
        registered = Side(lambda: number)
        next_one = asyncio.ensure_future(registered.until(other.try_read, Deadline(None)))
        with pytest.raises(libmicrovm.VmGone):
            await waiting
        await asyncio.sleep(0.01)
        other.theirs.send(b"z")
        assert await next_one == b"z"
        os.close(number)

    run(work())


class Both:
    """A descriptor that one task reads and another writes, and that can become another file's."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.reads, self.writes = Side(self.ours.fileno), Side(self.ours.fileno, writes=True)
        self.reads.other, self.writes.other = self.writes, self.reads

    def try_read(self) -> bytes:
        return self._now(lambda: self.ours.recv(1))

    def try_write(self) -> int:
        return self._now(lambda: self.ours.send(b"x"))

    def _now(self, attempt: Callable[[], T]) -> T:
        try:
            return attempt()
        except BlockingIOError:
            raise libmicrovm.WouldBlock("nothing goes now") from None

    def fill(self) -> None:
        with pytest.raises(libmicrovm.WouldBlock):
            while True:
                self.try_write()

    def attach_again(self) -> None:
        """The same number for another file, as a stream does that has attached again."""
        again, theirs = socket.socketpair()
        os.dup2(again.fileno(), self.ours.fileno())
        again.close()
        self.ours.setblocking(False)
        self.theirs.close()
        self.theirs = theirs


def test_who_writes_to_a_stream_that_attached_again_takes_the_reader_along() -> None:
    async def work() -> None:
        both = Both()
        reading = asyncio.ensure_future(both.reads.until(both.try_read, Deadline(None)))
        await asyncio.sleep(0.01)
        both.attach_again()
        both.fill()
        writing = asyncio.ensure_future(both.writes.until(both.try_write, Deadline(None)))
        await asyncio.sleep(0.01)
        both.theirs.send(b"y")
        assert await reading == b"y"
        both.theirs.recv(1 << 20)
        assert await writing == 1

    run(work())


def test_who_gives_up_on_one_that_attached_again_leaves_the_other_direction() -> None:
    async def work() -> None:
        both = Both()
        both.fill()
        writing = asyncio.ensure_future(both.writes.until(both.try_write, Deadline(None)))
        reading = asyncio.ensure_future(both.reads.until(both.try_read, Deadline(0.1)))
        await asyncio.sleep(0.01)
        both.attach_again()
        both.fill()
        with pytest.raises(libmicrovm.DeadlineExceeded):
            await reading
        both.theirs.recv(1 << 20)
        assert await writing == 1

    run(work())


def test_a_closed_side_is_not_waited_for() -> None:
    async def work() -> None:
        pipe = Pipe()
        side = Side(pipe.fd)
        side.close()
        with pytest.raises(libmicrovm.VmGone):
            await side.until(pipe.try_read, Deadline(5))

    run(work())


@pytest.mark.parametrize("closed", ["stream", "runtime"])
def test_closing_tells_who_waits(tmp_path: pathlib.Path, closed: str) -> None:
    async def work() -> None:
        async with aio.Runtime(tmp_path) as runtime:
            events = await runtime.events(follow=True)
            waiting = asyncio.ensure_future(events.next())
            await asyncio.sleep(0.05)
            await (events if closed == "stream" else runtime).close()
            with pytest.raises(libmicrovm.VmGone):
                await waiting
            assert events.closed

    run(work())


class NativeVm:
    """Makes programs although it is cancelled, and notes what becomes of them."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.said: list[tuple[object, ...]] = []

    def exec(self, options: dict[str, Any], left: Optional[float], token: libmicrovm.CancelToken) -> NativeVm:
        self.begun.set()
        assert token.wait(20)
        return self

    def pty(self, options: dict[str, Any], left: Optional[float], token: libmicrovm.CancelToken) -> NativeVm:
        return self.exec(options, left, token)

    def id(self) -> str:
        return "the id"

    def close_pty(self, id: str, timeout: float, cancel: None) -> None:
        self.said.append(("close_pty", id))

    def signal(self, number: int, timeout: float, cancel: None) -> None:
        self.said.append(("signal", number))

    def wait(self, timeout: float, cancel: None) -> None:
        self.said.append(("wait",))

    def close(self) -> None:
        self.said.append(("close",))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (lambda vm: vm.pty(["sh"]), [("close_pty", "the id"), ("close",)]),
        (lambda vm: vm.popen(["sleep"], detached=True), [("signal", 9), ("wait",), ("close",)]),
        (lambda vm: vm.popen(["sleep"]), [("close",)]),
    ],
)
def test_a_program_that_nobody_gets_is_ended(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[aio.Vm], Coroutine[Any, Any, Any]], said: list[tuple[object, ...]]
) -> None:
    async def work() -> None:
        native, threads = NativeVm(), Work(1)
        monkeypatch.setattr("libmicrovm._native.Exec", NativeVm)
        sync: Any = type("Vm", (), {"_native": native})()
        task = asyncio.ensure_future(start(aio.Vm(sync, threads)))
        while not native.begun.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert native.said == said
        threads.close()

    run(work())


def test_input_that_is_none_is_refused_at_once() -> None:
    async def work() -> None:
        pipe = Pipe()
        native: Any = type("Exec", (), {"fd": pipe.fd, "try_read": pipe.try_read, "closed": False})()
        program = aio.Exec(native, Work(1))
        wrong: Any = 5
        with pytest.raises(TypeError):
            await program.communicate(wrong, timeout=20)

    run(work())


def test_a_stream_that_always_has_something_lets_others_run() -> None:
    async def work() -> None:
        side, turns = Side(lambda: 0), []

        async def other() -> None:
            turns.append(1)

        waiting = asyncio.ensure_future(other())
        for _ in range(100):
            await side.until(lambda: b"x", Deadline(None))
        assert turns == [1]
        await waiting

    run(work())


BY_ITS_TASK = {"cancel"}
OF_FILES = {"popen": {"text", "encoding", "errors"}, "attach_exec": {"text", "encoding", "errors"}}
# run() and run_checkpoint() wait for them; files that keep what nobody reads.
WITHOUT_TWIN = {"start", "start_checkpoint", "lost_bytes", "end_fileno"}


def check_twin(name: str, sync: Any, twin: Any) -> None:
    theirs, ours = set(inspect.signature(twin).parameters), set(inspect.signature(sync).parameters)
    assert ours - theirs - BY_ITS_TASK <= OF_FILES.get(name, set()), name
    assert theirs <= ours, name


@pytest.mark.parametrize("name", ["Runtime", "Vm", "Exec", "Pty", "Watch", "LogStream", "FlowStream", "EventStream"])
def test_every_call_has_its_twin(name: str) -> None:
    sync, twin = getattr(libmicrovm, name), getattr(aio, name)
    for call, function in inspect.getmembers(sync):
        if call.startswith(("_", "try_")) or call in WITHOUT_TWIN:
            continue
        assert hasattr(twin, call), call
        if inspect.isfunction(function):
            check_twin(call, function, getattr(twin, call))


@pytest.mark.parametrize("name", ["probe_host", "probe_kvm", "deep_probe"])
def test_so_have_the_functions(name: str) -> None:
    check_twin(name, getattr(libmicrovm, name), getattr(aio, name))


def test_the_host_can_be_asked() -> None:
    async def work() -> None:
        assert [finding.name for finding in await aio.probe_host()][0] == "kvm"

    run(work())


AT_EXIT = """
import asyncio, time
from libmicrovm.aio._work import Work
def call(left, token):
    while not token.cancelled:
        time.sleep(0.01)
    print("cancelled", flush=True)
loop = asyncio.new_event_loop()
work = Work(2)
async def begin():
    asyncio.ensure_future(work.call(call))
    await asyncio.sleep(0.1)
loop.run_until_complete(begin())
"""


def test_the_end_of_the_interpreter_cancels_what_is_under_way() -> None:
    ran = subprocess.run([sys.executable, "-c", AT_EXIT], stdout=subprocess.PIPE, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "cancelled\n")


def test_it_is_imported_only_when_it_is_wanted() -> None:
    check = "import sys, libmicrovm; sys.exit('asyncio' in sys.modules or 'libmicrovm.aio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
