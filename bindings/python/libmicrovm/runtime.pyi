from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Optional

from ._native import Runtime as _NativeRuntime
from ._typing import Cancel, OnProgress, Text, Timeout
from .start import VmStart
from .streams import EventStream
from .values import (
    BaseInfo,
    CheckpointInfo,
    Duration,
    Hooks,
    IdlePolicy,
    ImageInfo,
    KernelInfo,
    NetworkOptions,
    PruneReport,
    VmEvent,
    VmInfo,
)
from .vm import Vm

__all__ = ["Runtime"]

class Runtime:
    _native: _NativeRuntime
    def __init__(
        self,
        data_dir: Optional[Text] = None,
        *,
        pool_size: int = 0,
        memory_limit_bytes: int = 0,
        max_waiting_calls: int = 4096,
        log: Optional[Callable[[str], object]] = None,
        on_event: Optional[Callable[[VmEvent], object]] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> None: ...
    def __enter__(self) -> Runtime: ...
    def __exit__(self, *_: object) -> None: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def import_kernel(self, deb: Text, *, timeout: Timeout = None, cancel: Cancel = None) -> KernelInfo: ...
    def kernels(self, *, timeout: Timeout = None, cancel: Cancel = None) -> list[KernelInfo]: ...
    def remove_kernel(self, name_or_digest: str, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def import_base(
        self,
        name: str,
        tar: Text,
        *,
        disk_bytes: Optional[int] = None,
        progress: OnProgress = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> BaseInfo: ...
    def bases(self, *, timeout: Timeout = None, cancel: Cancel = None) -> list[BaseInfo]: ...
    def remove_base(self, name: str, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def build(
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
        cancel: Cancel = None,
    ) -> ImageInfo: ...
    def images(self, *, timeout: Timeout = None, cancel: Cancel = None) -> list[ImageInfo]: ...
    def image(self, reference: str, *, timeout: Timeout = None, cancel: Cancel = None) -> ImageInfo: ...
    def remove_image(self, reference: str, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def pack_image(
        self, reference: str, *, progress: OnProgress = None, timeout: Timeout = None, cancel: Cancel = None
    ) -> ImageInfo: ...
    def unpack_image(
        self, reference: str, *, progress: OnProgress = None, timeout: Timeout = None, cancel: Cancel = None
    ) -> ImageInfo: ...
    def run(
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
        cancel: Cancel = None,
    ) -> Vm: ...
    def start(
        self,
        image: str,
        *,
        name: Optional[str] = None,
        dies_with_owner: bool = True,
        start_timeout: Optional[Duration] = None,
        idle: Optional[IdlePolicy] = None,
        run_hook_payload: Optional[str] = None,
        network: Optional[NetworkOptions] = None,
    ) -> VmStart: ...
    def start_checkpoint(
        self,
        id_or_name: str,
        *,
        name: Optional[str] = None,
        dies_with_owner: bool = True,
        start_timeout: Optional[Duration] = None,
        idle: Optional[IdlePolicy] = None,
        run_hook_payload: Optional[str] = None,
        network: Optional[NetworkOptions] = None,
    ) -> VmStart: ...
    def vms(self, *, timeout: Timeout = None, cancel: Cancel = None) -> list[VmInfo]: ...
    def attach(self, id_or_name: str, *, timeout: Timeout = None, cancel: Cancel = None) -> Vm: ...
    def remove_vm(self, id_or_name: str, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def warm(self, image: str, count: int, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def checkpoints(self, *, timeout: Timeout = None, cancel: Cancel = None) -> list[CheckpointInfo]: ...
    def run_checkpoint(
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
        cancel: Cancel = None,
    ) -> Vm: ...
    def commit(
        self, checkpoint: str, image_name: str, *, timeout: Timeout = None, cancel: Cancel = None
    ) -> ImageInfo: ...
    def remove_checkpoint(self, id_or_name: str, *, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
    def prune(
        self,
        *,
        dry_run: bool = False,
        images: bool = False,
        bases_and_kernels: bool = False,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> PruneReport: ...
    def events(self, *, follow: bool = False, timeout: Timeout = None, cancel: Cancel = None) -> EventStream: ...
