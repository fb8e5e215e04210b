"""One microVM."""

import socket

from . import values
from .files import VmFiles
from .programs import VmPrograms
from .streams import FlowStream, LogStream
from .terminals import VmTerminals

__all__ = ["KeepAwake", "Vm"]


class KeepAwake:
    """Keeps a Vm from being idle until it is closed; a context manager."""

    def __init__(self, native):
        self._native = native

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """The Vm may be idle again. May be repeated."""
        self._native.close()


class Vm(VmPrograms, VmTerminals, VmFiles):
    """A microVM: from ``Runtime.run()``, ``attach()``, ``run_checkpoint()`` and ``Vm.fork()``.

    All calls may be made from any thread. Those that need the guest resume a suspended Vm first.

    Leaving a ``with`` block ends a Vm that was started here and dies with its owner, as they do by
    default; of any other one it only lets go. ``close()`` only lets go: a Vm that dies with its
    owner then ends with its Runtime at the latest.
    """

    def __init__(self, native, ends=False):
        self._native = native
        self._id = native.id()
        self._ends = ends

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._ends and not self.closed:
            self.terminate()
        self.close()

    def __repr__(self):
        return f"<libmicrovm.Vm {self._id}{' closed' if self.closed else ''}>"

    @property
    def id(self) -> str:
        """12 hex digits; ``Runtime.attach()`` takes it."""
        return self._id

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its Runtime was."""
        return self._native.closed

    def close(self) -> None:
        """Lets go of the Vm, without ending it. May be repeated."""
        self._native.close()

    def info(self) -> values.VmInfo:
        """What it is and how it is now."""
        return values.vm_info(self._native.info())

    def launch_times(self) -> values.LaunchTimes:
        """What its last start cost; zeros for an attached Vm."""
        return values.launch_times(self._native.launch_times())

    def counters(self, *, timeout=None, cancel=None) -> values.VmCounters:
        """What its worker has counted."""
        return values.vm_counters(self._native.counters(timeout, cancel))

    def connect(self, port, *, timeout=None, cancel=None) -> socket.socket:
        """A connected stream socket to a TCP port of the guest's loopback.

        Raises ConnectionRefused when nothing listens there.
        """
        return socket.socket(fileno=self._native.connect(port, timeout, cancel))

    def network(self, *, timeout=None, cancel=None) -> values.NetworkInfo:
        """What its network is, what it may reach and what went there; wakes nothing."""
        return values.network_info(self._native.network(timeout, cancel))

    def set_network_policy(self, policy, *, timeout=None, cancel=None) -> None:
        """A NetworkPolicy in place of the one before, from now on and for later resumes.

        Flows that it forbids have ended when this returns. Raises InvalidArgument, with the rule and
        the place in it, and Unsupported for another mode than user.
        """
        self._native.set_network_policy(policy, timeout, cancel)

    def flows(self, *, timeout=None, cancel=None) -> FlowStream:
        """Its flows from now on, until it ends, over suspend and resume: a FlowStream.

        Wakes nothing. Raises Unsupported for another mode than user.
        """
        return FlowStream(self._native.flows(timeout, cancel))

    def logs(self, source="app", *, timeout=None, cancel=None) -> bytes:
        """The last bytes kept of a log ("app" or "kernel"), at most 256 KiB.

        Also of a Vm that sleeps or has ended; never wakes it.
        """
        return self._native.logs(source, timeout, cancel)

    def follow_logs(self, source="app", *, timeout=None, cancel=None) -> LogStream:
        """What is kept of a log and what comes, each byte once, until the Vm ends: a LogStream.

        Over suspend, resume and rollback too; wakes nothing.
        """
        return LogStream(self._native.follow_logs(source, timeout, cancel))

    def suspend(self, *, wait_durable=True, timeout=None, cancel=None) -> values.SuspendTimes:
        """Stops the guest and keeps its state on the disk, until something resumes it.

        With ``wait_durable=False`` returns as soon as the guest has stopped; what it did since it was
        last saved is then lost if its worker is killed before the rest is done.
        """
        options = {"wait_durable": wait_durable}
        return values.suspend_times(self._native.suspend(options, timeout, cancel))

    def resume(self, *, idle=None, timeout=None, cancel=None) -> None:
        """Returns when the guest's programs run; at once when they do.

        `idle` is an IdlePolicy from now on; None: the recorded one.
        """
        self._native.resume({"idle": idle}, timeout, cancel)

    def fork(
        self,
        count=1,
        *,
        name=None,
        dies_with_owner=True,
        start_timeout=None,
        idle=None,
        run_hook_payload=None,
        network=None,
        timeout=None,
        cancel=None,
    ) -> list:
        """`count` new Vms that go on from where this one is now: all of them or none.

        They share its memory and disk until they write, and have identities of their own. Of
        several the names are `name` with "-1", "-2" … added. `network` is a NetworkOptions; None:
        mode and policy of this one.
        """
        options = {
            "count": count,
            "name": name,
            "dies_with_owner": dies_with_owner,
            "start_timeout": start_timeout,
            "idle": idle,
            "run_hook_payload": run_hook_payload,
            "network": network,
        }
        forks = self._native.fork(options, timeout, cancel)
        return [Vm(native, dies_with_owner) for native in forks]

    def checkpoint(self, name=None, *, timeout=None, cancel=None) -> values.CheckpointInfo:
        """Keeps its present state, on the disk when the call returns; it goes on."""
        return values.checkpoint_info(self._native.checkpoint({"name": name}, timeout, cancel))

    def rollback(self, checkpoint, *, timeout=None, cancel=None) -> None:
        """Back to a checkpoint of this Vm (id or name): what it did since is lost."""
        self._native.rollback(checkpoint, timeout, cancel)

    def keep_awake(self) -> KeepAwake:
        """From now on it is not idle, until what is returned is closed: ``with vm.keep_awake():``"""
        return KeepAwake(self._native.keep_awake())

    def terminate(self, *, timeout=None, cancel=None) -> None:
        """Ends it at once, or when its terminate hook is through. May be repeated."""
        self._native.terminate(timeout, cancel)

    def wait(self, *, timeout=None, cancel=None) -> values.VmEnding:
        """Waits until it has ended, by itself or by ``terminate()``, and says how."""
        return values.vm_ending(self._native.wait(timeout, cancel))

    def try_wait(self) -> values.VmEnding:
        """As ``wait()``, without waiting: WouldBlock while it has not ended."""
        return values.vm_ending(self._native.try_wait())

    def end_fileno(self) -> int:
        """Readable once the Vm has ended, for select(). Not to be closed; gone with this object."""
        return self._native.end_fd()
