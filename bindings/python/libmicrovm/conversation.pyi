from typing import Any, Optional

from ._typing import Cancel, Data, Timeout
from .exec import Exec

class Conversation:
    def __init__(self, program: Exec[Any], input: Optional[Data]) -> None: ...
    def finish(self, timeout: Timeout, cancel: Cancel) -> tuple[Any, Any]: ...
