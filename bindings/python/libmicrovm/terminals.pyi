from collections.abc import Sequence
from typing import Literal, Optional, Union

from ._typing import Cancel, Environment, Text, Timeout
from .pty import Pty
from .values import PtyInfo, PtySize, PtyWriting

__all__: list[str] = []

class VmTerminals:
    def pty(
        self,
        argv: Optional[Sequence[Text]] = None,
        *,
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        size: Union[PtySize, tuple[int, int], None] = None,
        term: Optional[str] = None,
        id: Optional[str] = None,
        writing: Union[PtyWriting, Literal["exclusive", "shared"], None] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> Pty: ...
    def attach_pty(
        self,
        id: str,
        *,
        write: bool = True,
        take_over: bool = False,
        size: Union[PtySize, tuple[int, int], None] = None,
        position: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> Pty: ...
    def ptys(self, *, timeout: Timeout = None, cancel: Cancel = None) -> list[PtyInfo]: ...
    def close_pty(self, id: str, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
