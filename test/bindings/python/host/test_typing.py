"""What the type hints promise: they are strict, they are of what is there, and the twins of aio follow them."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = ["agent_sandbox.py", "notebook.py"]


def run(tree: pathlib.Path, *words: object) -> None:
    environment = {**os.environ, "MYPY_CACHE_DIR": str(tree / "build/mypy"), "MYPYPATH": str(tree / "build/bindings/python")}
    ran = subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert ran.returncode == 0, ran.stdout


def test_the_package_is_strictly_typed(tree: pathlib.Path) -> None:
    run(tree, "mypy", "--strict", "build/bindings/python/libmicrovm")


def test_stubs_are_of_what_is_there(tree: pathlib.Path) -> None:
    run(tree, "mypy.stubtest", "libmicrovm", "--allowlist", "test/bindings/python/stubtest_allowed")


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_strictly_typed(tree: pathlib.Path, example: str) -> None:
    run(tree, "mypy", "--strict", f"examples/{example}")


def test_so_are_the_guest_tests(tree: pathlib.Path) -> None:
    """They use all of it as a program does."""
    run(tree, "mypy", "--strict", *sorted((tree / "test/bindings/python/guest").glob("*.py")))


def test_twins_are_those_of_the_stubs(tree: pathlib.Path) -> None:
    ran = subprocess.run([sys.executable, tree / "bindings/python/make_aio.py", "--check"], stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_short(tree: pathlib.Path, example: str) -> None:
    assert len((tree / "examples" / example).read_text().splitlines()) <= 100
