"""Programs in a Vm: the result of one, and the object that streams."""

import io
import threading
from collections import deque
from dataclasses import dataclass
from typing import Union

from . import values
from .client import ProgramClient
from .conversation import Conversation
from .values import ExitStatus

__all__ = ["Exec", "ExecResult"]


@dataclass(frozen=True)
class ExecResult:
    """What ``vm.exec()`` returns: how a program ended, and what it put out."""

    argv: list
    returncode: int  #: as in ``subprocess``: the exit code, or minus the signal
    stdout: Union[bytes, str]
    stderr: Union[bytes, str]
    status: ExitStatus

    def check_returncode(self) -> None:
        """Raises ``subprocess.CalledProcessError`` unless ``returncode`` is 0."""
        if self.returncode == 0:
            return
        import subprocess  # it takes as long to import as all of this package

        stderr = self.stderr
        if self.status.message and not stderr:
            stderr = self.status.message
            if isinstance(self.stdout, bytes):
                stderr = stderr.encode("utf-8", "replace")
        raise subprocess.CalledProcessError(self.returncode, self.argv, self.stdout, stderr)


class _Outputs:
    """Parts what comes into stdout and stderr.

    One thread at a time reads from the library, for all that wait; what is not its own it leaves
    for the others.
    """

    # Of the stream that nobody reads; what is more is dropped, the oldest first.
    KEPT_BYTES = 64 << 20

    def __init__(self, native):
        self._native = native
        self._changed = threading.Condition()
        self._reading = False
        self._ended = False
        self._pieces = {"out": deque(), "err": deque()}
        self._kept = {"out": 0, "err": 0}
        self.lost_bytes = 0

    def next(self, stream):
        """The next bytes of that stream; None at the end."""
        pieces = self._pieces[stream]
        while True:
            mine = False
            try:
                with self._changed:
                    while not pieces and not self._ended and self._reading:
                        self._changed.wait()
                    if pieces:
                        return self._take(stream)
                    if self._ended:
                        return None
                    mine = self._reading = True
                self._keep(self._native.read(None, None))
            finally:  # also when Ctrl-C comes at any of these places
                if mine:
                    self._stop_reading()

    def _stop_reading(self):
        with self._changed:
            self._reading = False
            self._changed.notify_all()

    def _take(self, stream):
        data = self._pieces[stream].popleft()
        self._kept[stream] -= len(data)
        return data

    def give_back(self, stream, data):
        with self._changed:
            self._pieces[stream].appendleft(data)
            self._kept[stream] += len(data)

    def any(self, read):
        """The oldest piece of what the streams have left behind, else what `read` gives."""
        with self._changed:
            for stream, pieces in self._pieces.items():
                if pieces:
                    return stream, self._take(stream), 0
        output = read()
        if output is None:
            self._ended = True
        return output

    def _keep(self, output):
        with self._changed:
            if output is None:
                self._ended = True
                return
            stream, data, lost_bytes = output
            self.lost_bytes += lost_bytes
            pieces = self._pieces[stream]
            pieces.append(data)
            self._kept[stream] += len(data)
            while self._kept[stream] > self.KEPT_BYTES and len(pieces) > 1:
                self.lost_bytes += len(self._take(stream))


class _Reader(io.RawIOBase):
    def __init__(self, outputs, stream):
        self._outputs = outputs
        self._stream = stream

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._outputs.next(self._stream)
        if data is None:
            return 0
        size = len(buffer)
        if len(data) > size:
            self._outputs.give_back(self._stream, data[size:])
            data = data[:size]
        buffer[: len(data)] = data
        return len(data)


class _Writer(io.RawIOBase):
    def __init__(self, native):
        self._native = native

    # One that is dropped is not closed, as files are: that may block.
    def __del__(self):
        pass

    def writable(self):
        return True

    def write(self, data):
        self._native.write_stdin(data, None, None)
        return memoryview(data).nbytes

    def fileno(self):
        return self._native.fd()

    def close(self):
        if not self.closed:
            super().close()
            if not self._native.closed:
                self._native.close_stdin(None, None)


class _TextWriter(io.TextIOWrapper):
    def __del__(self):
        pass


