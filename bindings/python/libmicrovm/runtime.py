"""The root object."""

from pathlib import Path

from . import _native, values
from .start import VmStart
from .streams import EventStream
from .vm import Vm

__all__ = ["Runtime"]


def _progress_callback(progress):
    if progress is None or not callable(progress):
        return progress  # what is no function is refused where all arguments are
    return lambda fields: progress(values.progress(fields))


def _event_callback(on_event):
    if on_event is None or not callable(on_event):
        return on_event
    return lambda fields: on_event(values.vm_event(fields))


class Runtime:
    """A data directory and what is in it: kernels, bases, images, checkpoints, Vms.

    Several processes, and several Runtimes of one, may open the same directory. All calls may be
    made from any thread. A Runtime belongs to the process that opened it: a child of ``os.fork()``
    or of ``multiprocessing`` opens its own.

    :param data_dir: None: ``$MICROVM_DATA_DIR``, else ``$XDG_DATA_HOME/libmicrovm``, else
        ``~/.local/share/libmicrovm``.
    :param pool_size: workers kept started for the next ``run()`` of each image that was run.
    :param memory_limit_bytes: what the running Vms of the directory may have together; 0: no limit.
    :param max_waiting_calls: how many calls may wait for one Vm's change of state; 0: no limit.
    :param log: is called with one line at a time, on a thread of the library.
    :param on_event: is called with each VmEvent of this process, on a thread of the library; it
        must not call the Vm it is told of, nor close the Runtime.

    What `log` and `on_event` raise goes to ``sys.unraisablehook``.

    Leaving the ``with`` block, ``close()`` and the end of the interpreter close everything that
    came out of the Runtime, and end the Vms that die with their owner.
    """

    def __init__(
        self,
        data_dir=None,
        *,
        pool_size=0,
        memory_limit_bytes=0,
        max_waiting_calls=4096,
        log=None,
        on_event=None,
        timeout=None,
        cancel=None,
    ):
        options = {
            "data_dir": data_dir,
            "pool_size": pool_size,
            "memory_limit_bytes": memory_limit_bytes,
            "max_waiting_calls": max_waiting_calls,
            "log": log,
            "on_event": _event_callback(on_event),
        }
        self._native = _native.Runtime(options, timeout, cancel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<libmicrovm.Runtime {'closed' if self.closed else str(self.data_dir)!r}>"

    @property
    def data_dir(self) -> Path:
        """The directory it has opened."""
        return Path(self._native.data_dir())

    @property
    def closed(self) -> bool:
        """Whether ``close()`` was called."""
        return self._native.closed

    def close(self) -> None:
        """Closes it and all that came out of it; ends the Vms that die with it. May be repeated.

        Calls that other threads are in end, with Cancelled, as soon as they leave nothing behind;
        what they use is there until then.
        """
        self._native.close()

    # ---- kernels and bases

    def import_kernel(self, deb, *, timeout=None, cancel=None) -> values.KernelInfo:
        """Imports a kernel from a Debian linux-image .deb; the same one again changes nothing."""
        return values.kernel_info(self._native.import_kernel(deb, timeout, cancel))

    def kernels(self, *, timeout=None, cancel=None) -> list:
        """The imported kernels."""
        return [values.kernel_info(one) for one in self._native.kernels(timeout, cancel)]

    def remove_kernel(self, name_or_digest, *, timeout=None, cancel=None) -> None:
        """Removes a kernel; Busy while an image was built with it."""
        self._native.remove_kernel(name_or_digest, timeout, cancel)

    def import_base(
        self, name, tar, *, disk_bytes=None, progress=None, timeout=None, cancel=None
    ) -> values.BaseInfo:
        """Imports a root file system from a tar, compressed or not; FROM uses its `name`.

        `disk_bytes` (8 GiB) is the root disk as guests see it, of which only what is in use takes
        room. `progress` is called with a Progress, in bytes of the tar.
        """
        options = {"disk_bytes": disk_bytes, "progress": _progress_callback(progress)}
        return values.base_info(self._native.import_base(name, tar, options, timeout, cancel))

    def bases(self, *, timeout=None, cancel=None) -> list:
        """The imported bases."""
        return [values.base_info(one) for one in self._native.bases(timeout, cancel)]

    def remove_base(self, name, *, timeout=None, cancel=None) -> None:
        """Removes a base; Busy while an image was built with it."""
        self._native.remove_base(name, timeout, cancel)

    # ---- images

    def build(
        self,
        context,
        tag,
        *,
        dockerfile=None,
        build_args=None,
        kernel=None,
        memory_bytes=None,
        vcpus=None,
        ready_port=None,
        ready_timeout=None,
        hooks=None,
        network=None,
        host_proxy=False,
        progress=None,
        timeout=None,
        cancel=None,
    ) -> values.ImageInfo:
        """Builds the next version of the image `tag` from the Dockerfile in the directory `context`.

        The app is ready, and its Vm is snapshotted, when something listens on `ready_port`; None:
        the first EXPOSE, or, without one, as soon as the command waits for something. `progress`
        is called with a Progress: its ``step``, and the ``output`` of each RUN. `network` is a
        NetworkOptions of the build, by default the internet and nothing of this host or its
        networks; with `host_proxy` RUN finds the proxy variables of this process. Raises
        BuildFailed, DockerfileSyntax, GuestFailed, NotFound (base or kernel).
        """
        options = {
            "context": context,
            "tag": tag,
            "dockerfile": dockerfile,
            "build_args": build_args,
            "kernel": kernel,
            "memory_bytes": memory_bytes,
            "vcpus": vcpus,
            "ready_port": ready_port,
            "ready_timeout": ready_timeout,
            "hooks": hooks,
            "network": network,
            "host_proxy": host_proxy,
            "progress": _progress_callback(progress),
        }
        return values.image_info(self._native.build(options, timeout, cancel))

    def images(self, *, timeout=None, cancel=None) -> list:
        """All versions of all images."""
        return [values.image_info(one) for one in self._native.images(timeout, cancel)]

    def image(self, reference, *, timeout=None, cancel=None) -> values.ImageInfo:
        """One image: "name", which is the newest version, or "name:version"."""
        return values.image_info(self._native.image(reference, timeout, cancel))

    def remove_image(self, reference, *, timeout=None, cancel=None) -> None:
        """Removes an image; Busy while a Vm runs or sleeps on it, or a checkpoint needs it."""
        self._native.remove_image(reference, timeout, cancel)

    def pack_image(
        self, reference, *, progress=None, timeout=None, cancel=None
    ) -> values.ImageInfo:
        """Compresses an image for keeping; ``run()`` refuses it until it is unpacked."""
        callback = _progress_callback(progress)
        return values.image_info(self._native.pack_image(reference, callback, timeout, cancel))

    def unpack_image(
        self, reference, *, progress=None, timeout=None, cancel=None
    ) -> values.ImageInfo:
        """Makes a packed image runnable again."""
        callback = _progress_callback(progress)
        return values.image_info(self._native.unpack_image(reference, callback, timeout, cancel))

    # ---- Vms

    def run(
        self,
        image,
        *,
        name=None,
        dies_with_owner=True,
        start_timeout=None,
        idle=None,
        run_hook_payload=None,
        network=None,
        timeout=None,
        cancel=None,
    ) -> Vm:
        """Launches a Vm from the image's snapshot; returns when its programs run.

        `name` is unique in the Runtime and usable instead of the id. With ``dies_with_owner=False``
        the Vm outlives this process. `idle` is an IdlePolicy, `run_hook_payload` a text for the
        image's run hook, `network` a NetworkOptions. Raises GuestFailed also when that hook fails;
        then nothing stays behind.
        """
        options = {
            "name": name,
            "dies_with_owner": dies_with_owner,
            "start_timeout": start_timeout,
            "idle": idle,
            "run_hook_payload": run_hook_payload,
            "network": network,
        }
        return Vm(self._native.run(image, options, timeout, cancel), dies_with_owner)

    def start(
        self,
        image,
        *,
        name=None,
        dies_with_owner=True,
        start_timeout=None,
        idle=None,
        run_hook_payload=None,
        network=None,
    ) -> VmStart:
        """As ``run()``, by a thread of this Runtime: waits for nothing, for many at a time."""
        options = {
            "name": name,
            "dies_with_owner": dies_with_owner,
            "start_timeout": start_timeout,
            "idle": idle,
            "run_hook_payload": run_hook_payload,
            "network": network,
        }
        return VmStart(self._native.start(image, options), dies_with_owner)

    def vms(self, *, timeout=None, cancel=None) -> list:
        """All Vms of the directory as VmInfo: running, asleep, or ended and not yet removed."""
        return [values.vm_info(one) for one in self._native.vms(timeout, cancel)]

    def attach(self, id_or_name, *, timeout=None, cancel=None) -> Vm:
        """A Vm that is there, whoever has started it."""
        return Vm(self._native.attach(id_or_name, timeout, cancel))

    def remove_vm(self, id_or_name, *, timeout=None, cancel=None) -> None:
        """Ends a Vm if needed, and forgets it."""
        self._native.remove_vm(id_or_name, timeout, cancel)

    def warm(self, image, count, *, timeout=None, cancel=None) -> None:
        """Starts `count` workers for the image now, so that the next ``run()`` calls find them."""
        self._native.warm(image, count, timeout, cancel)

    # ---- checkpoints

    def checkpoints(self, *, timeout=None, cancel=None) -> list:
        """All checkpoints, the oldest first."""
        return [values.checkpoint_info(one) for one in self._native.checkpoints(timeout, cancel)]

    def run_checkpoint(
        self,
        id_or_name,
        *,
        name=None,
        dies_with_owner=True,
        start_timeout=None,
        idle=None,
        run_hook_payload=None,
        network=None,
        timeout=None,
        cancel=None,
    ) -> Vm:
        """A new Vm that goes on from a checkpoint, with an identity of its own; as ``run()``."""
        options = {
            "name": name,
            "dies_with_owner": dies_with_owner,
            "start_timeout": start_timeout,
            "idle": idle,
            "run_hook_payload": run_hook_payload,
            "network": network,
        }
        native = self._native.run_checkpoint(id_or_name, options, timeout, cancel)
        return Vm(native, dies_with_owner)

    def start_checkpoint(
        self,
        id_or_name,
        *,
        name=None,
        dies_with_owner=True,
        start_timeout=None,
        idle=None,
        run_hook_payload=None,
        network=None,
    ) -> VmStart:
        """As ``run_checkpoint()``, by a thread of this Runtime; see ``start()``."""
        options = {
            "name": name,
            "dies_with_owner": dies_with_owner,
            "start_timeout": start_timeout,
            "idle": idle,
            "run_hook_payload": run_hook_payload,
            "network": network,
        }
        return VmStart(self._native.start_checkpoint(id_or_name, options), dies_with_owner)

    def commit(self, checkpoint, image_name, *, timeout=None, cancel=None) -> values.ImageInfo:
        """Makes a checkpoint the next version of an image."""
        return values.image_info(self._native.commit(checkpoint, image_name, timeout, cancel))

    def remove_checkpoint(self, id_or_name, *, timeout=None, cancel=None) -> None:
        """Removes a checkpoint; Vms that were started from it go on."""
        self._native.remove_checkpoint(id_or_name, timeout, cancel)

    # ---- the directory

    def prune(
        self, *, dry_run=False, images=False, bases_and_kernels=False, timeout=None, cancel=None
    ) -> values.PruneReport:
        """Frees what nothing needs any more, or with `dry_run` says what that is.

        With `images` also versions that are not the newest of their name and that nothing needs;
        with `bases_and_kernels` also those that no image was built with.
        """
        options = {
            "dry_run": dry_run,
            "images": images,
            "bases_and_kernels": bases_and_kernels,
        }
        return values.prune_report(self._native.prune(options, timeout, cancel))

    def events(self, *, follow=False, timeout=None, cancel=None) -> EventStream:
        """What happened to the Vms of the directory lately, by whatever process: an EventStream.

        With `follow` also what happens from now on.
        """
        return EventStream(self._native.events({"follow": follow}, timeout, cancel))
