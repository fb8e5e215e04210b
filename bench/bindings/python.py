"""What the Python interface costs; see cpp.cpp."""

import json
import sys
import time

import libmicrovm


def of_status(name):
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name + ":"))


def execs(vm, count):
    vm.exec(["true"])  # the first one also reads the program
    for _ in range(count):
        start = time.perf_counter()
        vm.exec(["true"])
        yield (time.perf_counter() - start) * 1e6


def runs(runtime, image, count):
    for _ in range(count):
        start = time.perf_counter()
        vm = runtime.run(image)
        yield (time.perf_counter() - start) * 1e3
        vm.terminate()


def concurrent(vm, count):
    start = time.perf_counter()
    programs = [vm.popen(["cat"], stdin_open=True) for _ in range(count)]
    beside = {"threads": of_status("Threads"), "rss_kib": of_status("VmRSS")}
    for program in programs:
        program.close_stdin()
    for program in programs:
        if program.wait().code != 0:
            sys.exit("a program has failed")
    return {"n": count, "ms": (time.perf_counter() - start) * 1e3, **beside}


def main(data_dir, name, image, *counts):
    exec_count, run_count, concurrent_count = map(int, counts)
    with libmicrovm.Runtime(data_dir) as runtime:
        vm = runtime.attach(name)
        print(json.dumps({
            "language": "python",
            "exec_us": list(execs(vm, exec_count)),
            "run_ms": list(runs(runtime, image, run_count)),
            "concurrent": concurrent(vm, concurrent_count),
        }))


main(*sys.argv[1:])
