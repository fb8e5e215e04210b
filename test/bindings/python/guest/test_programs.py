"""Programs: their streams, from several threads and with signals; Vms that are started beside."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from typing import Any, Callable, Iterator

import pytest

import libmicrovm

Soon = Callable[..., None]


def running(vm: libmicrovm.Vm, word: str) -> list[libmicrovm.ExecInfo]:
    return [each for each in vm.execs() if each.ended is None and word in each.command]


def gone(vm: libmicrovm.Vm, word: str) -> bool:
    end = time.monotonic() + 20
    while running(vm, word) and time.monotonic() < end:
        time.sleep(0.2)
    return not running(vm, word)


@pytest.fixture
def soon() -> Iterator[Soon]:
    timers: list[threading.Timer] = []

    def start(after: float, action: Callable[..., object], *arguments: Any) -> None:
        timers.append(threading.Timer(after, action, arguments))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.join()


def test_what_could_not_be_started_says_why(vm: libmicrovm.Vm) -> None:
    result = vm.exec(["nothing-there"])
    assert result.returncode == 127
    assert "nothing-there" in result.status.message
    with pytest.raises(subprocess.CalledProcessError) as raised:
        result.check_returncode()
    assert b"nothing-there" in raised.value.stderr


def test_environment_is_a_mapping_or_a_list(vm: libmicrovm.Vm) -> None:
    show = ["sh", "-c", "echo $A-$B"]
    assert vm.exec(show, env={"A": "1", "B": "x"}, text=True).stdout == "1-x\n"
    assert vm.exec(show, env=["A=2"], text=True).stdout == "2-\n"
    assert vm.exec(show, env=["A=2", "B=3", "A"], text=True).stdout == "-3\n"
    assert vm.exec(show, env={"A": None, "B": "3"}, text=True).stdout == "-3\n"


def test_no_input_is_the_end_of_it(vm: libmicrovm.Vm) -> None:
    assert vm.exec(["cat"], input=b"").stdout == b""
    assert vm.exec(["cat"]).stdout == b""


def test_communicate_writes_and_reads_at_once(vm: libmicrovm.Vm) -> None:
    data = os.urandom(1_500_000)
    with vm.popen(["cat"], stdin_open=True) as program:
        out, err = program.communicate(data)
    assert (out == data, err, program.returncode) == (True, b"", 0)


def test_communicate_is_taken_up_again_after_its_limit(vm: libmicrovm.Vm) -> None:
    with vm.popen(["sh", "-c", "echo a; sleep 3; echo b >&2"], text=True) as program:
        with pytest.raises(libmicrovm.DeadlineExceeded):
            program.communicate(timeout=0.5)
        assert program.communicate(timeout=60) == ("a\n", "b\n")


def test_two_threads_read_one_stream_each(vm: libmicrovm.Vm) -> None:
    with vm.popen(["sh", "-c", "echo a; sleep 1; echo b >&2; sleep 1; echo c"]) as program:
        got = {}
        threads = [
            threading.Thread(target=lambda name=name: got.update({name: getattr(program, name).read()}))
            for name in ("stdout", "stderr")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert got == {"stdout": b"a\nc\n", "stderr": b"b\n"}


def test_one_stream_after_the_other(vm: libmicrovm.Vm) -> None:
    script = "for i in 1 2 3; do echo o$i; echo e$i >&2; done"
    with vm.popen(["sh", "-c", script], text=True) as program:
        assert list(program.stderr) == ["e1\n", "e2\n", "e3\n"]
        assert list(program.stdout) == ["o1\n", "o2\n", "o3\n"]
        assert program.lost_bytes == 0


def test_what_never_waits(vm: libmicrovm.Vm) -> None:
    with vm.popen(["sleep", "103"]) as program:
        for call in (program.try_read, program.try_wait):
            with pytest.raises(libmicrovm.WouldBlock):
                call()
        program.kill()
        assert program.wait().returncode == -signal.SIGKILL
        assert program.try_read() is None
    with pytest.raises(libmicrovm.WouldBlock):
        vm.try_wait()


def test_a_dropped_program_ends(vm: libmicrovm.Vm) -> None:
    vm.popen(["sleep", "104"])
    assert gone(vm, "104")


def test_a_file_keeps_its_program(vm: libmicrovm.Vm) -> None:
    assert vm.popen(["sh", "-c", "sleep 1; echo a"]).stdout.read() == b"a\n"
    writer = vm.popen(["sleep", "105"], stdin_open=True, text=True).stdin
    assert writer is not None
    writer.write("a")
    assert running(vm, "105")
    del writer
    assert gone(vm, "105")


def test_a_handler_that_forwards_ctrl_c(vm: libmicrovm.Vm, soon: Soon) -> None:
    script = "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    program = vm.popen(["sh", "-c", script], text=True)
    assert program.stdout.readline() == "ready\n"
    before = signal.signal(signal.SIGINT, lambda *_: program.signal(signal.SIGINT))
    try:
        soon(1, os.kill, os.getpid(), signal.SIGINT)
        assert program.stdout.read() == "got\n"
        assert program.wait().code == 5
    finally:
        signal.signal(signal.SIGINT, before)
        program.close()


# In the call, and in the block. Between the two, in Python's own return from the call, the Vm is lost to its Runtime.
@pytest.mark.parametrize("after", [0.02, 5])
def test_ctrl_c_in_a_run_leaves_no_vm(runtime: libmicrovm.Runtime, soon: Soon, after: float) -> None:
    before = {each.id for each in runtime.vms()}
    soon(after, os.kill, os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        with runtime.run("counter"):
            time.sleep(60)  # it was faster
    assert {each.id for each in runtime.vms()} == before


def test_a_start_beside(runtime: libmicrovm.Runtime) -> None:
    start = runtime.start("counter")
    with start.take(timeout=120) as started:
        assert started.exec(["true"]).returncode == 0
    with pytest.raises(libmicrovm.InvalidArgument):
        start.take()
    before = len(runtime.vms())
    with runtime.start("counter"):
        pass
    end = time.monotonic() + 30
    while len(runtime.vms()) > before and time.monotonic() < end:
        time.sleep(0.2)
    assert len(runtime.vms()) == before


def test_names_that_are_no_utf_8(vm: libmicrovm.Vm) -> None:
    vm.make_directory("/tmp/odd", parents=True)
    vm.write_file(b"/tmp/odd/\xff\xfe", b"1")
    (name,) = [each.name for each in vm.list_files("/tmp/odd")]
    assert os.fsencode(name) == b"\xff\xfe"
    assert vm.read_file("/tmp/odd/" + name) == b"1"
