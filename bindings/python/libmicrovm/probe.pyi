from typing import Optional

from ._typing import Cancel, OnProgress, Text, Timeout
from .values import DeepReport, Finding

__all__ = ["deep_probe", "probe_host", "probe_kvm"]

def probe_host(*, data_dir: Optional[Text] = None, timeout: Timeout = None, cancel: Cancel = None) -> list[Finding]: ...
def probe_kvm(*, timeout: Timeout = None, cancel: Cancel = None) -> None: ...
def deep_probe(
    *,
    data_dir: Optional[Text] = None,
    kernel_deb: Optional[Text] = None,
    scratch_dir: Optional[Text] = None,
    clones: Optional[int] = None,
    suspends: Optional[int] = None,
    progress: OnProgress = None,
    timeout: Timeout = None,
    cancel: Cancel = None,
) -> DeepReport: ...
