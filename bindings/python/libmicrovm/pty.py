"""A terminal in a Vm."""

from . import values

__all__ = ["Pty"]


class Pty:
    """One client of a program on a terminal: from ``vm.pty()`` and ``vm.attach_pty()``.

    The terminal belongs to the Vm: leaving the ``with`` block, ``close()`` and dropping the object
    only detach. Iterating gives the output, as :class:`PtyOutput`, until the program has ended.
    """

    def __init__(self, native):
        self._native = native

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        while True:
            output = self.read()
            if output is None:
                return
            yield output

    def __repr__(self):
        return f"<libmicrovm.Pty {'closed' if self.closed else f'id={self.id!r} pid={self.pid}'}>"

    def read(self, *, timeout=None, cancel=None):
        """The next piece of output, as soon as there is one; None at the program's end."""
        return values.pty_output(self._native.read(timeout, cancel))

    def try_read(self):
        """As ``read()``, without waiting: WouldBlock when nothing is there now."""
        return values.pty_output(self._native.try_read())

    def write(self, data, *, timeout=None, cancel=None) -> None:
        """Keys as a terminal sends them: ``"\\r"`` is Enter, ``"\\x03"`` Ctrl-C.

        Blocks while the program does not read. Busy when this client does not (any more) write.
        """
        self._native.write(data, timeout, cancel)

    def try_write(self, data) -> int:
        """Writes as much of `data` as goes without waiting, from its beginning; says how much.

        WouldBlock when nothing goes: wait until ``fileno()`` is writable.
        """
        return self._native.try_write(data)

    def resize(self, size, *, timeout=None, cancel=None) -> None:
        """A new size, a PtySize or ``(rows, columns)``; only a writer's counts."""
        self._native.resize(size, timeout, cancel)

    def signal(self, signal, *, timeout=None, cancel=None) -> None:
        """Sends a signal to the foreground process group of the terminal."""
        self._native.signal(signal, timeout, cancel)

    def detach(self) -> None:
        """Closes this client's connection; the program goes on."""
        self._native.detach()

    def wait(self, *, timeout=None, cancel=None) -> values.ExitStatus:
        """Discards output that was not read, and waits for the program's end."""
        return values.exit_status(self._native.wait(timeout, cancel))

    def try_wait(self) -> values.ExitStatus:
        """As ``wait()``, without waiting: WouldBlock while it has not ended."""
        return values.exit_status(self._native.try_wait())

    @property
    def id(self) -> str:
        """Of the terminal; ``vm.attach_pty()`` takes it."""
        return self._native.id()

    @property
    def pid(self) -> int:
        """In the guest; 0 when it did not start or has ended."""
        return self._native.pid()

    @property
    def writer(self) -> bool:
        """Whether this client writes."""
        return self._native.writer()

    @property
    def position(self) -> int:
        """Of the next byte ``read()`` returns."""
        return self._native.position()

    def fileno(self) -> int:
        """Readable when ``read()`` has something, for select() and the like."""
        return self._native.fd()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its Runtime was."""
        return self._native.closed

    def close(self) -> None:
        """Detaches. May be repeated."""
        self._native.close()
