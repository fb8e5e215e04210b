"""The whole life of a microVM, as a program sees it."""

from __future__ import annotations

import http.client
import io
import os
import pathlib
import socket
import subprocess
import tarfile
import time

import pytest

import libmicrovm


def test_exec_is_as_subprocess(vm: libmicrovm.Vm) -> None:
    result = vm.exec(["sh", "-c", "cat; echo oh >&2; exit 3"], input="hello", text=True)
    assert (result.returncode, result.stdout, result.stderr) == (3, "hello", "oh\n")
    assert vm.exec(["printf", "\\377"]).stdout == b"\xff"
    with pytest.raises(subprocess.CalledProcessError) as failed:
        vm.exec(["false"], check=True)
    assert failed.value.returncode == 1
    assert vm.exec(["/no/such"]).returncode == 127
    assert vm.exec(["sh", "-c", "echo $A$B; pwd"], env={"A": "1", "B": "2"}, cwd="/tmp").stdout == b"12\n/tmp\n"


def test_exec_is_killed_when_its_time_is_over(vm: libmicrovm.Vm) -> None:
    with pytest.raises(libmicrovm.DeadlineExceeded):
        vm.exec(["sleep", "600"], id="too-long", timeout=1)
    # Killed is what it has been then; its end is the guest's to tell, an instant later.
    until = time.monotonic() + 30
    while "too-long" in [each.id for each in vm.execs() if each.ended is None]:
        assert time.monotonic() < until
        time.sleep(0.05)
    result = vm.exec(["sh", "-c", "echo begun; sleep 600"], program_timeout=2)
    assert result.status.timed_out and result.stdout == b"begun\n"


def test_popen_streams_both_ways(vm: libmicrovm.Vm) -> None:
    with vm.popen(["cat"], stdin_open=True) as program:
        program.write("one\n")
        piece = program.read(timeout=60)
        assert piece is not None and (piece.stream, piece.data) == (libmicrovm.Stream.OUT, b"one\n")
        with pytest.raises(libmicrovm.WouldBlock):
            program.try_read()
        program.close_stdin()
        assert [*program] == []
        assert program.wait().code == 0
    with vm.popen(["sh", "-c", "seq 3; seq 4 5 >&2"], text=True) as lines:
        assert list(lines.stdout) == ["1\n", "2\n", "3\n"]
        assert lines.stderr.read() == "4\n5\n"


def test_a_program_outlives_its_client(vm: libmicrovm.Vm) -> None:
    with vm.popen(["sh", "-c", "echo first; read x; echo got $x"], stdin_open=True, detached=True, id="left") as program:
        program.read(timeout=60)
        position = program.position
    with vm.attach_exec("left", position=position) as again:
        again.write("this\n")
        assert b"".join(piece.data for piece in again) == b"got this\n"
        assert again.wait().code == 0


def test_a_terminal(vm: libmicrovm.Vm) -> None:
    with vm.pty(["sh"], size=(30, 100)) as terminal:
        terminal.write("stty size; exit 4\r")
        shown = b"".join(piece.data for piece in terminal)
        assert b"30 100" in shown
        assert terminal.wait().code == 4


def test_files(vm: libmicrovm.Vm, tmp_path: pathlib.Path) -> None:
    vm.make_directory("/t/a", parents=True)
    vm.write_file("/t/a/b", "text", mode=0o600)
    vm.append_file("/t/a/b", b" more")
    assert vm.read_file("/t/a/b", offset=5) == b"more"
    info = vm.stat_file("/t/a/b")
    assert (info.size_bytes, info.mode, info.type) == (9, 0o600, libmicrovm.FileType.REGULAR)
    vm.rename_file("/t/a/b", "/t/a/c")
    assert [each.name for each in vm.list_files("/t/a")] == ["c"]
    with pytest.raises(libmicrovm.NotFound):
        vm.read_file("/t/a/b")
    assert vm.download("/t", tmp_path).entries == 3
    assert (tmp_path / "t/a/c").read_bytes() == b"text more"
    vm.upload(tmp_path / "t", "/u")
    packed = io.BytesIO()
    vm.download_tar("/u", packed)
    packed.seek(0)
    assert "u/t/a/c" in [name.lstrip("./") for name in tarfile.open(fileobj=packed).getnames()]
    vm.write_file_from("/t/big", io.BytesIO(b"x" * 300_000))
    pieces: list[bytes] = []
    vm.read_file_to("/t/big", pieces.append)
    assert sum(map(len, pieces)) == 300_000
    vm.remove_file("/t", recursive=True)


def test_what_a_sink_raises_reaches_the_caller(vm: libmicrovm.Vm) -> None:
    def refuse(data: bytes) -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        vm.read_file_to("/etc/passwd", refuse)
    assert vm.read_file("/etc/passwd").startswith(b"root")


def test_a_watch(vm: libmicrovm.Vm) -> None:
    with vm.watch("/tmp") as watch:
        vm.exec(["touch", "/tmp/seen"], check=True)
        event = watch.next(timeout=60)
        assert event is not None and event.path == "seen" and event.kind == "created"


def test_its_port(vm: libmicrovm.Vm) -> None:
    connection = http.client.HTTPConnection("counter")
    connection.sock = vm.connect(8080)
    assert isinstance(connection.sock, socket.socket)
    connection.request("GET", "/")
    assert b"in_memory" in connection.getresponse().read()
    connection.close()
    with pytest.raises(libmicrovm.ConnectionRefused):
        vm.connect(9)
    assert b"GET / HTTP" in vm.logs("app")


def test_sleep_forks_and_checkpoints(runtime: libmicrovm.Runtime, vm: libmicrovm.Vm) -> None:
    vm.write_file("/tmp/state", b"before")
    times = vm.suspend()
    assert times.stored_bytes > 0 and vm.info().state == libmicrovm.VmState.SUSPENDED
    vm.resume()
    checkpoint = vm.checkpoint(name="good")
    assert [each.id for each in runtime.checkpoints()] == [checkpoint.id]
    vm.write_file("/tmp/state", b"after")
    with vm.fork(name="copy")[0] as copy:
        assert copy.id != vm.id and copy.read_file("/tmp/state") == b"after"
        assert copy.exec(["hostname"]).stdout != vm.exec(["hostname"]).stdout
    vm.rollback("good")
    assert vm.read_file("/tmp/state") == b"before"
    runtime.remove_checkpoint("good")


def test_a_handle_that_was_closed_says_so(runtime: libmicrovm.Runtime, vm: libmicrovm.Vm) -> None:
    other = runtime.attach(vm.id)
    other.close()
    with pytest.raises(libmicrovm.InvalidArgument, match="closed"):
        other.exec(["true"])


def test_in_a_forked_child_it_is_refused(vm: libmicrovm.Vm) -> None:
    child = os.fork()
    if child == 0:
        try:
            vm.exec(["true"])
        except libmicrovm.Unsupported:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert vm.exec(["true"]).returncode == 0