class Exec(ProgramClient):
    """A program in a Vm, or rather one client of it: from ``vm.popen()`` and ``vm.attach_exec()``.

    ``stdout`` and ``stderr`` are files to read and to iterate over line by line, ``stdin`` (with
    ``stdin_open=True``) is one to write; of ``str`` with ``text=True``. Iterating over the object
    itself gives the pieces of both streams as they come, as :class:`ExecOutput`. Two threads may
    read one stream each; who reads only one of them keeps up to 64 MiB of the other in memory.

    Leaving the ``with`` block, ``close()`` and dropping the object and its files kill the program
    if it runs and is not ``detached`` (of ``attach_exec()``: only detach).
    """

    def __init__(self, native, text=False, encoding="utf-8", errors="replace", stdin_open=True):
        super().__init__(native)
        self._outputs = _Outputs(native)
        self._status = None
        self._talk = None
        self._decode = (lambda data: data.decode(encoding, errors)) if text else bytes
        self.stdout = io.BufferedReader(_Reader(self._outputs, "out"))
        self.stderr = io.BufferedReader(_Reader(self._outputs, "err"))
        self.stdin = _Writer(native) if stdin_open else None
        if text:
            self.stdout = io.TextIOWrapper(self.stdout, encoding, errors)
            self.stderr = io.TextIOWrapper(self.stderr, encoding, errors)
            if self.stdin is not None:
                self.stdin = _TextWriter(self.stdin, encoding, errors, write_through=True)

    def read(self, *, timeout=None, cancel=None):
        """The next piece of output of either stream, as soon as there is one; None at the end."""
        return values.exec_output(self._outputs.any(lambda: self._native.read(timeout, cancel)))

    def try_read(self):
        """As ``read()``, without waiting: WouldBlock when nothing is there now."""
        return values.exec_output(self._outputs.any(self._native.try_read))

    def write(self, data, *, timeout=None, cancel=None) -> None:
        """Writes all of `data` (bytes-like, or ``str`` as UTF-8) to the program's stdin.

        Blocks while the program does not read. Raises ``Busy`` when this client does not (any
        more) write.
        """
        self._native.write_stdin(data, timeout, cancel)

    def try_write(self, data) -> int:
        """Writes as much of `data` as goes without waiting, from its beginning; says how much.

        WouldBlock when nothing goes: wait until ``fileno()`` is writable.
        """
        return self._native.try_write_stdin(data)

    def close_stdin(self, *, timeout=None, cancel=None) -> None:
        """The program reads what was written, then the end. May be repeated."""
        self._native.close_stdin(timeout, cancel)

    def try_close_stdin(self) -> None:
        """As ``close_stdin()``, without waiting: WouldBlock, as ``try_write()``."""
        self._native.try_close_stdin()

    def kill(self, *, timeout=None, cancel=None) -> None:
        """Sends SIGKILL."""
        self.signal(9, timeout=timeout, cancel=cancel)

    def detach(self, *, timeout=None, cancel=None) -> None:
        """Leaves the program running; further calls raise ``Busy``."""
        self._native.detach(timeout, cancel)

    def wait(self, *, check=False, timeout=None, cancel=None) -> ExitStatus:
        """Discards output that was not read, waits for the end and says how it was.

        With ``check`` raises ``subprocess.CalledProcessError`` unless it was exit code 0.
        """
        if self._status is None:
            self._status = values.exit_status(self._native.wait(timeout, cancel))
        if check:
            ExecResult([], self._status.returncode, b"", b"", self._status).check_returncode()
        return self._status

    def try_wait(self) -> ExitStatus:
        """As ``wait()``, without waiting: WouldBlock while it has not ended."""
        if self._status is None:
            self._status = values.exit_status(self._native.try_wait())
        return self._status

    def communicate(self, input=None, *, timeout=None, cancel=None):
        """Writes `input`, then the end of stdin, and reads all output; ``(stdout, stderr)``.

        As in ``subprocess``: both at the same time, so that neither waits for the other, and of
        ``str`` with ``text=True``. After DeadlineExceeded the program runs on, and a further call,
        without input, gives all of its output.
        """
        if input is not None and self.stdin is None:
            raise ValueError("communicate: there is no stdin to give input to: stdin_open=True")
        if self._talk is None:
            self._talk = Conversation(self, input)
        return self._talk.finish(timeout, cancel)

    @property
    def returncode(self):
        """As in ``subprocess``, once ``wait()`` has returned; None before."""
        return None if self._status is None else self._status.returncode

    @property
    def lost_bytes(self) -> int:
        """Output that ``stdout`` and ``stderr`` have missed so far."""
        return self._outputs.lost_bytes
