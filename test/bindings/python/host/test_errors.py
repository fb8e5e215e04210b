"""Errors: one class per code, the line that helps, and that nothing but them comes out."""

import datetime
import os
import pathlib
import tarfile
import threading

import pytest

import libmicrovm
from libmicrovm import CancelToken, ErrorCode, MicrovmError, Runtime


@pytest.fixture
def runtime(tmp_path):
    with Runtime(tmp_path / "data") as opened:
        yield opened


def make_tar(path, files=3, file_bytes=1000):
    tree = path.parent / (path.name + ".tree")
    tree.mkdir()
    for number in range(files):
        (tree / f"file{number}").write_bytes(os.urandom(file_bytes))
    with tarfile.open(path, "w") as tar:
        tar.add(tree, ".")
    return path


def test_each_code_has_one_class():
    classes = MicrovmError.__subclasses__()
    assert sorted(each.code for each in classes) == list(ErrorCode)
    for each in classes:
        assert getattr(libmicrovm, each.__name__) is each
        assert each.__doc__


def test_codes_are_those_of_the_library():
    text = (pathlib.Path(__file__).parents[4] / "include/microvm/error.hpp").read_text()
    body = text.split("enum class ErrorCode")[1].split("};")[0]
    lines = [line.split("//")[0] for line in body.splitlines()]
    entries = " ".join(lines).split("{")[1].split(",")
    codes = dict(entry.split("=") for entry in entries if entry.strip())
    assert {name.strip().upper(): int(code) for name, code in codes.items()} == {
        code.name: code.value for code in ErrorCode
    }


def test_classes_are_pythons_own_too():
    assert issubclass(libmicrovm.DeadlineExceeded, TimeoutError)
    assert issubclass(libmicrovm.InvalidArgument, ValueError)
    assert issubclass(libmicrovm.WouldBlock, BlockingIOError)
    assert issubclass(libmicrovm.ConnectionRefused, ConnectionRefusedError)
    assert issubclass(libmicrovm.PermissionDenied, PermissionError)


def test_an_error_has_code_and_message(runtime):
    with pytest.raises(libmicrovm.NotFound) as raised:
        runtime.image("nothing")
    assert raised.value.code is ErrorCode.NOT_FOUND
    assert raised.value.message == str(raised.value) == "image nothing: not found"


def test_a_code_of_a_newer_library_is_a_plain_error():
    error = libmicrovm.errors._make(4711, "new")
    assert type(error) is MicrovmError
    assert error.code == 4711
    assert str(error) == "new"


def test_a_message_may_quote_any_bytes(runtime):
    with pytest.raises(MicrovmError) as raised:
        runtime.import_kernel(b"/nothing-\xff\xfe")
    assert "/nothing-" in str(raised.value)


def test_a_limit_that_is_over(runtime, tmp_path):
    tar = make_tar(tmp_path / "a.tar")
    with pytest.raises(TimeoutError) as raised:
        runtime.import_base("a", tar, timeout=0)
    assert raised.value.code is ErrorCode.DEADLINE_EXCEEDED
    assert runtime.bases() == []


def test_a_token_that_is_cancelled(runtime, tmp_path):
    tar = make_tar(tmp_path / "a.tar")
    token = CancelToken()
    assert not token.cancelled
    token.cancel()
    assert token.cancelled
    with pytest.raises(libmicrovm.Cancelled):
        runtime.import_base("a", tar, cancel=token)
    assert runtime.bases() == []
    assert runtime.import_base("a", tar, timeout=datetime.timedelta(minutes=1)).name == "a"


def test_a_token_ends_calls_of_all_threads(runtime):
    token = CancelToken()
    waits = [threading.Thread(target=token.wait) for _ in range(3)]
    for wait in waits:
        wait.start()
    threading.Timer(0.1, token.cancel).start()
    assert token.wait(timeout=10)
    for wait in waits:
        wait.join(10)
        assert not wait.is_alive()


def test_a_token_is_waited_for_as_long_as_asked():
    assert not CancelToken().wait(timeout=0.01)
    assert not CancelToken().wait(datetime.timedelta(milliseconds=1))


def raising(_):
    raise KeyError("of the callback")


@pytest.mark.parametrize("in_thread", [False, True])
def test_what_a_progress_callback_raises_reaches_the_caller(runtime, tmp_path, in_thread):
    tar = make_tar(tmp_path / "a.tar")
    caught = []

    def call():
        try:
            runtime.import_base("a", tar, progress=raising)
        except KeyError as error:
            caught.append(error)

    if in_thread:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join(30)
    else:
        call()
    assert caught[0].args == ("of the callback",)
    assert runtime.bases() == []
    assert runtime.import_base("a", tar).name == "a"


@pytest.mark.parametrize("in_thread", [False, True])
def test_progress_is_told_on_the_thread_that_calls(runtime, tmp_path, in_thread):
    tar = make_tar(tmp_path / "a.tar", files=50)
    told = []

    def call():
        runtime.import_base(
            "a", tar, progress=lambda progress: told.append((threading.get_ident(), progress))
        )
        told.append(threading.get_ident())

    if in_thread:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join(60)
    else:
        call()
    caller = told.pop()
    assert told
    assert {ident for ident, _ in told} == {caller}
    last = told[-1][1]
    assert isinstance(last, libmicrovm.Progress)
    assert 0 < last.done <= last.total


def test_text_progress_is_text(runtime, tmp_path):
    with open(tmp_path / "out", "w") as out:
        runtime.import_base(
            "a", make_tar(tmp_path / "a.tar"), progress=libmicrovm.text_progress(out)
        )
    assert (tmp_path / "out").read_text().endswith("\n")
