"""A wheel carries everything: it works where there is neither a checkout nor a build package."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

CHECK = """
import libmicrovm, sys, tempfile
from libmicrovm import aio
with tempfile.TemporaryDirectory() as data_dir, libmicrovm.Runtime(data_dir) as runtime:
    assert runtime.images() == []
maps = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
assert any("libmicrovm.libs/" in path for path in maps), maps
assert not any(path.startswith(sys.argv[1]) for path in maps), maps
print(libmicrovm.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tree: pathlib.Path) -> pathlib.Path:
    """Of the Python that runs the tests."""
    made = subprocess.run(
        [tree / "bindings/python/build_wheel", sys.executable], check=True, stdout=subprocess.PIPE, text=True
    )
    return pathlib.Path(made.stdout.strip())


def test_its_tag_says_which_c_library_it_needs(wheel: pathlib.Path) -> None:
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    glibc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    newest = tuple(int(part) for part in glibc.split()[-1].split("."))
    assert f"-{python}-{python}-manylinux_" in wheel.name
    tag = wheel.name.split("manylinux_")[1].split("_")
    assert (2, 17) <= (int(tag[0]), int(tag[1])) <= newest


def test_in_a_fresh_virtual_environment(wheel: pathlib.Path, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin/python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", str(wheel)]
    subprocess.run(pip, env={}, check=True)
    ran = subprocess.run(
        [python, "-I", "-c", CHECK, tree / "build" / "lib"], env={}, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert ran.returncode == 0
    assert ran.stdout.strip() and wheel.name.startswith(f"libmicrovm-{ran.stdout.strip()}-")
    package = next(venv.glob("lib/python*/site-packages"))
    for file in [*package.glob("libmicrovm/*.so"), *package.glob("libmicrovm.libs/*.so*")]:
        links = subprocess.run(["ldd", file], env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True).stdout
        assert "not found" not in links and str(tree) not in links, f"{file.name}: {links}"


def test_on_a_debian_that_has_nothing_else(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The guests' own base: minbase and a small Python."""
    base = os.environ.get("MICROVM_TEST_BASE_TAR")
    if base is None:
        pytest.skip("needs MICROVM_TEST_BASE_TAR, a root of Debian's")
    if f"-cp{sys.version_info.major}{sys.version_info.minor}-" not in wheel.name or sys.version_info[:2] != (3, 11):
        pytest.skip("needs Python 3.11, as the base has")
    root = tmp_path / "root"
    unpack = ["tar", "--no-same-owner", "--exclude=./dev/*", "-xf", base, "-C", str(root)]
    root.mkdir()
    subprocess.run(unpack, check=True)
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(root / "opt")
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    enter = 'mount --rbind /proc "$0/proc" && exec chroot "$0" env -i PYTHONPATH=/opt python3 -c "$1" /nowhere'
    ran = subprocess.run([*inside, enter, str(root), CHECK], stdout=subprocess.PIPE, text=True)
    assert ran.returncode == 0
