"""Closing, Ctrl-C, forks, and the end of the interpreter."""

import gc
import io
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time

import pytest

import libmicrovm
from libmicrovm import CancelToken, Cancelled, InvalidArgument, Runtime, Unsupported


@pytest.fixture
def runtime(tmp_path):
    with Runtime(tmp_path / "data") as opened:
        yield opened


@pytest.fixture(scope="session")
def large_tar(tmp_path_factory):
    """Takes seconds to import, on a fast machine 0.2."""
    path = tmp_path_factory.mktemp("tar") / "large.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(60_000):
            entry = tarfile.TarInfo(f"d{number // 500}/file{number}")
            entry.size = 100
            tar.addfile(entry, io.BytesIO(bytes(100)))
    return path


@pytest.fixture
def soon():
    """Does something in a moment, on another thread."""
    timers = []

    def start(action, *arguments, after=0.2):
        timers.append(threading.Timer(after, action, arguments))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.join()


@pytest.fixture
def handler():
    """Sets a handler of SIGUSR1 for the test."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda function: signal.signal(signal.SIGUSR1, function)
    signal.signal(signal.SIGUSR1, before)


def run_python(code, *arguments, limit=60):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=limit,
    )


# ---- closing


def test_a_closed_runtime_says_so(tmp_path):
    runtime = Runtime(tmp_path)
    assert not runtime.closed
    runtime.close()
    runtime.close()
    assert runtime.closed
    for call in (runtime.images, runtime.prune, lambda: runtime.run("a"), lambda: runtime.data_dir):
        with pytest.raises(InvalidArgument, match="the Runtime is closed"):
            call()
    assert "closed" in repr(runtime)


class InThread:
    """A call in a thread of its own, and what it raised."""

    def __init__(self, call, *arguments, **options):
        self.raised = None
        self._call = lambda: call(*arguments, **options)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            self._call()
        except libmicrovm.MicrovmError as error:
            self.raised = error

    def end(self):
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.raised


def test_close_ends_the_calls_of_other_threads(tmp_path, large_tar):
    runtime = Runtime(tmp_path)
    began = threading.Event()
    importing = InThread(
        runtime.import_base, "a", large_tar, progress=lambda _: began.set(), cancel=CancelToken()
    )
    assert began.wait(30)
    runtime.close()
    raised = importing.end()
    assert isinstance(raised, Cancelled) and "the Runtime was closed under the call" in str(raised)
    with Runtime(tmp_path) as again:
        assert again.bases() == []


def test_close_ends_the_call_of_the_main_thread(runtime, soon):
    events = runtime.events(follow=True)
    token = CancelToken()
    soon(events.close)
    with pytest.raises(Cancelled, match="the EventStream was closed under the call"):
        events.next(timeout=30, cancel=token)
    assert not token.cancelled
    # That object's calls, and no others.
    with runtime.events(follow=True) as others, pytest.raises(TimeoutError):
        others.next(timeout=0.05)


def test_close_from_within_a_call_ends_it(tmp_path, large_tar):
    runtime = Runtime(tmp_path)
    with pytest.raises(Cancelled, match="the Runtime was closed under the call"):
        runtime.import_base("a", large_tar, progress=lambda _: runtime.close())
    assert runtime.closed


def test_one_thread_at_a_time_reads(runtime):
    with runtime.events(follow=True) as events:
        reading = InThread(events.next, timeout=1)
        time.sleep(0.2)
        for read in (events.next, events.try_next):
            with pytest.raises(libmicrovm.Busy, match="another thread reads"):
                read()
        assert isinstance(reading.end(), libmicrovm.DeadlineExceeded)
        with pytest.raises(TimeoutError):  # its turn is over
            events.next(timeout=0.05)


def test_calls_of_many_threads_take_few_descriptors(runtime):
    runtime.images()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        calls = [InThread(CancelToken().wait, timeout=0.2) for _ in range(100)]
        assert [call.end() for call in calls] == [None] * 100
    del calls
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) - before <= 40


def test_one_that_is_dropped_is_closed(tmp_path):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    runtimes = [Runtime(tmp_path) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) > before
    del runtimes
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_calls_leave_no_descriptors_and_no_threads(runtime):
    runtime.images()
    before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    for _ in range(200):
        runtime.images()
        runtime.vms(timeout=5, cancel=CancelToken())
    assert (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))) == before


# ---- callbacks of the library's threads


def damage(runtime):
    """The next listing of its kernels has something to log."""
    kernel = runtime.data_dir / "kernels" / ("ab" * 32)
    kernel.mkdir()
    (kernel / "manifest.json").write_text("{")


def test_log_lines_come(tmp_path):
    lines = []
    with Runtime(tmp_path, log=lines.append) as runtime:
        damage(runtime)
        runtime.kernels()
    assert any("manifest.json" in line for line in lines)


def test_what_a_log_callback_raises_is_reported(tmp_path, monkeypatch):
    reports = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)

    def log(_):
        raise KeyError("of the log")

    with Runtime(tmp_path, log=log) as runtime:
        damage(runtime)
        assert runtime.kernels() == []
        assert runtime.images() == []
    assert reports[0].exc_type is KeyError


# ---- Ctrl-C


def test_ctrl_c_ends_a_wait(soon):
    soon(os.kill, os.getpid(), signal.SIGINT)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        CancelToken().wait(timeout=30)
    assert time.monotonic() - began < 5


def test_ctrl_c_leaves_nothing_behind(runtime, large_tar, soon):
    soon(os.kill, os.getpid(), signal.SIGINT, after=0.05)
    with pytest.raises(KeyboardInterrupt):
        runtime.import_base("a", large_tar)
    assert runtime.bases() == []
    assert runtime.prune().items == []
    left = [path for path in runtime.data_dir.rglob("*") if path.stat().st_size > 1 << 16]
    assert left == []


def test_ctrl_c_in_a_progress_callback(runtime, large_tar):
    def interrupt(_):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runtime.import_base("a", large_tar, progress=interrupt)
    assert runtime.bases() == []


def test_ctrl_c_does_not_cancel_the_token_of_others(soon):
    token = CancelToken()
    soon(os.kill, os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        # A call with a token of its own beside the one it was given.
        with_token_of_mine(token)
    assert token.cancelled is False


def with_token_of_mine(token):
    while not token.cancelled:
        libmicrovm.CancelToken().wait(timeout=30)


def test_ctrl_c_while_another_thread_takes_the_signal(soon):
    thread = threading.Thread(target=CancelToken().wait, kwargs={"timeout": 3})
    thread.start()
    soon(signal.pthread_kill, thread.ident, signal.SIGINT)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        CancelToken().wait(timeout=30)
    assert time.monotonic() - began < 2.9
    thread.join()


def test_a_handler_that_does_not_raise_lets_the_call_go_on(handler, soon):
    calls = []
    handler(lambda *_: calls.append(time.monotonic()))
    soon(os.kill, os.getpid(), signal.SIGUSR1, after=0.1)
    began = time.monotonic()
    assert not CancelToken().wait(timeout=0.6)
    ended = time.monotonic()
    assert ended - began > 0.55
    assert len(calls) == 1
    assert calls[0] < ended - 0.2


def test_a_handler_may_call_the_library(handler, runtime, soon):
    seen = []
    token = CancelToken()

    def handle(*_):
        seen.append(runtime.images())
        token.cancel()

    handler(handle)
    soon(os.kill, os.getpid(), signal.SIGUSR1)
    assert token.wait(timeout=30)
    assert seen == [[]]


def test_what_a_handler_raises_reaches_the_caller(handler, soon):
    def handle(*_):
        raise LookupError("of the handler")

    handler(handle)
    soon(os.kill, os.getpid(), signal.SIGUSR1)
    with pytest.raises(LookupError, match="of the handler"):
        CancelToken().wait(timeout=30)


def test_other_threads_run_while_a_call_blocks(soon):
    token = CancelToken()
    count = 0

    def work():
        nonlocal count
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            count += 1
        token.cancel()

    soon(work, after=0)
    assert token.wait(timeout=30)
    assert count > 1000


def test_ctrl_c_as_a_user_sees_it(tmp_path, large_tar):
    code = """
        import sys, libmicrovm
        with libmicrovm.Runtime(sys.argv[1]) as runtime:
            print("ready", flush=True)
            runtime.import_base("a", sys.argv[2])
    """
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "d", large_tar],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=30)
    assert program.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")


# ---- fork


def in_child(function):
    """What `function` returns in a forked child, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(function()).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as out:
        text = out.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    return text


