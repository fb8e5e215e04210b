"""Every public function of include/microvm has its form in C, Python (also async), Go and, where it is a capability, a
command of the command line tool. Forms follow from the C++ name; others stand in a table here, each with its reason.

Usage: faces.py                             the check
       faces.py --list                      what is looked for, for a reader
       faces.py --as-if CLASS DECLARATION   the check, had a class of include/microvm this method too
"""

import ast
import fnmatch
import pathlib
import re
import sys

from faces_table import COMMANDS, CONTRACT, EXCEPTIONS

FACES = ("c", "python", "aio", "go")


# --- C++: the methods of classes that are exported, and the functions beside them --------------------------------------

def without_comments(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"//[^\n]*|^\s*#[^\n]*", "", text, flags=re.M)


def without_bodies(text):
    """What stands in braces, which may be nested, becomes a semicolon."""
    while re.search(r"\{[^{}]*\}", text):
        text = re.sub(r"\{[^{}]*\}", ";", text)
    return text


def body_after(text, start):
    """The text between the brace at or after `start` and the one that closes it."""
    begin = text.index("{", start)
    depth = 0
    for position in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin + 1:position]
    raise ValueError("a brace is not closed")


def functions_in(text):
    """Name -> whether it takes limits, of the declarations in a class or namespace."""
    found = {}
    for statement in re.sub(r"=\s*\{\s*\}", "", text).split(";"):
        match = re.search(r"(~?\w+)\s*\(", statement)
        if match and "operator" not in statement and not re.search(r"=\s*$", statement[:match.start()]):
            found[match[1]] = found.get(match[1], False) or "CallLimits" in statement
    return found


def methods_of(name, kind, body):
    if kind == "class":
        body = "".join(re.findall(r"public:(.*?)(?=private:|protected:|\Z)", body, re.S))
    body = without_bodies(re.sub(r"=\s*\{\s*\}", "", body))
    if kind == "struct":  # of which only what is exported is a function of the library
        body = ";".join(part for part in body.split(";") if "MICROVM_API" in part)
    found = functions_in(body)
    return {f"{name}::{method}": limits for method, limits in found.items()
            if method not in (name, f"~{name}", "function")}


def functions_of_header(text):
    text = without_comments(text)
    found = {}
    for match in re.finditer(r"\b(class|struct)\s+(?:MICROVM_API\s+)?(\w+)\s*\{", text):
        found |= methods_of(match[2], match[1], body_after(text, match.start()))
    for match in re.finditer(r"^MICROVM_API\s[^;{]*?(\w+)\s*\([^;]*;", text, re.M):
        found[match[1]] = "CallLimits" in match[0]
    return found


def cpp_functions(owner="", declaration=""):
    """Of all headers, with one more declaration in a class."""
    found = {}
    for path in sorted(pathlib.Path("include/microvm").glob("*.hpp")):
        text = path.read_text()
        if owner:
            text = re.sub(rf"(class MICROVM_API {owner} \{{\s*public:)", rf"\1 {declaration}", text)
        found |= functions_of_header(text)
    return found


# --- the others: what there is, in lower case and without "_" where the language writes names in its own way -----------

def c_forms():
    text = without_comments(pathlib.Path("capi/microvm.h").read_text())
    return set(re.findall(r"\b(mvm_\w+)\s*\(", text))


def members_of(node):
    for item in node.body:
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield item.name
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id
        elif isinstance(item, ast.Assign):
            yield from (target.id for target in item.targets if isinstance(target, ast.Name))


def python_sources(is_aio):
    """Of the package; without the stub of its native part, whose names are its own."""
    for path in sorted(pathlib.Path("bindings/python/libmicrovm").rglob("*.py*")):
        if path.suffix in (".py", ".pyi") and path.stem != "_native" and ("aio" in str(path)) == is_aio:
            yield ast.parse(path.read_text())


def taken_from_native(trees):
    """The classes of the native part that the package has as they are, and not below its own of that name."""
    names = {name.name for tree in trees for item in tree.body
             if isinstance(item, ast.ImportFrom) and item.module == "_native" for name in item.names
             if name.asname in (None, name.name)}
    names -= {item.name for tree in trees for item in tree.body if isinstance(item, ast.ClassDef)}
    stub = pathlib.Path("bindings/python/libmicrovm/_native.pyi")
    body = ast.parse(stub.read_text()).body if stub.exists() else []
    return ast.Module([item for item in body if getattr(item, "name", None) in names], [])


