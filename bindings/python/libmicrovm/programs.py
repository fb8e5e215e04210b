"""The programs of a Vm."""

from . import values
from .exec import Exec, ExecResult

__all__ = []


class VmPrograms:
    """The calls of a Vm that run programs in it."""

    def exec(
        self,
        argv,
        *,
        check=False,
        input=None,
        text=False,
        encoding="utf-8",
        errors="replace",
        env=None,
        cwd=None,
        user=None,
        program_timeout=None,
        id=None,
        reattach=False,
        max_bytes=None,
        timeout=None,
        cancel=None,
    ) -> ExecResult:
        """Runs a program to its end and returns what it put out, as ``subprocess.run()``.

        `argv` is a sequence, its first looked up in the PATH of the environment. `env` is a mapping,
        or a sequence of ``"NAME=value"``, added to the image's; a value of None takes a name away.
        Without `cwd` and `user` the image's count. `input` is bytes-like or ``str``. With `check` an
        end other than exit code 0 raises ``subprocess.CalledProcessError``. Of each stream
        `max_bytes` (1 MiB) are kept, what is more is dropped.

        When `timeout` is over the program is killed and DeadlineExceeded raised; `program_timeout`
        has the guest kill it, which is no error: ``status.timed_out``.
        """
        options = {
            "argv": argv,
            "env": env,
            "cwd": cwd,
            "user": user,
            "program_timeout": program_timeout,
            "id": id,
            "reattach": reattach,
            "max_bytes": max_bytes,
            "input": input,
        }
        status, out, err = self._native.exec_collect(options, timeout, cancel)
        if text:
            out = out.decode(encoding, errors)
            err = err.decode(encoding, errors)
        status = values.exit_status(status)
        result = ExecResult(argv, status.returncode, out, err, status)
        if check:
            result.check_returncode()
        return result

    def popen(
        self,
        argv,
        *,
        text=False,
        encoding="utf-8",
        errors="replace",
        env=None,
        cwd=None,
        user=None,
        program_timeout=None,
        stdin_open=False,
        id=None,
        detached=False,
        reattach=False,
        timeout=None,
        cancel=None,
    ) -> Exec:
        """Starts a program and returns the object that streams, as ``subprocess.Popen``.

        Options are those of ``exec()``. Without `stdin_open` stdin is /dev/null. A `detached`
        program runs on when the object is dropped, and is never slowed for want of a reader. With
        `reattach` the object attaches again by itself when its Vm was suspended under it. `timeout`
        is for the start. A program that could not be started is an Exec whose ``wait()`` says why.
        """
        options = {
            "argv": argv,
            "env": env,
            "cwd": cwd,
            "user": user,
            "program_timeout": program_timeout,
            "stdin_open": stdin_open,
            "id": id,
            "detached": detached,
            "reattach": reattach,
        }
        native = self._native.exec(options, timeout, cancel)
        return Exec(native, text, encoding, errors, stdin_open)

    def attach_exec(
        self,
        id,
        *,
        write=True,
        take_over=False,
        position=None,
        reattach=False,
        text=False,
        encoding="utf-8",
        errors="replace",
        timeout=None,
        cancel=None,
    ) -> Exec:
        """Another client of a program that runs, or of one that has ended since.

        With `write` it writes stdin, as one client at a time does, with `take_over` in the place of
        the one that writes now. `position` is an earlier client's ``Exec.position``: the output
        from there on; without it what is kept (256 KiB), then what comes.
        """
        options = {
            "write": write,
            "take_over": take_over,
            "position": position,
            "reattach": reattach,
        }
        native = self._native.attach_exec(id, options, timeout, cancel)
        return Exec(native, text, encoding, errors, write)

    def execs(self, *, timeout=None, cancel=None) -> list:
        """The programs that run, and the last 256 that ended and nobody has asked after."""
        return [values.exec_info(one) for one in self._native.execs(timeout, cancel)]

    def signal_exec(self, id, signal, *, timeout=None, cancel=None) -> None:
        """Sends a signal to the process group of a program."""
        self._native.signal_exec(id, signal, timeout, cancel)

    def wait_exec(self, id, *, timeout=None, cancel=None) -> values.ExitStatus:
        """Waits until a program has ended, without reading its output; then it is forgotten."""
        return values.exit_status(self._native.wait_exec(id, timeout, cancel))
