from typing import Optional, TextIO

from .values import Progress

__all__ = ["text_progress"]

class text_progress:
    def __init__(self, file: Optional[TextIO] = None) -> None: ...
    def __call__(self, progress: Progress) -> None: ...