def base_name(base):
    """Base or Base[Type]."""
    base = base.value if isinstance(base, ast.Subscript) else base
    return base.id if isinstance(base, ast.Name) else None


def python_forms(is_aio):
    """"Class.method" and "function" of the package's sources and stubs."""
    members, bases = {}, {}
    trees = list(python_sources(is_aio))
    for tree in [*trees, taken_from_native(trees)]:
        members.setdefault("", set()).update(members_of(tree))
        for node in (item for item in tree.body if isinstance(item, ast.ClassDef)):
            members.setdefault(node.name, set()).update(members_of(node))
            bases.setdefault(node.name, set()).update(filter(None, map(base_name, node.bases)))
    return joined(members, bases)


def joined(members, bases):
    def all_of(name, seen=()):
        found = set(members.get(name, ()))
        for base in bases.get(name, set()) - set(seen):
            found |= all_of(base, (*seen, name))
        return found
    return {f"{name}.{member}".lstrip(".") for name in members for member in all_of(name)}


def go_forms():
    found = set()
    for path in pathlib.Path("bindings/go").rglob("*.go"):
        if path.name.endswith("_test.go"):
            continue
        text = path.read_text()
        found |= {f"{owner}.{name}".lower() for owner, name in
                  re.findall(r"^func \(\w*\s*\*?(\w+)\) ([A-Z]\w*)\(", text, re.M)}
        found |= {name.lower() for name in re.findall(r"^func ([A-Z]\w*)\(", text, re.M)}
    return found


def command_forms():
    found = set()
    for path in pathlib.Path("examples/cli").glob("*.cpp"):
        found |= set(re.findall(r'\{"([\w-]+)", "[A-Z]', path.read_text()))
    return found


# --- by the naming rules ---------------------------------------------------------------------------------------------------

def snake(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def usual_form(face, function):
    owner, _, name = function.rpartition("::")
    if face == "c":
        return "mvm_" + (snake(owner) + "_" if owner else "") + name
    form = (owner + "." if owner else "") + name
    return form.replace("_", "").lower() if face == "go" else form


def exception_for(face, function):
    return next((row for row in EXCEPTIONS if row[0] == face and fnmatch.fnmatchcase(function, row[1])), None)


def wanted_form(face, function, limits):
    """What is looked for; None where the function needs no form."""
    row = exception_for(face, function)
    if row:
        form = row[2] and row[2].replace("{}", function.partition("::")[0])
        return form and (form.lower() if face == "go" else form)
    return usual_form(face, function) if limits or face != "aio" else None


def missing_forms(functions, there):
    for function, limits in sorted(functions.items()):
        for face in FACES:
            form = wanted_form(face, function, limits)
            if form and form not in there[face]:
                yield f"{function}: no {face} form {form}"


def missing_commands(functions):
    commands = command_forms()
    for function in sorted(functions):
        row = next((row for row in COMMANDS if fnmatch.fnmatchcase(function, row[0])), None)
        if row is None:
            yield f"{function}: no row in COMMANDS: which command is it, or why is it none?"
        for word in (row[1] or "").split() if row else ():
            if not word.startswith("-") and word not in commands:
                yield f"{function}: there is no command {row[1]} in examples/cli"


def idle_rows(functions):
    """A row of the tables that fits nothing any more says something that is not true."""
    for pattern in [row[1] for row in EXCEPTIONS] + [row[0] for row in COMMANDS]:
        if not any(fnmatch.fnmatchcase(function, pattern) for function in functions):
            yield f"test/lint/faces_table.py: {pattern} is no function of include/microvm"


def needless_exceptions(functions, there):
    taken = {(row[0], row[2]) for row in EXCEPTIONS}  # Vm.exec of Python is not that of C++
    for function in sorted(functions):
        for face in FACES:
            row, usual = exception_for(face, function), usual_form(face, function)
            if row and "*" not in row[1] and usual in there[face] and (face, usual) not in taken:
                yield f"test/lint/faces_table.py: {function} has its usual {face} form: drop its row"


def main():
    functions = cpp_functions(*(sys.argv[2:4] if "--as-if" in sys.argv else ()))
    there = {"c": c_forms(), "python": python_forms(False), "aio": python_forms(True), "go": go_forms()}
    if "--list" in sys.argv:
        for function, limits in sorted(functions.items()):
            print(function, *(wanted_form(face, function, limits) or "-" for face in FACES), sep="\t")
        return 0
    wrong = [*missing_forms(functions, there), *missing_commands(functions), *idle_rows(functions),
             *needless_exceptions(functions, there)]
    if wrong:
        print("\n".join([*wrong, CONTRACT]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
