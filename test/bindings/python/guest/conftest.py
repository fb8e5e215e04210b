"""One Runtime on the prepared data directory and one microVM, for all tests of the process: the rig is slow."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

import libmicrovm


@pytest.fixture(scope="session", autouse=True)
def many_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(scope="session")
def runtime() -> Iterator[libmicrovm.Runtime]:
    with libmicrovm.Runtime() as runtime:
        yield runtime
        assert [info for info in runtime.vms() if info.dies_with_owner] == []


@pytest.fixture(scope="session")
def vm(runtime: libmicrovm.Runtime) -> Iterator[libmicrovm.Vm]:
    with runtime.run("counter") as vm:
        yield vm
