"""What this host can do, asked without blocking the loop."""

from __future__ import annotations

from typing import Optional, TypeVar

from .. import probe
from .._typing import OnProgress, Text, Timeout
from ..values import DeepReport, Finding
from ._work import Blocking, Work, in_loop

T = TypeVar("T")


async def _in_a_thread(blocking: Blocking[T], timeout: Timeout) -> T:
    work = Work(1)
    try:
        return await work.call(blocking, timeout)
    finally:
        work.close()


async def probe_host(*, data_dir: Optional[Text] = None, timeout: Timeout = None) -> list[Finding]:
    """As ``libmicrovm.probe_host()``."""
    return await _in_a_thread(
        lambda left, token: probe.probe_host(data_dir=data_dir, timeout=left, cancel=token), timeout
    )


async def probe_kvm(*, timeout: Timeout = None) -> None:
    """As ``libmicrovm.probe_kvm()``."""
    await _in_a_thread(lambda left, token: probe.probe_kvm(timeout=left, cancel=token), timeout)


async def deep_probe(
    *,
    data_dir: Optional[Text] = None,
    kernel_deb: Optional[Text] = None,
    scratch_dir: Optional[Text] = None,
    clones: Optional[int] = None,
    suspends: Optional[int] = None,
    progress: OnProgress = None,
    timeout: Timeout = None,
) -> DeepReport:
    """As ``libmicrovm.deep_probe()``; `progress` is called in the loop."""
    progress = in_loop(progress)
    return await _in_a_thread(
        lambda left, token: probe.deep_probe(
            data_dir=data_dir,
            kernel_deb=kernel_deb,
            scratch_dir=scratch_dir,
            clones=clones,
            suspends=suspends,
            progress=progress,
            timeout=left,
            cancel=token,
        ),
        timeout,
    )