def refused(call):
    with pytest.raises(Unsupported, match="made before a fork, by another process"):
        call()
    return "refused"


def test_a_forked_child_is_refused_and_the_parent_unharmed(runtime):
    assert in_child(lambda: refused(runtime.images)) == "refused"
    assert runtime.images() == []


def test_a_forked_child_may_drop_what_it_inherited(tmp_path):
    runtime = Runtime(tmp_path)

    def drop():
        nonlocal runtime
        runtime.close()
        del runtime
        gc.collect()
        return "dropped"

    assert in_child(drop) == "dropped"
    assert runtime.images() == []
    runtime.close()


def test_a_forked_child_opens_its_own(runtime, tmp_path):
    runtime.images()

    def open_one():
        with Runtime(tmp_path / "data") as mine:
            return mine.images()

    assert in_child(open_one) == "[]"


def test_a_forked_child_that_exits_as_usual_does_not_hang(tmp_path):
    code = """
        import os, sys, libmicrovm
        runtime = libmicrovm.Runtime(sys.argv[1], log=print)
        runtime.images()
        child = os.fork()
        if child == 0:
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        print(runtime.images())
    """
    done = run_python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def images_of(data_dir):
    with Runtime(data_dir) as runtime:
        return runtime.images()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(runtime, method):
    runtime.images()
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(images_of, [str(runtime.data_dir)] * 4) == [[]] * 4


