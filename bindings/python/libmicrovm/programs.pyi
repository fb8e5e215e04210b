from collections.abc import Sequence
from typing import Literal, Optional, Union, overload

from ._typing import Cancel, Data, Environment, Text, Timeout
from .exec import Exec, ExecResult
from .values import Duration, ExecInfo, ExitStatus

__all__: list[str] = []

class VmPrograms:
    @overload
    def exec(
        self,
        argv: Sequence[Text],
        *,
        check: bool = False,
        input: Optional[Data] = None,
        text: Literal[False] = False,
        encoding: str = "utf-8",
        errors: str = "replace",
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        id: Optional[str] = None,
        reattach: bool = False,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> ExecResult[bytes]: ...
    @overload
    def exec(
        self,
        argv: Sequence[Text],
        *,
        check: bool = False,
        input: Optional[Data] = None,
        text: Literal[True],
        encoding: str = "utf-8",
        errors: str = "replace",
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        id: Optional[str] = None,
        reattach: bool = False,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> ExecResult[str]: ...
    @overload
    def exec(
        self,
        argv: Sequence[Text],
        *,
        check: bool = False,
        input: Optional[Data] = None,
        text: bool,
        encoding: str = "utf-8",
        errors: str = "replace",
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        id: Optional[str] = None,
        reattach: bool = False,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> Union[ExecResult[bytes], ExecResult[str]]: ...
    @overload
    def popen(
        self,
        argv: Sequence[Text],
        *,
        text: Literal[False] = False,
        encoding: str = "utf-8",
        errors: str = "replace",
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        stdin_open: bool = False,
        id: Optional[str] = None,
        detached: bool = False,
        reattach: bool = False,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> Exec[bytes]: ...
    @overload
    def popen(
        self,
        argv: Sequence[Text],
        *,
        text: Literal[True],
        encoding: str = "utf-8",
        errors: str = "replace",
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        stdin_open: bool = False,
        id: Optional[str] = None,
        detached: bool = False,
        reattach: bool = False,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> Exec[str]: ...
    @overload
    def popen(
        self,
        argv: Sequence[Text],
        *,
        text: bool,
        encoding: str = "utf-8",
        errors: str = "replace",
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        stdin_open: bool = False,
        id: Optional[str] = None,
        detached: bool = False,
        reattach: bool = False,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> Union[Exec[bytes], Exec[str]]: ...
    @overload
    def attach_exec(
        self,
        id: str,
        *,
        write: bool = True,
        take_over: bool = False,
        position: Optional[int] = None,
        reattach: bool = False,
        text: Literal[False] = False,
        encoding: str = "utf-8",
        errors: str = "replace",
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> Exec[bytes]: ...
    @overload
    def attach_exec(
        self,
        id: str,
        *,
        write: bool = True,
        take_over: bool = False,
        position: Optional[int] = None,
        reattach: bool = False,
        text: Literal[True],
        encoding: str = "utf-8",
        errors: str = "replace",
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> Exec[str]: ...
    @overload
    def attach_exec(
        self,
        id: str,
        *,
        write: bool = True,
        take_over: bool = False,
        position: Optional[int] = None,
        reattach: bool = False,
        text: bool,
        encoding: str = "utf-8",
        errors: str = "replace",
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> Union[Exec[bytes], Exec[str]]: ...
    def execs(self, *, timeout: Timeout = None, cancel: Cancel = None) -> list[ExecInfo]: ...
    def signal_exec(self, id: str, signal: int, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def wait_exec(self, id: str, *, timeout: Timeout = None, cancel: Cancel = None) -> ExitStatus: ...
