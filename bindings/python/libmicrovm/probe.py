"""What this host can do, and what would make it better."""

from . import _native, values
from .runtime import _progress_callback

__all__ = ["deep_probe", "probe_host", "probe_kvm"]


def probe_host(*, data_dir=None, timeout=None, cancel=None) -> list:
    """Looks at the host: a list of Finding, of which "kvm" is first.

    Runs tiny guests to see what /dev/kvm really executes; takes some ten milliseconds, changes
    nothing.
    """
    found = _native.probe_host({"data_dir": data_dir}, timeout, cancel)
    return [values.finding(one) for one in found]


def probe_kvm(*, timeout=None, cancel=None) -> None:
    """Raises KvmUnavailable or KvmUnsuitable unless a stock kernel will run."""
    _native.probe_kvm(timeout, cancel)


def deep_probe(
    *,
    data_dir=None,
    kernel_deb=None,
    scratch_dir=None,
    clones=None,
    suspends=None,
    progress=None,
    timeout=None,
    cancel=None,
) -> values.DeepReport:
    """Tries the host with guests: boots, snapshots, clones, suspends; two minutes at most.

    The newest kernel of `data_dir` is booted, or the one in `kernel_deb`. Needs no root, and leaves
    nothing behind.
    """
    options = {
        "data_dir": data_dir,
        "kernel_deb": kernel_deb,
        "scratch_dir": scratch_dir,
        "clones": clones,
        "suspends": suspends,
        "progress": _progress_callback(progress),
    }
    return values.deep_report(_native.deep_probe(options, timeout, cancel))
