"""1,000 programs that run at once and 200 more clients of them, in one event loop. Run by test_many.py, alone in its process:
what it counts is all of the process."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from contextlib import AsyncExitStack

from libmicrovm import aio

VMS, PROGRAMS, STREAMS, MOST_THREADS = 5, 1000, 200, 16


def count_threads() -> int:
    return len(os.listdir("/proc/self/task"))


async def echo(program: aio.Exec, word: bytes) -> None:
    await program.write(word)
    seen = b""
    while len(seen) < len(word):
        piece = await program.read()
        assert piece is not None
        seen += piece.data
    assert seen == word


async def talk_to_all(vms: list[aio.Vm]) -> None:
    """All programs are there before the first is spoken to."""
    async with AsyncExitStack() as stack:

        async def start(number: int) -> aio.Exec:
            return await stack.enter_async_context(await vms[number % VMS].popen(["cat"], stdin_open=True))

        began = time.monotonic()
        programs = await asyncio.gather(*map(start, range(PROGRAMS)))
        started = time.monotonic()
        print(f"{PROGRAMS} programs started", flush=True)
        running = sum([len([each for each in await vm.execs() if each.ended is None]) for vm in vms])
        assert running >= PROGRAMS
        await asyncio.gather(*(echo(program, b"%d\n" % number) for number, program in enumerate(programs)))
        assert count_threads() <= MOST_THREADS, os.listdir("/proc/self/task")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{PROGRAMS} programs started in {started - began:.1f} s, spoken to in {time.monotonic() - started:.1f} s,"
            f" {count_threads()} threads, at most {peak} MiB",
            flush=True,
        )
        await attach_many(programs[: STREAMS // 4], vms)

        async def end(program: aio.Exec) -> int:
            await program.close_stdin()
            return (await program.wait()).code

        assert set(await asyncio.gather(*map(end, programs))) == {0}


async def attach_many(programs: list[aio.Exec], vms: list[aio.Vm]) -> None:
    """Four more clients of each, and what is written once comes to all of them."""
    async with AsyncExitStack() as stack:

        async def attach(number: int) -> aio.Exec:
            which = number % len(programs)
            attached = await vms[which % VMS].attach_exec(programs[which].id, write=False, position=programs[which].position)
            return await stack.enter_async_context(attached)

        streams = await asyncio.gather(*map(attach, range(STREAMS)))

        async def hear(stream: aio.Exec) -> bytes:
            piece = await stream.read()
            return piece.data if piece is not None else b""

        hearing = asyncio.gather(*map(hear, streams))
        await asyncio.gather(*(echo(program, b"to all\n") for program in programs))
        assert set(await hearing) == {b"to all\n"}
        assert count_threads() <= MOST_THREADS


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with aio.Runtime() as rt, AsyncExitStack() as stack:
        first = await stack.enter_async_context(await rt.run("counter"))
        forks = [await stack.enter_async_context(each) for each in await first.fork(VMS - 1)]
        await talk_to_all([first, *forks])
    print("done")


if __name__ == "__main__":
    asyncio.run(main())
