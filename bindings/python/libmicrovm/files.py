"""The files of a Vm's guest."""

from . import values
from .streams import Watch

__all__ = []


class VmFiles:
    """The calls of a Vm for the files of its guest.

    Guest paths are absolute (``str``, ``bytes`` or ``os.PathLike``) and are resolved inside the
    guest: links on the way are followed and never lead out of it. Calls act as the guest's root.
    All of them may raise NotFound, PermissionDenied, InvalidArgument, Io, VmGone, Cancelled,
    DeadlineExceeded.
    """

    def read_file(
        self, path, *, offset=None, length=None, max_bytes=None, timeout=None, cancel=None
    ) -> bytes:
        """The content of a file, or `length` bytes of it from `offset` on.

        More than `max_bytes` (64 MiB) is an error, and not a cut.
        """
        options = {"offset": offset, "length": length, "max_bytes": max_bytes}
        return self._native.read_file(path, options, timeout, cancel)

    def read_file_to(
        self, path, sink, *, offset=None, length=None, max_bytes=None, timeout=None, cancel=None
    ) -> values.FileInfo:
        """Gives the content to `sink`, piece by piece: a function, or an object with ``write``."""
        options = {"offset": offset, "length": length, "max_bytes": max_bytes}
        write = getattr(sink, "write", sink)
        return values.file_info(self._native.read_file_to(path, write, options, timeout, cancel))

    def write_file(
        self, path, content, *, mode=None, owner=None, replace=True, timeout=None, cancel=None
    ) -> None:
        """Writes the whole content in one step: programs see the old or the new file.

        `content` is bytes-like, or ``str`` as UTF-8. `owner` is "name", "uid", "name:group" or
        "uid:gid" of the guest; without `mode` and `owner` they stay, or are 0o644 and root for a
        new file. With ``replace=False`` a file that is there is AlreadyExists.
        """
        options = {"mode": mode, "owner": owner, "replace": replace}
        self._native.write_file(path, content, options, timeout, cancel)

    def write_file_from(
        self, path, source, *, mode=None, owner=None, replace=True, timeout=None, cancel=None
    ) -> None:
        """As ``write_file()``, from `source`: a function of the most bytes it may return, which
        returns ``b""`` at the end, or an object with such a ``read``, as a file has."""
        options = {"mode": mode, "owner": owner, "replace": replace}
        read = getattr(source, "read", source)
        self._native.write_file_from(path, read, options, timeout, cancel)

    def append_file(
        self, path, content, *, mode=None, owner=None, timeout=None, cancel=None
    ) -> None:
        """Writes at the end of the file, which is made when there is none.

        What was written before an error stays.
        """
        options = {"mode": mode, "owner": owner}
        self._native.append_file(path, content, options, timeout, cancel)

    def stat_file(
        self, path, *, follow_link=True, timeout=None, cancel=None
    ) -> values.FileInfo:
        """What a file is. With ``follow_link=False`` a link at the end is itself."""
        options = {"follow_link": follow_link}
        return values.file_info(self._native.stat_file(path, options, timeout, cancel))

    def list_files(self, path, *, max_entries=None, timeout=None, cancel=None) -> list:
        """What is in a directory, as FileInfo sorted by name; more than `max_entries` (100,000) is
        an error."""
        options = {"max_entries": max_entries}
        return [
            values.file_info(one)
            for one in self._native.list_files(path, options, timeout, cancel)
        ]

    def make_directory(
        self, path, *, mode=None, owner=None, parents=False, timeout=None, cancel=None
    ) -> None:
        """Makes a directory (0o755, root); with `parents` missing ones above it too, and one that
        exists is no error."""
        options = {"mode": mode, "owner": owner, "parents": parents}
        self._native.make_directory(path, options, timeout, cancel)

    def remove_file(self, path, *, recursive=False, timeout=None, cancel=None) -> None:
        """Removes a file, a link itself, or a directory, which must be empty unless `recursive`."""
        self._native.remove_file(path, {"recursive": recursive}, timeout, cancel)

    def rename_file(self, path, new_path, *, replace=True, timeout=None, cancel=None) -> None:
        """Gives a file another path; what is there is replaced, or AlreadyExists."""
        self._native.rename_file(path, new_path, {"replace": replace}, timeout, cancel)

    # ---- trees

    def download(
        self,
        path,
        directory,
        *,
        name=None,
        follow_link=False,
        follow_target=False,
        keep_owner=False,
        max_entries=None,
        max_bytes=None,
        timeout=None,
        cancel=None,
    ) -> values.TransferTotals:
        """Copies a file, or a directory with all below it, into a directory of the host.

        Nothing is written outside of it, whatever the guest says. `name` is that of the top in the
        result (None: its own; ".": only what is in it). With `follow_link` a link at the path is
        what it leads to; with `follow_target` one at the place of the top is written through.
        `max_entries` (200,000) and `max_bytes` (16 GiB) bound what the guest may send.
        """
        options = {
            "name": name,
            "follow_link": follow_link,
            "follow_target": follow_target,
            "keep_owner": keep_owner,
            "max_entries": max_entries,
            "max_bytes": max_bytes,
        }
        totals = self._native.download(path, directory, options, timeout, cancel)
        return values.transfer_totals(totals)

    def download_tar(
        self,
        path,
        sink,
        *,
        name=None,
        follow_link=False,
        max_entries=None,
        max_bytes=None,
        timeout=None,
        cancel=None,
    ) -> values.TransferTotals:
        """The same as a tar, given to `sink`: a function, or an object with ``write``."""
        options = {
            "name": name,
            "follow_link": follow_link,
            "max_entries": max_entries,
            "max_bytes": max_bytes,
        }
        write = getattr(sink, "write", sink)
        totals = self._native.download_tar(path, write, options, timeout, cancel)
        return values.transfer_totals(totals)

    def upload(
        self,
        path,
        directory,
        *,
        name=None,
        follow_link=False,
        follow_target=False,
        keep_owner=False,
        uid=None,
        gid=None,
        max_entries=None,
        timeout=None,
        cancel=None,
    ) -> values.TransferTotals:
        """Copies a file or directory of the host into a directory of the guest.

        The directory is made (0o755, root) when there is none; directories that are there are
        merged, files and links replaced. Owners are `uid` and `gid` (root), or with `keep_owner`
        those of the host's files.
        """
        options = {
            "name": name,
            "follow_link": follow_link,
            "follow_target": follow_target,
            "keep_owner": keep_owner,
            "uid": uid,
            "gid": gid,
            "max_entries": max_entries,
        }
        totals = self._native.upload(path, directory, options, timeout, cancel)
        return values.transfer_totals(totals)

    def upload_tar(
        self,
        source,
        directory,
        *,
        keep_owner=False,
        uid=None,
        gid=None,
        max_entries=None,
        timeout=None,
        cancel=None,
    ) -> values.TransferTotals:
        """The same from a tar, compressed or not.

        `source` is a function of the most bytes it may return, which returns ``b""`` at the end,
        or an object with such a ``read``, as a file has.
        """
        options = {
            "keep_owner": keep_owner,
            "uid": uid,
            "gid": gid,
            "max_entries": max_entries,
        }
        read = getattr(source, "read", source)
        totals = self._native.upload_tar(read, directory, options, timeout, cancel)
        return values.transfer_totals(totals)

    def watch(self, path, *, recursive=False, timeout=None, cancel=None) -> Watch:
        """Tells what happens to a file, or in a directory, from now on.

        With `recursive` everything below it too. A watch does not keep the Vm awake, and ends with
        VmGone when the Vm is suspended, rolled back or ended.
        """
        return Watch(self._native.watch(path, {"recursive": recursive}, timeout, cancel))
