"""What happens, as it happens: files, logs, Vms."""

from . import values

__all__ = ["EventStream", "FlowStream", "LogStream", "Watch"]


class _Stream:
    """Iterating gives what comes; a context manager, whose end closes the stream."""

    def __init__(self, native):
        self._native = native

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<libmicrovm.{type(self).__name__}{' closed' if self.closed else ''}>"

    def fileno(self) -> int:
        """Readable when there is something, for select() and the like."""
        return self._native.fd()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its Runtime was."""
        return self._native.closed

    def close(self) -> None:
        """Ends it. May be repeated."""
        self._native.close()


class Watch(_Stream):
    """What happens to watched files of a guest: from ``vm.watch()``."""

    def __iter__(self):
        while True:
            event = self.next()
            if event is None:
                return
            yield event

    def next(self, *, timeout=None, cancel=None):
        """The next FileEvent, as soon as there is one; None when what is watched is gone."""
        event = self._native.next(timeout, cancel)
        return None if event is None else values.file_event(event)

    def try_next(self):
        """As ``next()``, without waiting: WouldBlock when there is none now."""
        event = self._native.try_next()
        return None if event is None else values.file_event(event)


class LogStream(_Stream):
    """What a Vm prints, as it comes, until it ends: from ``vm.follow_logs()``."""

    def __iter__(self):
        while True:
            piece = self.read()
            if piece is None:
                return
            yield piece

    def read(self, *, timeout=None, cancel=None):
        """The next bytes, as soon as there are some; None: the Vm has ended and all was read."""
        return self._native.read(timeout, cancel)

    def try_read(self):
        """As ``read()``, without waiting: WouldBlock when nothing is there now."""
        return self._native.try_read()


class FlowStream(_Stream):
    """The flows of a Vm as they come, until it ends: from ``vm.flows()``."""

    def __iter__(self):
        while True:
            record = self.next()
            if record is None:
                return
            yield record

    def next(self, *, timeout=None, cancel=None):
        """The next FlowRecord, as soon as there is one; None: the Vm has ended."""
        record = self._native.next(timeout, cancel)
        return None if record is None else values.flow_record(record)

    def try_next(self):
        """As ``next()``, without waiting: WouldBlock when there is none now."""
        record = self._native.try_next()
        return None if record is None else values.flow_record(record)


class EventStream(_Stream):
    """What happens to the Vms of a data directory: from ``runtime.events()``."""

    def __iter__(self):
        while True:
            event = self.next()
            if event is None:
                return
            yield event

    def next(self, *, timeout=None, cancel=None):
        """The next VmEvent; None at the end of what is there, and never so with ``follow``."""
        event = self._native.next(timeout, cancel)
        return None if event is None else values.vm_event(event)

    def try_next(self):
        """As ``next()``, without waiting: WouldBlock when nothing has happened."""
        event = self._native.try_next()
        return None if event is None else values.vm_event(event)
