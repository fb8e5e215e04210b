"""Ctrl-C in the middle of calls, and how an interpreter ends."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

import libmicrovm


def until(seen: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not seen() and time.monotonic() < end:
        time.sleep(0.1)
    return seen()


# Says when a call begins, and what became of it. One interpreter for all: a start takes seconds in the rig.
INTERRUPTED = """
import sys, time, libmicrovm
rt = libmicrovm.Runtime()
vm = rt.attach(sys.argv[1])
quiet = vm.popen(["sleep", "600"], id="quiet")
terminal = vm.pty(["sh"], id="terminal")
watch = vm.watch("/tmp")
calls = {
    "exec": lambda: vm.exec(["sleep", "600"], id="interrupted"),
    "read": lambda: quiet.read(),
    "wait": lambda: quiet.wait(),
    "wait_exec": lambda: vm.wait_exec("quiet"),
    "communicate": lambda: quiet.communicate(),
    "pty": lambda: [piece for piece in terminal],
    "watch": lambda: watch.next(),
    "vm": lambda: vm.wait(),
    "sink": lambda: vm.read_file_to("/etc/passwd", lambda data: time.sleep(600)),
    "build": lambda: rt.build("examples/apps/counter", "interrupted"),
    "run": lambda: [rt.run("counter", name=f"interrupted{n}") for n in range(1000)],
}
for name, call in calls.items():
    print("begin", name, flush=True)
    try:
        call()
    except KeyboardInterrupt:
        pass
    else:
        print("no KeyboardInterrupt in", name, flush=True)
    vm.exec(["true"], check=True)
print("done", flush=True)
"""


def test_ctrl_c_in_every_kind_of_call(runtime: libmicrovm.Runtime, vm: libmicrovm.Vm, tree: pathlib.Path) -> None:
    images = len(runtime.images())
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, vm.id], cwd=tree, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if not line.startswith("begin "):
            break
        time.sleep(1)
        child.send_signal(signal.SIGINT)
    assert line == "done\n"
    assert child.wait(60) == 0
    assert [each.name for each in runtime.vms() if each.name.startswith("interrupted")] == []
    assert len(runtime.images()) == images
    assert [each.id for each in vm.execs() if each.ended is None] == []


# A handler takes so long that the call succeeds, and raises then.
@pytest.mark.parametrize("start", ["pty", "popen"])
def test_what_an_interrupted_call_has_started_ends(vm: libmicrovm.Vm, start: str) -> None:
    def is_there() -> bool:
        listed: list[libmicrovm.ExecInfo | libmicrovm.PtyInfo] = [*vm.execs(), *vm.ptys()]
        return any(each.id == "nobodys" and each.ended is None for each in listed)

    seen: list[bool] = []

    def interrupt(*_: object) -> None:
        os.kill(worker, signal.SIGCONT)
        seen.append(until(is_there))
        time.sleep(3)
        raise KeyboardInterrupt

    worker = vm.info().worker_pid
    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1))
    os.kill(worker, signal.SIGSTOP)  # so that the call is under way when the signal comes
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            if start == "pty":
                vm.pty(["sleep", "600"], id="nobodys")
            else:
                vm.popen(["sleep", "600"], id="nobodys", detached=True)
    finally:
        os.kill(worker, signal.SIGCONT)
        signal.signal(signal.SIGUSR1, before)
        timer.join()
    assert seen == [True]
    assert not is_there()


# A Runtime that the collector finds where the Runtime's own thread tells of an event.
COLLECTED = """
import gc, os, signal, threading, libmicrovm
gc.disable()
told = threading.Event()
def on_event(event):
    if event.kind == libmicrovm.VmEventKind.TERMINATED:
        print("collected", gc.collect() > 0, flush=True)
        told.set()
rt = libmicrovm.Runtime(on_event=on_event)
vm = rt.run("counter")
kept = [rt, vm]
kept.append(kept)
worker = vm.info().worker_pid
del rt, vm, kept
os.kill(worker, signal.SIGKILL)
assert told.wait(60)
print("done", flush=True)
"""


def test_a_runtime_that_is_collected_on_its_own_thread(runtime: libmicrovm.Runtime) -> None:
    ran = subprocess.run([sys.executable, "-c", COLLECTED], stdout=subprocess.PIPE, text=True, timeout=120)
    assert (ran.returncode, ran.stdout) == (0, "collected True\ndone\n")


ENDS = """
import sys, libmicrovm
rt = libmicrovm.Runtime()
vm = rt.run("counter")
program = vm.popen(["sleep", "600"])
print(vm.id, flush=True)
if sys.argv[1] == "raise":
    raise SystemExit(7)
if sys.argv[1] == "kill":
    sys.stdin.read()
"""


def begin(how: str) -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen([sys.executable, "-c", ENDS, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


# What its owner left when it was killed is listed, as one that has ended, until a directory is opened.
def lives(runtime: libmicrovm.Runtime, vm: str) -> bool:
    return any(each.id == vm and each.state != "terminated" for each in runtime.vms())


def test_vms_end_with_the_interpreter(runtime: libmicrovm.Runtime) -> None:
    for how, status in (("raise", 7), ("return", 0), ("kill", -signal.SIGKILL)):
        child, vm = begin(how)
        if how == "kill":
            child.kill()
        assert child.wait(60) == status
        for _ in range(100):
            if not lives(runtime, vm):
                break
            time.sleep(0.2)
        assert not lives(runtime, vm), how


def hostname_of(vm: str) -> str:
    with libmicrovm.Runtime() as runtime:
        return str(runtime.attach(vm).exec(["hostname"], text=True).stdout)


def test_multiprocessing(runtime: libmicrovm.Runtime, vm: libmicrovm.Vm) -> None:
    expected = vm.exec(["hostname"], text=True).stdout
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map(hostname_of, [vm.id]) == [expected]
    assert vm.exec(["true"]).returncode == 0
