"""Input and output of a program at the same time, in one thread: ``Exec.communicate()``."""

import select
import time

from .errors import Cancelled, DeadlineExceeded, WouldBlock

_PIECE_BYTES = 1 << 16


class Conversation:
    """What was said so far; it can be cut short and taken up again."""

    def __init__(self, program, input):
        if isinstance(input, str):
            input = input.encode("utf-8", "surrogateescape")
        self._program = program
        self._input = memoryview(b"" if input is None else input).cast("B")
        self._stdin_is_open = program.stdin is not None
        self._output = {"out": [], "err": []}

    def finish(self, timeout, cancel):
        end = None if timeout is None else time.monotonic() + _seconds(timeout)
        while not self._read():
            writes = self._write()
            self._wait(writes, end, cancel)
        self._program.wait(timeout=None if end is None else max(0, end - time.monotonic()))
        decode = self._program._decode
        return tuple(decode(b"".join(self._output[stream])) for stream in ("out", "err"))

    def _read(self):
        """Takes what is there; whether that was the end."""
        while True:
            try:
                piece = self._program.try_read()
            except WouldBlock:
                return False
            if piece is None:
                return True
            self._output[piece.stream.value].append(piece.data)

    def _write(self):
        """Writes what goes; whether more is to come."""
        try:
            while self._input:
                taken = self._program.try_write(self._input[:_PIECE_BYTES])
                self._input = self._input[taken:]
            if self._stdin_is_open:
                self._program.try_close_stdin()
                self._stdin_is_open = False
        except WouldBlock:
            pass
        return self._stdin_is_open

    def _wait(self, writes, end, cancel):
        poll = select.poll()  # anew each time: what the number stands for may have changed
        poll.register(self._program.fileno(), select.POLLIN | (select.POLLOUT if writes else 0))
        if cancel is not None:
            poll.register(cancel.fileno(), select.POLLIN)
            if cancel.cancelled:
                raise Cancelled("communicate: cancelled")
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            raise DeadlineExceeded("communicate: the time limit passed")
        poll.poll(None if left is None else left * 1000)


def _seconds(timeout):
    return timeout.total_seconds() if hasattr(timeout, "total_seconds") else float(timeout)
