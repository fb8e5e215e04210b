"""What libmicrovm.aio costs, in one event loop; see cpp.cpp."""

import asyncio
import json
import sys
import time

from libmicrovm import aio


def of_status(name):
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name + ":"))


async def execs(vm, count):
    await vm.exec(["true"])  # the first one also reads the program
    times = []
    for _ in range(count):
        start = time.perf_counter()
        await vm.exec(["true"])
        times.append((time.perf_counter() - start) * 1e6)
    return times


async def runs(runtime, image, count):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        vm = await runtime.run(image)
        times.append((time.perf_counter() - start) * 1e3)
        await vm.terminate()
    return times


async def concurrent(vm, count):
    start = time.perf_counter()
    programs = await asyncio.gather(*(vm.popen(["cat"], stdin_open=True) for _ in range(count)))
    waits = [asyncio.create_task(program.wait()) for program in programs]
    await asyncio.sleep(0)
    beside = {"threads": of_status("Threads"), "rss_kib": of_status("VmRSS")}
    await asyncio.gather(*(program.close_stdin() for program in programs))
    if any(status.code != 0 for status in await asyncio.gather(*waits)):
        sys.exit("a program has failed")
    return {"n": count, "ms": (time.perf_counter() - start) * 1e3, **beside}


async def main(data_dir, name, image, *counts):
    exec_count, run_count, concurrent_count = map(int, counts)
    async with aio.Runtime(data_dir) as runtime:
        vm = await runtime.attach(name)
        print(json.dumps({
            "language": "python async",
            "exec_us": await execs(vm, exec_count),
            "run_ms": await runs(runtime, image, run_count),
            "concurrent": await concurrent(vm, concurrent_count),
        }))


asyncio.run(main(*sys.argv[1:]))