# ---- the end of the interpreter


@pytest.mark.parametrize("keep", ["runtime", "kept['cycle'] = kept", "sys.modules['x'] = runtime"])
def test_an_interpreter_ends_with_an_open_runtime(tmp_path, keep):
    code = f"""
        import sys, libmicrovm
        kept = {{}}
        runtime = libmicrovm.Runtime(sys.argv[1], log=print, on_event=print)
        kept['runtime'] = runtime
        {keep}
    """
    done = run_python(code, tmp_path, limit=20)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interpreter_ends_with_threads_in_calls(tmp_path):
    code = """
        import sys, threading, time, libmicrovm
        runtime = libmicrovm.Runtime(sys.argv[1])
        for _ in range(4):
            threading.Thread(target=libmicrovm.CancelToken().wait, daemon=True).start()
            threading.Thread(
                target=lambda: [libmicrovm.CancelToken().wait(0.001) for _ in range(10**9)],
                daemon=True).start()
        time.sleep(0.1)
    """
    for _ in range(3):
        done = run_python(code, tmp_path, limit=20)
        assert (done.returncode, done.stderr) == (0, "")


def test_exit_handlers_of_the_program_still_have_the_runtime(tmp_path):
    code = """
        import atexit, sys, libmicrovm
        runtime = libmicrovm.Runtime(sys.argv[1])
        atexit.register(lambda: print(runtime.images()))
    """
    assert run_python(code, tmp_path).stdout == "[]\n"


# ---- versions


def package_copy(tmp_path):
    package = pathlib.Path(libmicrovm.__file__).parent
    copy = tmp_path / "libmicrovm"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("*.p", "__pycache__"))
    return copy


def import_from(directory):
    maps = pathlib.Path("/proc/self/maps").read_text().splitlines()
    library = next(line.split()[-1] for line in maps if "/libmicrovm.so" in line)
    environment = {
        **os.environ,
        "PYTHONPATH": str(directory),
        "LD_LIBRARY_PATH": os.path.dirname(library),
    }
    command = [sys.executable, "-c", "import libmicrovm"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30)


def test_a_native_part_of_another_version_is_refused(tmp_path):
    init = package_copy(tmp_path) / "__init__.py"
    version = libmicrovm.__version__
    init.write_text(init.read_text().replace(f'"{version}"', '"99.0.0"'))
    done = import_from(tmp_path)
    assert "this package is version 99.0.0" in done.stderr
    assert "install both from one build" in done.stderr


def test_a_library_of_another_version_is_refused(tmp_path):
    copy = package_copy(tmp_path)
    for native in copy.glob("_native*"):
        native.unlink()
    (copy / "_native.py").write_text("raise ImportError('a.so: undefined symbol: _ZN7microvm1x')")
    done = import_from(tmp_path)
    assert "libmicrovm.so that was found is of another version" in done.stderr


def test_import_takes_less_than_100_ms():
    # Of the processor: other programs on the machine take their part of the clock's.
    code = """
        import time
        began = time.process_time()
        import libmicrovm
        print((time.process_time() - began) * 1000)
    """
    assert min(float(run_python(code).stdout) for _ in range(7)) < 100


def test_cancelled_is_an_error_of_the_library():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        Runtime("/tmp/never-opened", cancel=token)


# ---- a stream of the library


def test_ctrl_c_ends_a_stream_and_loses_nothing(runtime, soon):
    with runtime.events(follow=True) as events:
        with pytest.raises(libmicrovm.WouldBlock):
            events.try_next()
        soon(os.kill, os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            list(events)
        with pytest.raises(TimeoutError):
            events.next(timeout=0.05)
    with pytest.raises(InvalidArgument, match="the EventStream is closed"):
        events.next()


def test_a_stream_ends_with_its_runtime(tmp_path):
    runtime = Runtime(tmp_path)
    events = runtime.events(follow=True)
    runtime.close()
    assert events.closed
    assert list(Runtime(tmp_path).events()) == []


def test_closing_a_runtime_ends_a_stream_that_is_read(tmp_path, soon):
    runtime = Runtime(tmp_path)
    events = runtime.events(follow=True)
    soon(runtime.close)
    with pytest.raises(Cancelled):
        events.next(timeout=30)


def test_an_interpreter_ends_with_threads_in_a_stream(tmp_path):
    code = """
        import sys, threading, time, libmicrovm
        runtime = libmicrovm.Runtime(sys.argv[1])
        events = runtime.events(follow=True)
        threading.Thread(target=events.next, daemon=True).start()
        time.sleep(0.2)
    """
    done = run_python(code, tmp_path, limit=20)
    assert done.returncode == 0
