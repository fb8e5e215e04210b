from typing import Optional

from ._typing import Cancel, Data, Sink, Source, Text, Timeout
from .streams import Watch
from .values import FileInfo, TransferTotals

__all__: list[str] = []

class VmFiles:
    def read_file(
        self,
        path: Text,
        *,
        offset: Optional[int] = None,
        length: Optional[int] = None,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> bytes: ...
    def read_file_to(
        self,
        path: Text,
        sink: Sink,
        *,
        offset: Optional[int] = None,
        length: Optional[int] = None,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> FileInfo: ...
    def write_file(
        self,
        path: Text,
        content: Data,
        *,
        mode: Optional[int] = None,
        owner: Optional[str] = None,
        replace: bool = True,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> None: ...
    def write_file_from(
        self,
        path: Text,
        source: Source,
        *,
        mode: Optional[int] = None,
        owner: Optional[str] = None,
        replace: bool = True,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> None: ...
    def append_file(
        self,
        path: Text,
        content: Data,
        *,
        mode: Optional[int] = None,
        owner: Optional[str] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> None: ...
    def stat_file(
        self, path: Text, *, follow_link: bool = True, timeout: Timeout = None, cancel: Cancel = None
    ) -> FileInfo: ...
    def list_files(
        self, path: Text, *, max_entries: Optional[int] = None, timeout: Timeout = None, cancel: Cancel = None
    ) -> list[FileInfo]: ...
    def make_directory(
        self,
        path: Text,
        *,
        mode: Optional[int] = None,
        owner: Optional[str] = None,
        parents: bool = False,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> None: ...
    def remove_file(
        self, path: Text, *, recursive: bool = False, timeout: Timeout = None, cancel: Cancel = None
    ) -> None: ...
    def rename_file(
        self, path: Text, new_path: Text, *, replace: bool = True, timeout: Timeout = None, cancel: Cancel = None
    ) -> None: ...
    def download(
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
        cancel: Cancel = None,
    ) -> TransferTotals: ...
    def download_tar(
        self,
        path: Text,
        sink: Sink,
        *,
        name: Optional[str] = None,
        follow_link: bool = False,
        max_entries: Optional[int] = None,
        max_bytes: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> TransferTotals: ...
    def upload(
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
        cancel: Cancel = None,
    ) -> TransferTotals: ...
    def upload_tar(
        self,
        source: Source,
        directory: Text,
        *,
        keep_owner: bool = False,
        uid: Optional[int] = None,
        gid: Optional[int] = None,
        max_entries: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Cancel = None,
    ) -> TransferTotals: ...
    def watch(
        self, path: Text, *, recursive: bool = False, timeout: Timeout = None, cancel: Cancel = None
    ) -> Watch: ...
