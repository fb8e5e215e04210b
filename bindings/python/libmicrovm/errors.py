"""What the library's calls raise: one class per error code, all of them a ``MicrovmError``.

``error.code`` is the :class:`ErrorCode`, ``str(error)`` one line that says what failed, why, and
what to do where something can be done. Where Python has an exception for the same thing, the class
is one of those too: ``except TimeoutError`` catches :class:`DeadlineExceeded`.
"""

import enum
from typing import Dict, Type, cast

__all__ = [
    "AlreadyExists",
    "BuildFailed",
    "Busy",
    "Cancelled",
    "ConnectionRefused",
    "Corrupt",
    "DeadlineExceeded",
    "DockerfileSyntax",
    "ErrorCode",
    "GuestFailed",
    "IncompatibleCpu",
    "Internal",
    "InvalidArgument",
    "Io",
    "KvmUnavailable",
    "KvmUnsuitable",
    "MicrovmError",
    "NotFound",
    "OutOfDisk",
    "OutOfMemory",
    "PermissionDenied",
    "Protocol",
    "Unsupported",
    "VmGone",
    "VmSuspended",
    "WouldBlock",
]


class ErrorCode(enum.IntEnum):
    """The codes of the library, as in C++ and C."""

    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    ALREADY_EXISTS = 3
    PERMISSION_DENIED = 4
    UNSUPPORTED = 5
    BUSY = 6
    CANCELLED = 7
    DEADLINE_EXCEEDED = 8
    OUT_OF_DISK = 9
    OUT_OF_MEMORY = 10
    CORRUPT = 11
    INCOMPATIBLE_CPU = 12
    KVM_UNAVAILABLE = 13
    KVM_UNSUITABLE = 14
    BUILD_FAILED = 15
    SYNTAX = 16
    GUEST_FAILED = 17
    VM_GONE = 18
    CONNECTION_REFUSED = 19
    IO = 20
    PROTOCOL = 21
    INTERNAL = 22
    VM_SUSPENDED = 23
    WOULD_BLOCK = 24


class MicrovmError(Exception):
    """An error of the library. ``code`` says which; the subclasses are one per code."""

    code = ErrorCode.INTERNAL

    @property
    def message(self) -> str:
        """The line that says what failed, why, and what to do."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return self.message


class InvalidArgument(MicrovmError, ValueError):
    """The caller's input is wrong; the message names it. Also: the object is closed."""

    code = ErrorCode.INVALID_ARGUMENT


class NotFound(MicrovmError, LookupError):
    """No such image, Vm, kernel, file."""

    code = ErrorCode.NOT_FOUND


class AlreadyExists(MicrovmError):
    """There is one of that name."""

    code = ErrorCode.ALREADY_EXISTS


class PermissionDenied(MicrovmError, PermissionError):
    """The operating system, of the host or of the guest, refused."""

    code = ErrorCode.PERMISSION_DENIED


class Unsupported(MicrovmError):
    """Valid, but this host, image or version can not do it."""

    code = ErrorCode.UNSUPPORTED


class Busy(MicrovmError):
    """The object is in a state that excludes the call."""

    code = ErrorCode.BUSY


class Cancelled(MicrovmError):
    """The ``CancelToken`` of the call was cancelled."""

    code = ErrorCode.CANCELLED


class DeadlineExceeded(MicrovmError, TimeoutError):
    """The call's ``timeout``, or a limit of the library's own, has passed."""

    code = ErrorCode.DEADLINE_EXCEEDED


class OutOfDisk(MicrovmError):
    """No room on the host's disk, or in a quota."""

    code = ErrorCode.OUT_OF_DISK


class OutOfMemory(MicrovmError):
    """No memory, or ``memory_limit_bytes`` is reached."""

    code = ErrorCode.OUT_OF_MEMORY


class Corrupt(MicrovmError):
    """A snapshot, layer, manifest or archive fails its checks; the message names the file."""

    code = ErrorCode.CORRUPT


class IncompatibleCpu(MicrovmError):
    """The snapshot needs processor features that this host lacks; the message lists them."""

    code = ErrorCode.INCOMPATIBLE_CPU


class KvmUnavailable(MicrovmError):
    """No /dev/kvm, or no permission to open it."""

    code = ErrorCode.KVM_UNAVAILABLE


class KvmUnsuitable(MicrovmError):
    """/dev/kvm opens but can not run a stock kernel."""

    code = ErrorCode.KVM_UNSUITABLE


class BuildFailed(MicrovmError):
    """A step of a Dockerfile failed; the message has its last output and exit code."""

    code = ErrorCode.BUILD_FAILED


class DockerfileSyntax(MicrovmError):
    """A Dockerfile or manifest can not be read; the message begins with file:line."""

    code = ErrorCode.SYNTAX


class GuestFailed(MicrovmError):
    """The guest panicked, hung or powered off when it should not have."""

    code = ErrorCode.GUEST_FAILED


class VmGone(MicrovmError):
    """The microVM or its worker has ended."""

    code = ErrorCode.VM_GONE


class ConnectionRefused(MicrovmError, ConnectionRefusedError):
    """Nothing listens on that port of the guest."""

    code = ErrorCode.CONNECTION_REFUSED


class Io(MicrovmError):
    """Any other error of the operating system."""

    code = ErrorCode.IO


class Protocol(MicrovmError):
    """A worker or agent broke the wire format."""

    code = ErrorCode.PROTOCOL


class Internal(MicrovmError):
    """A bug of the library."""

    code = ErrorCode.INTERNAL


class VmSuspended(MicrovmError):
    """The Vm was suspended or rolled back under a stream: attach again once it runs."""

    code = ErrorCode.VM_SUSPENDED


class WouldBlock(MicrovmError, BlockingIOError):
    """Nothing is there now: wait until ``fileno()`` is readable."""

    code = ErrorCode.WOULD_BLOCK


def _classes() -> Dict[int, Type[MicrovmError]]:
    return {
        thing.code: thing
        for thing in list(globals().values())
        if isinstance(thing, type) and issubclass(thing, MicrovmError) and thing is not MicrovmError
    }


_BY_CODE = _classes()


def _make(code: int, message: str) -> MicrovmError:
    """For _native. A code of a newer library is a plain MicrovmError."""
    known = _BY_CODE.get(code)
    if known is not None:
        return known(message)
    error = MicrovmError(message)
    error.code = cast(ErrorCode, code)
    return error
