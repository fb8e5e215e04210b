"""The asyncio twins of the calls that may block, made by make_aio.py: do not edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Optional, Union, overload

from ._work import Work, in_loop

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from .. import runtime, vm
    from .._typing import *
    from ..exec import ExecResult
    from ..values import *
    from ..values import Duration
    from ..vm import KeepAwake
    from ._exec import Exec
    from ._pty import Pty
    from ._runtime import EventStream
    from ._vm import FlowStream, LogStream, Vm, Watch


class RuntimeCalls:
    """The calls of Runtime that may block, as coroutines."""

    _sync: runtime.Runtime
    _work: Work

    async def close(self) -> None:
        """Closes it and all that came out of it; ends the Vms that die with it. May be repeated.

        Calls that other threads are in end, with Cancelled, as soon as they leave nothing behind;
        what they use is there until then.
        """
        return await self._close()

    async def _close(self, *arguments: Any, **options: Any) -> None:
        raise NotImplementedError

    async def import_kernel(self, deb: Text, *, timeout: Timeout = None) -> KernelInfo:
        """Imports a kernel from a Debian linux-image .deb; the same one again changes nothing."""
        return await self._work.call(
            lambda left, token: self._sync.import_kernel(deb, timeout=left, cancel=token),
            timeout,
        )

    async def kernels(self, *, timeout: Timeout = None) -> list[KernelInfo]:
        """The imported kernels."""
        return await self._work.call(lambda left, token: self._sync.kernels(timeout=left, cancel=token), timeout)

    async def remove_kernel(self, name_or_digest: str, *, timeout: Timeout = None) -> None:
        """Removes a kernel; Busy while an image was built with it."""
        return await self._work.call(
            lambda left, token: self._sync.remove_kernel(name_or_digest, timeout=left, cancel=token),
            timeout,
        )

    async def import_base(
        self,
        name: str,
        tar: Text,
        *,
        disk_bytes: Optional[int] = None,
        progress: OnProgress = None,
        timeout: Timeout = None,
    ) -> BaseInfo:
        """Imports a root file system from a tar, compressed or not; FROM uses its `name`.

        `disk_bytes` (8 GiB) is the root disk as guests see it, of which only what is in use takes
        room. `progress` is called with a Progress, in bytes of the tar.
        """
        progress = in_loop(progress)
        return await self._work.call(
            lambda left, token: self._sync.import_base(
                name,
                tar,
                disk_bytes=disk_bytes,
                progress=progress,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def bases(self, *, timeout: Timeout = None) -> list[BaseInfo]:
        """The imported bases."""
        return await self._work.call(lambda left, token: self._sync.bases(timeout=left, cancel=token), timeout)

    async def remove_base(self, name: str, *, timeout: Timeout = None) -> None:
        """Removes a base; Busy while an image was built with it."""
        return await self._work.call(
            lambda left, token: self._sync.remove_base(name, timeout=left, cancel=token),
            timeout,
        )

    async def build(
        self,
        context: Text,
        tag: str,
        *,
        dockerfile: Optional[Text] = None,
        build_args: Optional[Mapping[str, str]] = None,
        kernel: Optional[str] = None,
        memory_bytes: Optional[int] = None,
        vcpus: Optional[int] = None,
        ready_port: Optional[int] = None,
        ready_timeout: Optional[Duration] = None,
        hooks: Optional[Hooks] = None,
        network: Optional[NetworkOptions] = None,
        host_proxy: bool = False,
        progress: OnProgress = None,
        timeout: Timeout = None,
    ) -> ImageInfo:
        """Builds the next version of the image `tag` from the Dockerfile in the directory `context`.

        The app is ready, and its Vm is snapshotted, when something listens on `ready_port`; None:
        the first EXPOSE, or, without one, as soon as the command waits for something. `progress`
        is called with a Progress: its ``step``, and the ``output`` of each RUN. `network` is a
        NetworkOptions of the build, by default the internet and nothing of this host or its
        networks; with `host_proxy` RUN finds the proxy variables of this process. Raises
        BuildFailed, DockerfileSyntax, GuestFailed, NotFound (base or kernel).
        """
        progress = in_loop(progress)
        return await self._work.call(
            lambda left, token: self._sync.build(
                context,
                tag,
                dockerfile=dockerfile,
                build_args=build_args,
                kernel=kernel,
                memory_bytes=memory_bytes,
                vcpus=vcpus,
                ready_port=ready_port,
                ready_timeout=ready_timeout,
                hooks=hooks,
                network=network,
                host_proxy=host_proxy,
                progress=progress,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def images(self, *, timeout: Timeout = None) -> list[ImageInfo]:
        """All versions of all images."""
        return await self._work.call(lambda left, token: self._sync.images(timeout=left, cancel=token), timeout)

    async def image(self, reference: str, *, timeout: Timeout = None) -> ImageInfo:
        """One image: "name", which is the newest version, or "name:version"."""
        return await self._work.call(
            lambda left, token: self._sync.image(reference, timeout=left, cancel=token),
            timeout,
        )

    async def remove_image(self, reference: str, *, timeout: Timeout = None) -> None:
        """Removes an image; Busy while a Vm runs or sleeps on it, or a checkpoint needs it."""
        return await self._work.call(
            lambda left, token: self._sync.remove_image(reference, timeout=left, cancel=token),
            timeout,
        )

    async def pack_image(self, reference: str, *, progress: OnProgress = None, timeout: Timeout = None) -> ImageInfo:
        """Compresses an image for keeping; ``run()`` refuses it until it is unpacked."""
        progress = in_loop(progress)
        return await self._work.call(
            lambda left, token: self._sync.pack_image(reference, progress=progress, timeout=left, cancel=token),
            timeout,
        )

    async def unpack_image(self, reference: str, *, progress: OnProgress = None, timeout: Timeout = None) -> ImageInfo:
        """Makes a packed image runnable again."""
        progress = in_loop(progress)
        return await self._work.call(
            lambda left, token: self._sync.unpack_image(reference, progress=progress, timeout=left, cancel=token),
            timeout,
        )

    async def run(
        self,
        image: str,
        *,
        name: Optional[str] = None,
        dies_with_owner: bool = True,
        start_timeout: Optional[Duration] = None,
        idle: Optional[IdlePolicy] = None,
        run_hook_payload: Optional[str] = None,
        network: Optional[NetworkOptions] = None,
        timeout: Timeout = None,
    ) -> Vm:
        """Launches a Vm from the image's snapshot; returns when its programs run.

        `name` is unique in the Runtime and usable instead of the id. With ``dies_with_owner=False``
        the Vm outlives this process. `idle` is an IdlePolicy, `run_hook_payload` a text for the
        image's run hook, `network` a NetworkOptions. Raises GuestFailed also when that hook fails;
        then nothing stays behind.
        """
        return await self._run(
            image,
            name=name,
            dies_with_owner=dies_with_owner,
            start_timeout=start_timeout,
            idle=idle,
            run_hook_payload=run_hook_payload,
            network=network,
            timeout=timeout,
        )

    async def _run(self, *arguments: Any, **options: Any) -> Vm:
        raise NotImplementedError

    async def vms(self, *, timeout: Timeout = None) -> list[VmInfo]:
        """All Vms of the directory as VmInfo: running, asleep, or ended and not yet removed."""
        return await self._work.call(lambda left, token: self._sync.vms(timeout=left, cancel=token), timeout)

    async def attach(self, id_or_name: str, *, timeout: Timeout = None) -> Vm:
        """A Vm that is there, whoever has started it."""
        return await self._attach(id_or_name, timeout=timeout)

    async def _attach(self, *arguments: Any, **options: Any) -> Vm:
        raise NotImplementedError

    async def remove_vm(self, id_or_name: str, *, timeout: Timeout = None) -> None:
        """Ends a Vm if needed, and forgets it."""
        return await self._work.call(
            lambda left, token: self._sync.remove_vm(id_or_name, timeout=left, cancel=token),
            timeout,
        )

    async def warm(self, image: str, count: int, *, timeout: Timeout = None) -> None:
        """Starts `count` workers for the image now, so that the next ``run()`` calls find them."""
        return await self._work.call(
            lambda left, token: self._sync.warm(image, count, timeout=left, cancel=token),
            timeout,
        )

    async def checkpoints(self, *, timeout: Timeout = None) -> list[CheckpointInfo]:
        """All checkpoints, the oldest first."""
        return await self._work.call(lambda left, token: self._sync.checkpoints(timeout=left, cancel=token), timeout)

    async def run_checkpoint(
        self,
        id_or_name: str,
        *,
        name: Optional[str] = None,
        dies_with_owner: bool = True,
        start_timeout: Optional[Duration] = None,
        idle: Optional[IdlePolicy] = None,
        run_hook_payload: Optional[str] = None,
        network: Optional[NetworkOptions] = None,
        timeout: Timeout = None,
    ) -> Vm:
        """A new Vm that goes on from a checkpoint, with an identity of its own; as ``run()``."""
        return await self._run_checkpoint(
            id_or_name,
            name=name,
            dies_with_owner=dies_with_owner,
            start_timeout=start_timeout,
            idle=idle,
            run_hook_payload=run_hook_payload,
            network=network,
            timeout=timeout,
        )

    async def _run_checkpoint(self, *arguments: Any, **options: Any) -> Vm:
        raise NotImplementedError

    async def commit(self, checkpoint: str, image_name: str, *, timeout: Timeout = None) -> ImageInfo:
        """Makes a checkpoint the next version of an image."""
        return await self._work.call(
            lambda left, token: self._sync.commit(checkpoint, image_name, timeout=left, cancel=token),
            timeout,
        )

    async def remove_checkpoint(self, id_or_name: str, *, timeout: Timeout = None) -> None:
        """Removes a checkpoint; Vms that were started from it go on."""
        return await self._work.call(
            lambda left, token: self._sync.remove_checkpoint(id_or_name, timeout=left, cancel=token),
            timeout,
        )

    async def prune(
        self,
        *,
        dry_run: bool = False,
        images: bool = False,
        bases_and_kernels: bool = False,
        timeout: Timeout = None,
    ) -> PruneReport:
        """Frees what nothing needs any more, or with `dry_run` says what that is.

        With `images` also versions that are not the newest of their name and that nothing needs;
        with `bases_and_kernels` also those that no image was built with.
        """
        return await self._work.call(
            lambda left, token: self._sync.prune(
                dry_run=dry_run,
                images=images,
                bases_and_kernels=bases_and_kernels,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def events(self, *, follow: bool = False, timeout: Timeout = None) -> EventStream:
        """What happened to the Vms of the directory lately, by whatever process: an EventStream.

        With `follow` also what happens from now on.
        """
        return await self._events(follow=follow, timeout=timeout)

    async def _events(self, *arguments: Any, **options: Any) -> EventStream:
        raise NotImplementedError


class VmCalls:
    """The calls of Vm that may block, as coroutines."""

    _sync: vm.Vm
    _work: Work

    async def close(self) -> None:
        """Lets go of the Vm, without ending it. May be repeated."""
        return await self._close()

    async def _close(self, *arguments: Any, **options: Any) -> None:
        raise NotImplementedError

    async def info(self) -> VmInfo:
        """What it is and how it is now."""
        return await self._work.do(lambda: self._sync.info())

    def launch_times(self) -> LaunchTimes:
        """What its last start cost; zeros for an attached Vm."""
        return self._sync.launch_times()

    async def counters(self, *, timeout: Timeout = None) -> VmCounters:
        """What its worker has counted."""
        return await self._work.call(lambda left, token: self._sync.counters(timeout=left, cancel=token), timeout)

    async def connect(self, port: int, *, timeout: Timeout = None) -> socket.socket:
        """A connected stream socket to a TCP port of the guest's loopback.

        Raises ConnectionRefused when nothing listens there.
        """
        return await self._connect(port, timeout=timeout)

    async def _connect(self, *arguments: Any, **options: Any) -> socket.socket:
        raise NotImplementedError

    async def network(self, *, timeout: Timeout = None) -> NetworkInfo:
        """What its network is, what it may reach and what went there; wakes nothing."""
        return await self._work.call(lambda left, token: self._sync.network(timeout=left, cancel=token), timeout)

    async def set_network_policy(self, policy: Optional[NetworkPolicy], *, timeout: Timeout = None) -> None:
        """A NetworkPolicy in place of the one before, from now on and for later resumes.

        Flows that it forbids have ended when this returns. Raises InvalidArgument, with the rule and
        the place in it, and Unsupported for another mode than user.
        """
        return await self._work.call(
            lambda left, token: self._sync.set_network_policy(policy, timeout=left, cancel=token),
            timeout,
        )

    async def flows(self, *, timeout: Timeout = None) -> FlowStream:
        """Its flows from now on, until it ends, over suspend and resume: a FlowStream.

        Wakes nothing. Raises Unsupported for another mode than user.
        """
        return await self._flows(timeout=timeout)

    async def _flows(self, *arguments: Any, **options: Any) -> FlowStream:
        raise NotImplementedError

    async def logs(self, source: Log = 'app', *, timeout: Timeout = None) -> bytes:
        """The last bytes kept of a log ("app" or "kernel"), at most 256 KiB.

        Also of a Vm that sleeps or has ended; never wakes it.
        """
        return await self._work.call(lambda left, token: self._sync.logs(source, timeout=left, cancel=token), timeout)

    async def follow_logs(self, source: Log = 'app', *, timeout: Timeout = None) -> LogStream:
        """What is kept of a log and what comes, each byte once, until the Vm ends: a LogStream.

        Over suspend, resume and rollback too; wakes nothing.
        """
        return await self._follow_logs(source, timeout=timeout)

    async def _follow_logs(self, *arguments: Any, **options: Any) -> LogStream:
        raise NotImplementedError

    async def suspend(self, *, wait_durable: bool = True, timeout: Timeout = None) -> SuspendTimes:
        """Stops the guest and keeps its state on the disk, until something resumes it.

        With ``wait_durable=False`` returns as soon as the guest has stopped; what it did since it was
        last saved is then lost if its worker is killed before the rest is done.
        """
        return await self._work.call(
            lambda left, token: self._sync.suspend(wait_durable=wait_durable, timeout=left, cancel=token),
            timeout,
        )

    async def resume(self, *, idle: Optional[IdlePolicy] = None, timeout: Timeout = None) -> None:
        """Returns when the guest's programs run; at once when they do.

        `idle` is an IdlePolicy from now on; None: the recorded one.
        """
        return await self._work.call(
            lambda left, token: self._sync.resume(idle=idle, timeout=left, cancel=token),
            timeout,
        )

    async def fork(
        self,
        count: int = 1,
        *,
        name: Optional[str] = None,
        dies_with_owner: bool = True,
        start_timeout: Optional[Duration] = None,
        idle: Optional[IdlePolicy] = None,
        run_hook_payload: Optional[str] = None,
        network: Optional[NetworkOptions] = None,
        timeout: Timeout = None,
    ) -> list[Vm]:
        """`count` new Vms that go on from where this one is now: all of them or none.

        They share its memory and disk until they write, and have identities of their own. Of
        several the names are `name` with "-1", "-2" … added. `network` is a NetworkOptions; None:
        mode and policy of this one.
        """
        return await self._fork(
            count,
            name=name,
            dies_with_owner=dies_with_owner,
            start_timeout=start_timeout,
            idle=idle,
            run_hook_payload=run_hook_payload,
            network=network,
            timeout=timeout,
        )

    async def _fork(self, *arguments: Any, **options: Any) -> list[Vm]:
        raise NotImplementedError

    async def checkpoint(self, name: Optional[str] = None, *, timeout: Timeout = None) -> CheckpointInfo:
        """Keeps its present state, on the disk when the call returns; it goes on."""
        return await self._work.call(
            lambda left, token: self._sync.checkpoint(name, timeout=left, cancel=token),
            timeout,
        )

    async def rollback(self, checkpoint: str, *, timeout: Timeout = None) -> None:
        """Back to a checkpoint of this Vm (id or name): what it did since is lost."""
        return await self._work.call(
            lambda left, token: self._sync.rollback(checkpoint, timeout=left, cancel=token),
            timeout,
        )

    def keep_awake(self) -> KeepAwake:
        """From now on it is not idle, until what is returned is closed: ``with vm.keep_awake():``"""
        return self._sync.keep_awake()

    async def terminate(self, *, timeout: Timeout = None) -> None:
        """Ends it at once, or when its terminate hook is through. May be repeated."""
        return await self._work.call(lambda left, token: self._sync.terminate(timeout=left, cancel=token), timeout)

    async def wait(self, *, timeout: Timeout = None) -> VmEnding:
        """Waits until it has ended, by itself or by ``terminate()``, and says how."""
        return await self._wait(timeout=timeout)

    async def _wait(self, *arguments: Any, **options: Any) -> VmEnding:
        raise NotImplementedError

    @overload
    async def exec(
        self,
        argv: Sequence[Text],
        *,
        check: bool = False,
        input: Optional[Data] = None,
        text: Literal[False] = False,
        encoding: str = 'utf-8',
        errors: str = 'replace',
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        id: Optional[str] = None,
        reattach: bool = False,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
    ) -> ExecResult[bytes]: ...

    @overload
    async def exec(
        self,
        argv: Sequence[Text],
        *,
        check: bool = False,
        input: Optional[Data] = None,
        text: Literal[True],
        encoding: str = 'utf-8',
        errors: str = 'replace',
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        id: Optional[str] = None,
        reattach: bool = False,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
    ) -> ExecResult[str]: ...

    @overload
    async def exec(
        self,
        argv: Sequence[Text],
        *,
        check: bool = False,
        input: Optional[Data] = None,
        text: bool,
        encoding: str = 'utf-8',
        errors: str = 'replace',
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        id: Optional[str] = None,
        reattach: bool = False,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
    ) -> Union[ExecResult[bytes], ExecResult[str]]: ...

    async def exec(
        self,
        argv: Sequence[Text],
        *,
        check: bool = False,
        input: Optional[Data] = None,
        text: bool = False,
        encoding: str = 'utf-8',
        errors: str = 'replace',
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        id: Optional[str] = None,
        reattach: bool = False,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
    ) -> Any:
        """Runs a program to its end and returns what it put out, as ``subprocess.run()``.

        `argv` is a sequence, its first looked up in the PATH of the environment. `env` is a mapping,
        or a sequence of ``"NAME=value"``, added to the image's; a value of None takes a name away.
        Without `cwd` and `user` the image's count. `input` is bytes-like or ``str``. With `check` an
        end other than exit code 0 raises ``subprocess.CalledProcessError``. Of each stream
        `max_bytes` (1 MiB) are kept, what is more is dropped.

        When `timeout` is over the program is killed and DeadlineExceeded raised; `program_timeout`
        has the guest kill it, which is no error: ``status.timed_out``.
        """
        return await self._exec(
            argv,
            check=check,
            input=input,
            text=text,
            encoding=encoding,
            errors=errors,
            env=env,
            cwd=cwd,
            user=user,
            program_timeout=program_timeout,
            id=id,
            reattach=reattach,
            max_bytes=max_bytes,
            timeout=timeout,
        )

    async def _exec(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    async def popen(
        self,
        argv: Sequence[Text],
        *,
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        program_timeout: Optional[Duration] = None,
        stdin_open: bool = False,
        id: Optional[str] = None,
        detached: bool = False,
        reattach: bool = False,
        timeout: Timeout = None,
    ) -> Exec:
        """Starts a program and returns the object that streams, as ``subprocess.Popen``.

        Options are those of ``exec()``. Without `stdin_open` stdin is /dev/null. A `detached`
        program runs on when the object is dropped, and is never slowed for want of a reader. With
        `reattach` the object attaches again by itself when its Vm was suspended under it. `timeout`
        is for the start. A program that could not be started is an Exec whose ``wait()`` says why.
        """
        return await self._popen(
            argv,
            env=env,
            cwd=cwd,
            user=user,
            program_timeout=program_timeout,
            stdin_open=stdin_open,
            id=id,
            detached=detached,
            reattach=reattach,
            timeout=timeout,
        )

    async def _popen(self, *arguments: Any, **options: Any) -> Exec:
        raise NotImplementedError

    async def attach_exec(
        self,
        id: str,
        *,
        write: bool = True,
        take_over: bool = False,
        position: Optional[int] = None,
        reattach: bool = False,
        timeout: Timeout = None,
    ) -> Exec:
        """Another client of a program that runs, or of one that has ended since.

        With `write` it writes stdin, as one client at a time does, with `take_over` in the place of
        the one that writes now. `position` is an earlier client's ``Exec.position``: the output
        from there on; without it what is kept (256 KiB), then what comes.
        """
        return await self._attach_exec(
            id,
            write=write,
            take_over=take_over,
            position=position,
            reattach=reattach,
            timeout=timeout,
        )

    async def _attach_exec(self, *arguments: Any, **options: Any) -> Exec:
        raise NotImplementedError

    async def execs(self, *, timeout: Timeout = None) -> list[ExecInfo]:
        """The programs that run, and the last 256 that ended and nobody has asked after."""
        return await self._work.call(lambda left, token: self._sync.execs(timeout=left, cancel=token), timeout)

    async def signal_exec(self, id: str, signal: int, *, timeout: Timeout = None) -> None:
        """Sends a signal to the process group of a program."""
        return await self._work.call(
            lambda left, token: self._sync.signal_exec(id, signal, timeout=left, cancel=token),
            timeout,
        )

    async def wait_exec(self, id: str, *, timeout: Timeout = None) -> ExitStatus:
        """Waits until a program has ended, without reading its output; then it is forgotten."""
        return await self._wait_exec(id, timeout=timeout)

    async def _wait_exec(self, *arguments: Any, **options: Any) -> ExitStatus:
        raise NotImplementedError

    async def read_file(
        self,
        path: Text,
        *,
        offset: Optional[int] = None,
        length: Optional[int] = None,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
    ) -> bytes:
        """The content of a file, or `length` bytes of it from `offset` on.

        More than `max_bytes` (64 MiB) is an error, and not a cut.
        """
        return await self._work.call(
            lambda left, token: self._sync.read_file(
                path,
                offset=offset,
                length=length,
                max_bytes=max_bytes,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def read_file_to(
        self,
        path: Text,
        sink: Sink,
        *,
        offset: Optional[int] = None,
        length: Optional[int] = None,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
    ) -> FileInfo:
        """Gives the content to `sink`, piece by piece: a function, or an object with ``write``."""
        return await self._work.call(
            lambda left, token: self._sync.read_file_to(
                path,
                sink,
                offset=offset,
                length=length,
                max_bytes=max_bytes,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def write_file(
        self,
        path: Text,
        content: Data,
        *,
        mode: Optional[int] = None,
        owner: Optional[str] = None,
        replace: bool = True,
        timeout: Timeout = None,
    ) -> None:
        """Writes the whole content in one step: programs see the old or the new file.

        `content` is bytes-like, or ``str`` as UTF-8. `owner` is "name", "uid", "name:group" or
        "uid:gid" of the guest; without `mode` and `owner` they stay, or are 0o644 and root for a
        new file. With ``replace=False`` a file that is there is AlreadyExists.
        """
        return await self._work.call(
            lambda left, token: self._sync.write_file(
                path,
                content,
                mode=mode,
                owner=owner,
                replace=replace,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def write_file_from(
        self,
        path: Text,
        source: Source,
        *,
        mode: Optional[int] = None,
        owner: Optional[str] = None,
        replace: bool = True,
        timeout: Timeout = None,
    ) -> None:
        """As ``write_file()``, from `source`: a function of the most bytes it may return, which
        returns ``b""`` at the end, or an object with such a ``read``, as a file has."""
        return await self._work.call(
            lambda left, token: self._sync.write_file_from(
                path,
                source,
                mode=mode,
                owner=owner,
                replace=replace,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def append_file(
        self,
        path: Text,
        content: Data,
        *,
        mode: Optional[int] = None,
        owner: Optional[str] = None,
        timeout: Timeout = None,
    ) -> None:
        """Writes at the end of the file, which is made when there is none.

        What was written before an error stays.
        """
        return await self._work.call(
            lambda left, token: self._sync.append_file(
                path,
                content,
                mode=mode,
                owner=owner,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def stat_file(self, path: Text, *, follow_link: bool = True, timeout: Timeout = None) -> FileInfo:
        """What a file is. With ``follow_link=False`` a link at the end is itself."""
        return await self._work.call(
            lambda left, token: self._sync.stat_file(path, follow_link=follow_link, timeout=left, cancel=token),
            timeout,
        )

    async def list_files(
        self,
        path: Text,
        *,
        max_entries: Optional[int] = None,
        timeout: Timeout = None,
    ) -> list[FileInfo]:
        """What is in a directory, as FileInfo sorted by name; more than `max_entries` (100,000) is
        an error."""
        return await self._work.call(
            lambda left, token: self._sync.list_files(path, max_entries=max_entries, timeout=left, cancel=token),
            timeout,
        )

    async def make_directory(
        self,
        path: Text,
        *,
        mode: Optional[int] = None,
        owner: Optional[str] = None,
        parents: bool = False,
        timeout: Timeout = None,
    ) -> None:
        """Makes a directory (0o755, root); with `parents` missing ones above it too, and one that
        exists is no error."""
        return await self._work.call(
            lambda left, token: self._sync.make_directory(
                path,
                mode=mode,
                owner=owner,
                parents=parents,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def remove_file(self, path: Text, *, recursive: bool = False, timeout: Timeout = None) -> None:
        """Removes a file, a link itself, or a directory, which must be empty unless `recursive`."""
        return await self._work.call(
            lambda left, token: self._sync.remove_file(path, recursive=recursive, timeout=left, cancel=token),
            timeout,
        )

    async def rename_file(self, path: Text, new_path: Text, *, replace: bool = True, timeout: Timeout = None) -> None:
        """Gives a file another path; what is there is replaced, or AlreadyExists."""
        return await self._work.call(
            lambda left, token: self._sync.rename_file(path, new_path, replace=replace, timeout=left, cancel=token),
            timeout,
        )

    async def download(
        self,
        path: Text,
        directory: Text,
        *,
        name: Optional[str] = None,
        follow_link: bool = False,
        follow_target: bool = False,
        keep_owner: bool = False,
        max_entries: Optional[int] = None,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
    ) -> TransferTotals:
        """Copies a file, or a directory with all below it, into a directory of the host.

        Nothing is written outside of it, whatever the guest says. `name` is that of the top in the
        result (None: its own; ".": only what is in it). With `follow_link` a link at the path is
        what it leads to; with `follow_target` one at the place of the top is written through.
        `max_entries` (200,000) and `max_bytes` (16 GiB) bound what the guest may send.
        """
        return await self._work.call(
            lambda left, token: self._sync.download(
                path,
                directory,
                name=name,
                follow_link=follow_link,
                follow_target=follow_target,
                keep_owner=keep_owner,
                max_entries=max_entries,
                max_bytes=max_bytes,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def download_tar(
        self,
        path: Text,
        sink: Sink,
        *,
        name: Optional[str] = None,
        follow_link: bool = False,
        max_entries: Optional[int] = None,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
    ) -> TransferTotals:
        """The same as a tar, given to `sink`: a function, or an object with ``write``."""
        return await self._work.call(
            lambda left, token: self._sync.download_tar(
                path,
                sink,
                name=name,
                follow_link=follow_link,
                max_entries=max_entries,
                max_bytes=max_bytes,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def upload(
        self,
        path: Text,
        directory: Text,
        *,
        name: Optional[str] = None,
        follow_link: bool = False,
        follow_target: bool = False,
        keep_owner: bool = False,
        uid: Optional[int] = None,
        gid: Optional[int] = None,
        max_entries: Optional[int] = None,
        timeout: Timeout = None,
    ) -> TransferTotals:
        """Copies a file or directory of the host into a directory of the guest.

        The directory is made (0o755, root) when there is none; directories that are there are
        merged, files and links replaced. Owners are `uid` and `gid` (root), or with `keep_owner`
        those of the host's files.
        """
        return await self._work.call(
            lambda left, token: self._sync.upload(
                path,
                directory,
                name=name,
                follow_link=follow_link,
                follow_target=follow_target,
                keep_owner=keep_owner,
                uid=uid,
                gid=gid,
                max_entries=max_entries,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def upload_tar(
        self,
        source: Source,
        directory: Text,
        *,
        keep_owner: bool = False,
        uid: Optional[int] = None,
        gid: Optional[int] = None,
        max_entries: Optional[int] = None,
        timeout: Timeout = None,
    ) -> TransferTotals:
        """The same from a tar, compressed or not.

        `source` is a function of the most bytes it may return, which returns ``b""`` at the end,
        or an object with such a ``read``, as a file has.
        """
        return await self._work.call(
            lambda left, token: self._sync.upload_tar(
                source,
                directory,
                keep_owner=keep_owner,
                uid=uid,
                gid=gid,
                max_entries=max_entries,
                timeout=left,
                cancel=token,
            ),
            timeout,
        )

    async def watch(self, path: Text, *, recursive: bool = False, timeout: Timeout = None) -> Watch:
        """Tells what happens to a file, or in a directory, from now on.

        With `recursive` everything below it too. A watch does not keep the Vm awake, and ends with
        VmGone when the Vm is suspended, rolled back or ended.
        """
        return await self._watch(path, recursive=recursive, timeout=timeout)

    async def _watch(self, *arguments: Any, **options: Any) -> Watch:
        raise NotImplementedError

    async def pty(
        self,
        argv: Optional[Sequence[Text]] = None,
        *,
        env: Optional[Environment] = None,
        cwd: Optional[Text] = None,
        user: Optional[str] = None,
        size: Union[PtySize, tuple[int, int], None] = None,
        term: Optional[str] = None,
        id: Optional[str] = None,
        writing: Union[PtyWriting, Literal['exclusive', 'shared'], None] = None,
        timeout: Timeout = None,
    ) -> Pty:
        """A program on a terminal of its own; without `argv` the user's login shell.

        `size` is a PtySize or ``(rows, columns)`` (24 x 80), `term` the variable TERM
        ("xterm-256color"), `writing` "exclusive" or "shared". `timeout` is for the start.
        """
        return await self._pty(
            argv,
            env=env,
            cwd=cwd,
            user=user,
            size=size,
            term=term,
            id=id,
            writing=writing,
            timeout=timeout,
        )

    async def _pty(self, *arguments: Any, **options: Any) -> Pty:
        raise NotImplementedError

    async def attach_pty(
        self,
        id: str,
        *,
        write: bool = True,
        take_over: bool = False,
        size: Union[PtySize, tuple[int, int], None] = None,
        position: Optional[int] = None,
        timeout: Timeout = None,
    ) -> Pty:
        """Another client of a terminal, also of one whose program has ended since.

        `size` is the terminal's new one, `position` an earlier client's ``Pty.position``: the
        output from there on; without it up to 256 KiB of recent output, then what comes.
        """
        return await self._attach_pty(
            id,
            write=write,
            take_over=take_over,
            size=size,
            position=position,
            timeout=timeout,
        )

    async def _attach_pty(self, *arguments: Any, **options: Any) -> Pty:
        raise NotImplementedError

    async def ptys(self, *, timeout: Timeout = None) -> list[PtyInfo]:
        """The terminals, the oldest first."""
        return await self._work.call(lambda left, token: self._sync.ptys(timeout=left, cancel=token), timeout)

    async def close_pty(self, id: str, *, timeout: Timeout = None) -> None:
        """Hangs up: SIGHUP, after 5 s SIGKILL; returns when the program has ended."""
        return await self._work.call(lambda left, token: self._sync.close_pty(id, timeout=left, cancel=token), timeout)
