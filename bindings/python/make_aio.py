#!/usr/bin/env python3
"""make_aio.py [--check]: writes libmicrovm/aio/_calls.py, the asyncio twins of the blocking calls.

One truth: a twin has the signature of the stub (.pyi) and the docstring of the source (.py), without `cancel`, which
cancelling its task stands for. With --check nothing is written, and a file that is not up to date is an error.
"""

from __future__ import annotations

import ast
import copy
import pathlib
import sys
from collections.abc import Iterator

PACKAGE = pathlib.Path(__file__).resolve().parent / "libmicrovm"
TARGET = PACKAGE / "aio" / "_calls.py"
WIDTH = 120

# The class that is made, the one it stands for, and where that has its calls from.
CLASSES = {
    ("RuntimeCalls", "Runtime"): [("runtime", "Runtime")],
    ("VmCalls", "Vm"): [("vm", "Vm"), ("programs", "VmPrograms"), ("files", "VmFiles"), ("terminals", "VmTerminals")],
}
# What waits for a descriptor, or makes objects that have twins: aio/_runtime.py and aio/_vm.py have that, by the same name
# with an underscore before it. Everything else goes to a thread.
BY_HAND = {"run", "run_checkpoint", "attach", "exec", "popen", "attach_exec", "wait_exec", "pty", "attach_pty"} | {
    *("fork", "connect", "wait", "watch", "follow_logs", "flows", "events", "close"),
}
# They wait for nothing: no coroutines.
DIRECT = {"launch_times", "keep_awake"}
# What those that are by hand are made of.
LEFT_OUT = {"start", "start_checkpoint", "try_wait", "end_fileno"}
# Their objects give bytes, and have no files that could give text.
WITHOUT_TEXT = {"popen", "attach_exec"}
TEXT = {"text", "encoding", "errors"}

HEAD = '''"""The asyncio twins of the calls that may block, made by make_aio.py: do not edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Optional, Union, overload

from ._work import Work, in_loop

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from .. import runtime, vm
    from .._typing import *
    from ..exec import ExecResult
    from ..values import *
    from ..values import Duration
    from ..vm import KeepAwake
    from ._exec import Exec
    from ._pty import Pty
    from ._runtime import EventStream
    from ._vm import FlowStream, LogStream, Vm, Watch
'''


def methods(path: pathlib.Path, name: str) -> Iterator[ast.FunctionDef]:
    """Of a class, in the order of the file; none where there is no such file."""
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield from (each for each in node.body if isinstance(each, ast.FunctionDef))


def decorators(method: ast.FunctionDef) -> set[str]:
    return {ast.unparse(each) for each in method.decorator_list}


def without_cancel(arguments: ast.arguments) -> ast.arguments:
    kept = copy.deepcopy(arguments)
    for index, each in reversed(list(enumerate(kept.kwonlyargs))):
        if each.arg == "cancel":
            del kept.kwonlyargs[index], kept.kw_defaults[index]
    return kept


def without_text(method: ast.FunctionDef) -> ast.FunctionDef:
    """A stream of bytes, and so one signature instead of one for each of its files' types."""
    plain = copy.deepcopy(method)
    plain.decorator_list = []
    plain.returns = ast.Name(ast.unparse(method.returns or ast.Name("Any")).split("[")[0])
    kept = [pair for pair in zip(plain.args.kwonlyargs, plain.args.kw_defaults) if pair[0].arg not in TEXT]
    plain.args.kwonlyargs = [each for each, _ in kept]
    plain.args.kw_defaults = [default for _, default in kept]
    return plain


def handed_on(arguments: ast.arguments) -> list[str]:
    """What the twin gives to the call, but for its limits."""
    words = [each.arg for each in arguments.args[1:]]
    return words + [f"{each.arg}={each.arg}" for each in arguments.kwonlyargs if each.arg != "timeout"]


def listed(head: str, words: list[str], tail: str, indent: str) -> str:
    """In one line, or each word in one of its own."""
    line = f"{indent}{head}({', '.join(words)}){tail}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{indent}{head}(", *(f"{indent}    {each}," for each in words), f"{indent}){tail}"])


