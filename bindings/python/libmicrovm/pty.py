"""A terminal in a Vm."""

from . import values
from .client import ProgramClient

__all__ = ["Pty"]


class Pty(ProgramClient):
    """One client of a program on a terminal: from ``vm.pty()`` and ``vm.attach_pty()``.

    The terminal belongs to the Vm: leaving the ``with`` block, ``close()`` and dropping the object
    only detach. Iterating gives the output, as :class:`PtyOutput`, until the program has ended.
    """

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

    def detach(self) -> None:
        """Closes this client's connection; the program goes on."""
        self._native.detach()

    def wait(self, *, timeout=None, cancel=None) -> values.ExitStatus:
        """Discards output that was not read, and waits for the program's end."""
        return values.exit_status(self._native.wait(timeout, cancel))

    def try_wait(self) -> values.ExitStatus:
        """As ``wait()``, without waiting: WouldBlock while it has not ended."""
        return values.exit_status(self._native.try_wait())
