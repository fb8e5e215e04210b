"""What calls take, as types."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Optional, Protocol, Union

from ._native import CancelToken
from .values import Duration, LogSource, Progress

Cancel = Optional[CancelToken]
Data = Union[str, bytes, bytearray, memoryview]
Environment = Union[Mapping[str, Optional[str]], Sequence[str]]
Log = Union[LogSource, Literal["app", "kernel"]]
OnProgress = Optional[Callable[[Progress], object]]
Text = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Timeout = Optional[Duration]


class Writes(Protocol):
    """Anything with the ``write()`` of a file."""

    def write(self, data: bytes, /) -> object:
        """Takes all of `data`."""


class Reads(Protocol):
    """Anything with the ``read()`` of a file."""

    def read(self, most: int, /) -> Data:
        """At most so many bytes; none at the end."""


Sink = Union[Callable[[bytes], object], Writes]
Source = Union[Callable[[int], Data], Reads]