def body(name: str, arguments: ast.arguments) -> str:
    indent = " " * 8
    words = handed_on(arguments)
    limited = any(each.arg == "timeout" for each in arguments.kwonlyargs)
    if name in DIRECT:
        return listed(f"return self._sync.{name}", words, "", indent)
    if name in BY_HAND:
        return listed(f"return await self._{name}", words + ["timeout=timeout"] * limited, "", indent)
    if not limited:
        return f"{indent}return await self._work.do(lambda: self._sync.{name}({', '.join(words)}))"
    lines = [f"{indent}progress = in_loop(progress)"] if "progress=progress" in words else []
    call = listed(f"lambda left, token: self._sync.{name}", [*words, "timeout=left", "cancel=token"], "", indent + "    ")
    lines.append(listed("return await self._work.call", [call.strip(), "timeout"], "", indent))
    return "\n".join(lines)


def words_of(arguments: ast.arguments) -> list[str]:
    """The parameters as they are written, one by one."""

    def word(each: ast.arg, default: ast.expr | None) -> str:
        text = ast.unparse(each)
        return text if default is None else f"{text} = {ast.unparse(default)}"

    bare: list[ast.expr | None] = [None] * (len(arguments.args) - len(arguments.defaults))
    words = [word(*pair) for pair in zip(arguments.args, bare + list(arguments.defaults))]
    if arguments.kwonlyargs:
        words += ["*", *(word(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults))]
    return words


def twin(method: ast.FunctionDef, doc: str) -> str:
    kind = "def" if method.name in DIRECT else "async def"
    arguments = without_cancel(method.args)
    is_overload = "overload" in decorators(method)
    tail = f" -> {ast.unparse(method.returns or ast.Name('Any'))}:" + (" ..." if is_overload else "")
    lines = [listed(f"{kind} {method.name}", words_of(arguments), tail, "    ")]
    if is_overload:
        return "\n".join(["    @overload", *lines])
    return "\n".join([*lines, f'        """{doc}"""', body(method.name, arguments)])


def implementation(method: ast.FunctionDef, doc: str) -> str:
    """Of what has overloads: the last of them takes everything."""
    plain = copy.deepcopy(method)
    plain.decorator_list = []
    plain.returns = ast.Name("Any")
    names = [each.arg for each in plain.args.kwonlyargs]
    plain.args.kw_defaults[names.index("text")] = ast.Constant(False)
    return twin(plain, doc)


def left_to(method: ast.FunctionDef, returns: str) -> str:
    return f"    async def _{method.name}(self, *arguments: Any, **options: Any) -> {returns}:\n        raise NotImplementedError"


def public(stubs: Iterator[ast.FunctionDef]) -> Iterator[ast.FunctionDef]:
    seen = set()
    for method in stubs:
        if method.name.startswith("_") or method.name in LEFT_OUT or "property" in decorators(method):
            continue
        if method.name not in WITHOUT_TEXT:
            yield method
        elif method.name not in seen:
            yield without_text(method)
        seen.add(method.name)


def calls(module: str, name: str) -> Iterator[str]:
    docs = {each.name: ast.get_docstring(each, clean=False) or "" for each in methods(PACKAGE / f"{module}.py", name)}
    stubs = list(public(methods(PACKAGE / f"{module}.pyi", name)))
    for index, method in enumerate(stubs):
        yield twin(method, docs[method.name])
        is_overload = "overload" in decorators(method)
        if is_overload and index + 1 < len(stubs) and stubs[index + 1].name == method.name:
            continue
        if is_overload:
            yield implementation(method, docs[method.name])
        if method.name in BY_HAND:
            yield left_to(method, "Any" if is_overload else ast.unparse(method.returns or ast.Name("Any")))


def made() -> str:
    text = HEAD
    for (base, stands_for), sources in CLASSES.items():
        text += f'\n\nclass {base}:\n    """The calls of {stands_for} that may block, as coroutines."""\n\n'
        text += f"    _sync: {stands_for.lower()}.{stands_for}\n    _work: Work\n\n"
        text += "\n\n".join(each for module, name in sources for each in calls(module, name)) + "\n"
    return text


def main() -> int:
    text = made()
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text() == text:
            return 0
        print(f"make_aio: {TARGET} is not up to date: run bindings/python/make_aio.py", file=sys.stderr)
        return 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
