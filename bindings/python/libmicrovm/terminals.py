"""The terminals of a Vm."""

from . import values
from .pty import Pty

__all__ = []


class VmTerminals:
    """The calls of a Vm for programs on terminals."""

    def pty(
        self,
        argv=None,
        *,
        env=None,
        cwd=None,
        user=None,
        size=None,
        term=None,
        id=None,
        writing=None,
        timeout=None,
        cancel=None,
    ) -> Pty:
        """A program on a terminal of its own; without `argv` the user's login shell.

        `size` is a PtySize or ``(rows, columns)`` (24 x 80), `term` the variable TERM
        ("xterm-256color"), `writing` "exclusive" or "shared". `timeout` is for the start.
        """
        options = {
            "argv": argv,
            "env": env,
            "cwd": cwd,
            "user": user,
            "size": size,
            "term": term,
            "id": id,
            "writing": writing,
        }
        return Pty(self._native.pty(options, timeout, cancel))

    def attach_pty(
        self,
        id,
        *,
        write=True,
        take_over=False,
        size=None,
        position=None,
        timeout=None,
        cancel=None,
    ) -> Pty:
        """Another client of a terminal, also of one whose program has ended since.

        `size` is the terminal's new one, `position` an earlier client's ``Pty.position``: the
        output from there on; without it up to 256 KiB of recent output, then what comes.
        """
        options = {"write": write, "take_over": take_over, "size": size, "position": position}
        return Pty(self._native.attach_pty(id, options, timeout, cancel))

    def ptys(self, *, timeout=None, cancel=None) -> list:
        """The terminals, the oldest first."""
        return [values.pty_info(one) for one in self._native.ptys(timeout, cancel)]

    def close_pty(self, id, *, timeout=None, cancel=None) -> None:
        """Hangs up: SIGHUP, after 5 s SIGKILL; returns when the program has ended."""
        self._native.close_pty(id, timeout, cancel)
