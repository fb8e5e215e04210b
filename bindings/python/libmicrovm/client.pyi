from collections.abc import Iterator
from typing import Generic, TypeVar

from ._typing import Cancel, Timeout
from .streams import _Stream

__all__: list[str] = []

_Output = TypeVar("_Output")

class ProgramClient(_Stream, Generic[_Output]):
    def __iter__(self) -> Iterator[_Output]: ...
    def signal(self, signal: int, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    @property
    def id(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def writer(self) -> bool: ...
