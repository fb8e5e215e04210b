from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, AnyStr, Generic, Literal, Optional, overload

from . import _native
from ._typing import Cancel, Data, Timeout
from .client import ProgramClient
from .values import ExecOutput, ExitStatus

__all__ = ["Exec", "ExecResult"]

@dataclass(frozen=True)
class ExecResult(Generic[AnyStr]):
    argv: Sequence[Any]
    returncode: int
    stdout: AnyStr
    stderr: AnyStr
    status: ExitStatus
    def check_returncode(self) -> None: ...

class Exec(ProgramClient[ExecOutput], Generic[AnyStr]):
    stdin: Optional[IO[AnyStr]]
    stdout: IO[AnyStr]
    stderr: IO[AnyStr]
    @overload
    def __init__(
        self: Exec[bytes],
        native: _native.Exec,
        text: Literal[False] = False,
        encoding: str = "utf-8",
        errors: str = "replace",
        stdin_open: bool = True,
    ) -> None: ...
    @overload
    def __init__(
        self: Exec[str],
        native: _native.Exec,
        text: bool = False,
        encoding: str = "utf-8",
        errors: str = "replace",
        stdin_open: bool = True,
    ) -> None: ...
    def read(self, *, timeout: Timeout = None, cancel: Cancel = None) -> Optional[ExecOutput]: ...
    def write(
        self, data: Data, *, timeout: Timeout = None, cancel: Cancel = None
    ) -> None: ...
    def try_read(self) -> Optional[ExecOutput]: ...
    def try_write(self, data: Data) -> int: ...
    def try_close_stdin(self) -> None: ...
    def try_wait(self) -> ExitStatus: ...
    def close_stdin(self, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def kill(self, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def detach(self, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def wait(
        self, *, check: bool = False, timeout: Timeout = None, cancel: Cancel = None
    ) -> ExitStatus: ...
    def communicate(
        self,
        input: Optional[Data] = None,
        *,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> tuple[AnyStr, AnyStr]: ...
    @property
    def returncode(self) -> Optional[int]: ...
    @property
    def lost_bytes(self) -> int: ...
