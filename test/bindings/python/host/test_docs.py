"""Every public name says what it is, to pydoc too."""

import inspect
import pydoc
from collections.abc import Iterator
from types import ModuleType

import pytest

import libmicrovm
from libmicrovm import aio, errors

MODULES = [libmicrovm, aio]


def own(thing: object) -> bool:
    return getattr(thing, "__module__", "").startswith("libmicrovm")


def members(name: str, cls: type) -> Iterator[tuple[str, object]]:
    for member in sorted({each for base in cls.__mro__ if own(base) for each in vars(base)}):
        if not member.startswith("_") and not isinstance(inspect.getattr_static(cls, member), cls):
            yield f"{name}.{member}", inspect.getattr_static(cls, member)


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name, thing in vars(module).items():
        if name.startswith("_") or not own(thing):
            continue
        yield f"{module.__name__}.{name}", thing
        if inspect.isclass(thing):
            yield from members(f"{module.__name__}.{name}", thing)


def says_nothing(thing: object) -> bool:
    if isinstance(thing, (staticmethod, classmethod)):
        thing = thing.__func__
    return (inspect.isclass(thing) or callable(thing) or isinstance(thing, property)) and not inspect.getdoc(thing)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_says_what_it_is(module: ModuleType) -> None:
    assert module.__doc__
    assert [name for name, thing in public(module) if says_nothing(thing)] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_nothing_of_others_is_public(module: ModuleType) -> None:
    """What a module imports for itself is not what it offers."""
    others = [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and not isinstance(thing, ModuleType) and getattr(thing, "__module__", "typing") != "typing" and not own(thing)
    ]
    assert others == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_pydoc_reads_it(module: ModuleType) -> None:
    text = pydoc.render_doc(module, renderer=getattr(pydoc, "plaintext"))
    assert "Runtime" in text


def test_every_code_has_its_class() -> None:
    for code in errors.ErrorCode:
        error = errors._make(int(code), "why")
        assert type(error) is not errors.MicrovmError and error.code is code and str(error) == "why"
        assert getattr(libmicrovm, type(error).__name__) is type(error)
