"""What the clients of programs and of terminals have alike."""

from .streams import _Stream

__all__ = []


class ProgramClient(_Stream):
    """One client of a program in a Vm: what an Exec and a Pty are.

    Iterating gives the output as it comes, until the program has ended.
    """

    def __iter__(self):
        while True:
            output = self.read()
            if output is None:
                return
            yield output

    def __repr__(self):
        state = "closed" if self.closed else f"id={self.id!r} pid={self.pid}"
        return f"<libmicrovm.{type(self).__name__} {state}>"

    def signal(self, signal, *, timeout=None, cancel=None) -> None:
        """Sends a signal (a number, or of ``signal.Signals``) to the program's process group.

        On a terminal, to the one in its foreground.
        """
        self._native.signal(signal, timeout, cancel)

    @property
    def id(self) -> str:
        """Of the program; ``vm.attach_exec()`` or ``vm.attach_pty()`` takes it."""
        return self._native.id()

    @property
    def pid(self) -> int:
        """In the guest; 0 when it did not start, or had ended when this client attached."""
        return self._native.pid()

    @property
    def position(self) -> int:
        """Of the next byte ``read()`` gets from the library, in all that the program puts out."""
        return self._native.position()

    @property
    def writer(self) -> bool:
        """Whether this client writes: to stdin, or as the terminal's keys."""
        return self._native.writer()

    def close(self) -> None:
        """Lets go of the program, as leaving the ``with`` block does. May be repeated."""
        self._native.close()
