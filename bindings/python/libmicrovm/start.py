"""A Vm that is being started."""

from .vm import Vm

__all__ = ["VmStart"]


class VmStart:
    """A Vm on its way, by a thread of its Runtime: from ``Runtime.start()``.

    At most eight of a Runtime are carried out at a time, the others wait for their turn. Leaving
    the ``with`` block, ``close()`` and dropping the object cancel a start that nobody has taken.
    """

    def __init__(self, native, ends):
        self._native = native
        self._ends = ends

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<libmicrovm.VmStart{' closed' if self.closed else ''}>"

    def take(self, *, timeout=None, cancel=None) -> Vm:
        """The Vm, once, as soon as it is started; raises what ``Runtime.run()`` does.

        When `timeout` is over, or `cancel` is cancelled, the start goes on.
        """
        return Vm(self._native.take(timeout, cancel), self._ends)

    def try_take(self) -> Vm:
        """As ``take()``, without waiting: WouldBlock while it is not through."""
        return Vm(self._native.try_take(), self._ends)

    def cancel(self) -> None:
        """Ends the start, or the Vm if nobody has taken it: nothing of it stays."""
        self._native.cancel()

    def fileno(self) -> int:
        """Readable once ``take()`` does not wait any more, for select() and the like."""
        return self._native.fd()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its Runtime was."""
        return self._native.closed

    def close(self) -> None:
        """Cancels it, unless it was taken. May be repeated."""
        self._native.close()
