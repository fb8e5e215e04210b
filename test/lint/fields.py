"""Every field of the options in include/microvm has its form in C, Go and Python, by its name, or by the table here.

Usage: fields.py                          the check
       fields.py --as-if STRUCT FIELD     the check, had a struct of options this field too
"""

import fnmatch
import pathlib
import re
import sys

sys.path.insert(0, "test/capi")

import faces
import surface

# languages, field (with wildcards), its name there or None, why
EXCEPTIONS = [
    ("c go", "*.write", "read_only", "zero is the default"),
    ("c go", "*.follow_link", "no_follow_link", "zero is the default"),
    ("c go", "*.replace", "no_replace", "zero is the default"),
    ("c go", "*.auto_resume", "no_auto_resume", "zero is the default"),
    ("c go", "*.dies_with_owner", "outlives_owner", "zero is the default"),
    ("c go", "*.wait_durable", "no_wait_durable", "zero is the default"),
    ("c", "Pty*.size", "rows", "and columns: a struct in a struct could not grow"),
    ("go", "ExecOptions.timeout_ms", "timeout", "a time.Duration"),
    ("python", "ExecOptions.timeout_ms", "program_timeout", "timeout is the call's, in all of the package"),
    ("go", "CallLimits.*", None, "a context.Context"),
]
# Links are followed by default in one struct only; in the others the name is as in C++.
FOLLOWED_ONLY_WHERE_ASKED = ("DownloadOptions.follow_link", "UploadOptions.follow_link")


def options_of_header(text):
    """Struct -> fields, of what a caller fills in."""
    text = faces.without_comments(text)
    for match in re.finditer(r"\bstruct\s+(\w+Options|IdlePolicy|Hooks|CallLimits)\s*\{", text):
        body = re.sub(r"\{[^{}]*\}", "", faces.body_after(text, match.start()))
        statements = [part.split("=")[0].strip() for part in body.split(";")]
        yield match[1], [part.split()[-1] for part in statements if part and "operator" not in part]


def cpp_options(struct="", field=""):
    found = {}
    for path in sorted(pathlib.Path("include/microvm").glob("*.hpp")):
        found |= dict(options_of_header(path.read_text()))
    if struct:
        found[struct].append(field)
    return found


def c_fields():
    return surface.structs(surface.declarations("capi/microvm.h"))


def go_fields():
    found = {}
    for path in pathlib.Path("bindings/go").glob("*.go"):
        text = re.sub(r"//[^\n]*", "", path.read_text())
        for name, body in re.findall(r"^type (\w+) struct \{(.*?)^\}", text, re.M | re.S):
            lines = re.findall(r"^\s*(\w+(?:, \w+)*)\s", body, re.M)
            found[name] = {field.lower() for line in lines for field in line.split(", ")}
    return found


def python_keywords():
    """Of all signatures and classes: which call takes which is checked by its own type hints."""
    sources = (path for path in pathlib.Path("bindings/python/libmicrovm").rglob("*.py*")
               if path.suffix in (".py", ".pyi") and path.stem != "_native")
    return {name for path in sources for name in re.findall(r"\b(\w+)\s*[:=]", path.read_text())}


def name_in(language, struct, field):
    full = f"{struct}.{field}"
    for languages, pattern, name, _ in EXCEPTIONS if full not in FOLLOWED_ONLY_WHERE_ASKED else ():
        if language in languages.split() and fnmatch.fnmatchcase(full, pattern):
            return name
    return field


def has_c(structs, struct, name):
    fields = structs.get("mvm_" + faces.snake(struct).removeprefix("call_"), ())
    return name in fields or f"{name}_ms" in fields


def missing(options):
    structs, go, python = c_fields(), go_fields(), python_keywords()
    for struct, field in ((struct, field) for struct, fields in sorted(options.items()) for field in fields):
        c, g, p = (name_in(language, struct, field) for language in ("c", "go", "python"))
        if not has_c(structs, struct, c):
            yield f"{struct}.{field}: no c field {c}"
        if g and g.replace("_", "") not in go.get(struct, ()):
            yield f"{struct}.{field}: no go field {g}"
        if p not in python:
            yield f"{struct}.{field}: no python keyword {p}"


def main():
    wrong = list(missing(cpp_options(*(sys.argv[2:4] if "--as-if" in sys.argv else ()))))
    if wrong:
        print("\n".join([*wrong, "or an exception of test/lint/fields.py, with its reason"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
