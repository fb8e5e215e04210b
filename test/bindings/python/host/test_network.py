"""What networks are given as, without a guest."""

import pytest

import libmicrovm
from libmicrovm import NetworkOptions, NetworkPolicy, TapOptions


@pytest.fixture(name="runtime")
def _runtime(tmp_path):
    with libmicrovm.Runtime(tmp_path) as runtime:
        yield runtime


@pytest.mark.parametrize(
    "network",
    [
        NetworkOptions(),
        NetworkOptions(mode="user", policy=NetworkPolicy(otherwise="deny", rules=["allow *:443"])),
        NetworkOptions(mode="tap", tap=TapOptions(name="tap0", addresses=["192.0.2.7/24"])),
    ],
)
def test_options_are_taken(runtime, network):
    with pytest.raises(libmicrovm.NotFound):
        runtime.run("no-such-image", network=network)


@pytest.mark.parametrize(
    ("network", "error"),
    [
        (NetworkOptions(mode="wifi"), libmicrovm.InvalidArgument),
        (NetworkOptions(policy=NetworkPolicy(otherwise="maybe")), libmicrovm.InvalidArgument),
        (NetworkOptions(policy=NetworkPolicy(open_flows=-1)), libmicrovm.InvalidArgument),
        (NetworkOptions(policy="deny *"), TypeError),
        ("user", TypeError),
    ],
)
def test_wrong_ones_are_refused(runtime, network, error):
    with pytest.raises(error):
        runtime.run("no-such-image", network=network)
