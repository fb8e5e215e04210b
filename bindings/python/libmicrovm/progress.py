"""A ready-made progress callback: text, and nothing to install."""

import sys
import time

__all__ = ["text_progress"]

_WIDTH = 30
_UPDATES_PER_SECOND = 10


class text_progress:
    """Shows the progress of a long call as text: ``rt.build(…, progress=text_progress())``.

    On a terminal the current step is one line that is written over, with a bar where the total is
    known; anywhere else each step is one line. The output of a build's RUN is shown as it comes.
    One object serves one call after the other, not two at a time.
    """

    def __init__(self, file=None):
        self._file = file if file is not None else sys.stderr
        self._is_terminal = getattr(self._file, "isatty", lambda: False)()
        self._step = None
        self._shown = ""
        self._when = 0.0

    def __call__(self, progress):
        """Shows `progress`, a :class:`libmicrovm.Progress`."""
        if progress.output:
            self._clear()
            self._file.write(progress.output.decode("utf-8", "replace"))
        is_new = progress.step != self._step
        if is_new:
            self._finish_line()
            self._step = progress.step
        if self._is_terminal:
            self._show(progress, is_new)
        elif is_new and progress.step:
            self._file.write(progress.step + "\n")
        self._file.flush()

    def _show(self, progress, at_once):
        now = time.monotonic()
        is_last = progress.total and progress.done >= progress.total
        if not at_once and not is_last and now - self._when < 1 / _UPDATES_PER_SECOND:
            return
        self._when = now
        line = progress.step
        if progress.total:
            part = min(progress.done / progress.total, 1)
            full = int(part * _WIDTH)
            line += f" [{'#' * full}{'.' * (_WIDTH - full)}] {part:4.0%}"
        self._clear()
        self._file.write(line)
        self._shown = line
        if is_last:
            self._finish_line()

    def _clear(self):
        if self._shown:
            self._file.write("\r" + " " * len(self._shown) + "\r")
            self._shown = ""

    def _finish_line(self):
        if self._shown:
            self._file.write("\n")
            self._shown = ""
