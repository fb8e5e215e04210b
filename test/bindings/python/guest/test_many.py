"""Thousands of programs in one event loop, with few threads; cancellation that leaves nothing."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

import libmicrovm
from libmicrovm import aio

PATIENCE_SECONDS = 600


def test_a_thousand_programs_and_two_hundred_streams() -> None:
    many = pathlib.Path(__file__).with_name("many.py")
    ran = subprocess.run([sys.executable, many], stdout=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS)
    print(ran.stdout)
    assert ran.returncode == 0 and ran.stdout.endswith("done\n")


def test_calls_are_those_of_the_sync_package(vm: libmicrovm.Vm) -> None:
    async def use() -> None:
        async with aio.Runtime() as rt:
            same = await rt.attach(vm.id)
            assert (await same.info()).id == vm.id
            result = await same.exec(["sh", "-c", "cat; echo oh >&2; exit 3"], input="x" * 100_000, text=True)
            assert (result.returncode, len(result.stdout), result.stderr) == (3, 100_000, "oh\n")
            with pytest.raises(subprocess.CalledProcessError):
                await same.exec(["false"], check=True)
            with pytest.raises(libmicrovm.DeadlineExceeded):
                await same.exec(["sleep", "600"], timeout=1)
            await same.write_file("/tmp/async", b"data")
            assert await same.read_file("/tmp/async") == b"data"
            async with await same.watch("/tmp") as watch:
                await same.remove_file("/tmp/async")
                event = await watch.next(timeout=60)
                assert event is not None and event.path == "async"
            async with await same.pty(["sh"]) as terminal:
                await terminal.write("exit 4\r")
                assert [piece async for piece in terminal]
                assert (await terminal.wait()).code == 4
            reader, writer = await same.open_connection(8080)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert b"in_memory" in await reader.read()
            writer.close()
            # Two clients learn of the same end; none of them keeps a thread.
            async with await same.popen(["sleep", "1"], id="short") as program:
                ends = await asyncio.gather(same.wait_exec("short"), program.wait())
                assert [end.code for end in ends] == [0, 0]
            await same.close()

    asyncio.run(use())


async def cancelled(work: Awaitable[object], after: float, may_be_through: bool) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.sleep(after)
    task.cancel()
    try:
        made = await task
    except asyncio.CancelledError:
        return
    assert may_be_through
    for each in made if isinstance(made, list) else [made]:
        assert isinstance(each, aio.Vm)
        await each.terminate()
        await each.close()


def test_a_cancelled_task_leaves_nothing(runtime: libmicrovm.Runtime, vm: libmicrovm.Vm, tree: pathlib.Path) -> None:
    async def cancel_all() -> None:
        async with aio.Runtime() as rt:
            same = await rt.attach(vm.id)
            await same.exec(["true"])
            calls: list[tuple[Callable[[], Awaitable[object]], bool]] = [
                (lambda: same.exec(["sleep", "600"], id="to-cancel"), False),
                (lambda: same.wait(), False),
                (lambda: rt.run("counter", name="to-cancel"), True),
                (lambda: same.fork(2, name="to-cancel"), True),
                (lambda: rt.build(tree / "examples/apps/counter", "to-cancel"), False),
            ]
            descriptors = 0
            for after in (0.3, 0, 0.3):
                for call, may_be_through in calls:
                    await cancelled(call(), after, may_be_through)
                if descriptors == 0:  # what a Runtime opens for its first microVM stays
                    await asyncio.sleep(5)
                    descriptors = len(os.listdir("/proc/self/fd"))
            for _ in range(100):
                if len(os.listdir("/proc/self/fd")) <= descriptors:
                    break
                await asyncio.sleep(0.2)
            assert len(os.listdir("/proc/self/fd")) <= descriptors
            assert [each.id for each in await same.execs() if each.id == "to-cancel" and each.ended is None] == []
            assert [each.name for each in await rt.vms() if each.name.startswith("to-cancel")] == []
            assert [each.name for each in await rt.images() if each.name == "to-cancel"] == []
            assert (await same.exec(["true"])).returncode == 0

    asyncio.run(cancel_all())


def test_the_end_of_the_vm_reaches_who_waits(runtime: libmicrovm.Runtime) -> None:
    async def end() -> None:
        async with aio.Runtime() as rt:
            short = await rt.run("counter")
            waiting = asyncio.ensure_future(short.wait())
            program = await short.popen(["sleep", "600"])
            reading = asyncio.ensure_future(program.read())
            await asyncio.sleep(0)
            await short.terminate()
            assert (await waiting).end == libmicrovm.VmEnd.TERMINATED
            with pytest.raises(libmicrovm.VmGone):
                await reading

    asyncio.run(end())


ABANDONED = """
import asyncio, sys
from libmicrovm import aio
async def main():
    rt = await aio.Runtime()
    vm = await rt.run("counter")
    print(vm.id, flush=True)
    asyncio.ensure_future(vm.counters())
    asyncio.ensure_future(vm.exec(["sleep", "600"]))
    asyncio.ensure_future(rt.build("examples/apps/counter", "abandoned"))
    await asyncio.sleep(1)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


def test_a_loop_that_was_never_closed_does_not_keep_the_interpreter(runtime: libmicrovm.Runtime, tree: pathlib.Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ABANDONED], cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() not in [each.id for each in runtime.vms()]
